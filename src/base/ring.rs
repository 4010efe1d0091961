//! A bounded ring that many push to and many pop from, without a lock: one stamp a slot.
//!
//! ```text
//! tail   63 ....... 48 | 47 ...... 0      head, stamps    47 ...... 0
//!        promised      | position                         position
//! ```
//!
//! Positions count up for ever: the lower bits are a slot's index, the upper ones the lap. The bit between
//! them (`mark`) is zero, but in `tail` once the ring is closed: so no push can come after the close. A
//! slot's stamp says whose turn it is:
//!
//! | stamp | meaning | who leaves it |
//! |---|---|---|
//! | `p` | free for the push at position `p` | that push, to `p + 1` |
//! | `p + 1` | full, for the pop at position `p` | that pop, to `p` of the next lap |
//!
//! Room can be promised without a place in the order: who has chosen to push has room for certain, and
//! everybody else goes on meanwhile, however long it takes. Promises are counted in the word that a push
//! moves, so no push takes room that is promised (`promise`).
//!
//! Invariants:
//! * I1: whoever moves `tail` (or `head`) over `p` by CAS is the only one to touch the slot until
//!   it sets the stamp.
//! * I2: values and promises are never more than the capacity. `tail` counts both, and `head` only makes
//!   room.
//!
//! All moves of `head` and `tail` are SeqCst, and so is the look at the other one that concludes "full" or
//! "empty": the gates of a queue rely on that (`queue::gate`). Any capacity from 1; allocated once.
//!
//! Source: Vyukov's bounded MPMC queue.

mod promise;

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

use super::atomic::{AtomicU64, Ordering};
use super::backoff::Backoff;

/// One promise in `tail`.
const PROMISE: u64 = 1 << 48;
/// The part of a word that is a position.
const POSITION: u64 = PROMISE - 1;
/// As many as can be counted; then nobody gets one, as if there were no room.
const MOST_PROMISES: u64 = u16::MAX as u64;
/// More would leave too few laps to tell them apart.
const MOST: usize = 1 << 32;

struct Slot<T> {
    stamp: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A word, and so much behind it that nothing is on one cache line with the next one (or on the line after, which
/// the processor fetches as well). Distance does that; an alignment would make the allocator cut pieces to measure.
#[repr(C)]
struct Padded(AtomicU64, MaybeUninit<[u8; 120]>);

/// The ring. In this order, so that what nobody changes is away from `tail`.
#[repr(C)]
pub struct Ring<T> {
    head: Padded,
    tail: Padded,
    slots: Box<[Slot<T>]>,
    /// A power of two above every index. Set in `tail`: closed.
    mark: u64,
    /// Distance between the same index of two laps: twice the mark.
    lap: u64,
}

/// Why a value was not pushed; it comes back.
#[derive(Debug, PartialEq, Eq)]
pub enum PushError<T> {
    /// There is no room.
    Full(T),
    /// The ring is closed.
    Closed(T),
}

// SAFETY: a value is touched by the one who has moved `head` or `tail` over it (I1).
unsafe impl<T: Send> Sync for Ring<T> {}
// SAFETY: the ring owns its values.
unsafe impl<T: Send> Send for Ring<T> {}

/// Slots in order, their values left as they are: a big one must not pass over the stack.
fn slots<T>(capacity: usize) -> Box<[Slot<T>]> {
    let mut slots: Vec<Slot<T>> = Vec::new();
    assert!(
        capacity <= MOST && slots.try_reserve_exact(capacity).is_ok(),
        "a queue for {capacity} values of {} bytes each does not fit into memory",
        size_of::<T>(),
    );
    for (index, slot) in (0..).zip(&mut slots.spare_capacity_mut()[..capacity]) {
        // SAFETY: the slot is allocated, and the field is inside it.
        let stamp = unsafe { &raw mut (*slot.as_mut_ptr()).stamp };
        // SAFETY: as above, and nothing was there before.
        unsafe { stamp.write(AtomicU64::new(index)) };
    }
    // SAFETY: all of them have their stamps, and a value may be uninitialised.
    unsafe { slots.set_len(capacity) };
    slots.into_boxed_slice()
}

impl<T> Ring<T> {
    /// Makes an empty ring.
    ///
    /// # Panics
    /// If the capacity is zero, or more than fits into memory.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring needs at least one slot");
        let slots = slots(capacity);
        let mark = (capacity as u64 + 1).next_power_of_two();
        let zero = || Padded(AtomicU64::new(0), MaybeUninit::uninit());
        Self { head: zero(), tail: zero(), slots, mark, lap: mark * 2 }
    }

    /// How many values it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The position after, without promises and mark.
    #[inline]
    fn after(&self, position: u64) -> u64 {
        if (position & (self.mark - 1)) + 1 < self.slots.len() as u64 {
            position + 1
        } else {
            self.next_lap(position & !(self.lap - 1))
        }
    }

    #[inline]
    fn next_lap(&self, position: u64) -> u64 {
        position.wrapping_add(self.lap) & POSITION
    }

    #[inline]
    fn slot(&self, position: u64) -> &Slot<T> {
        let index = (position & (self.mark - 1)) as usize;
        debug_assert!(index < self.slots.len());
        // SAFETY: positions are made by `after` alone, which keeps the index below the length.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// Appends a value. Never waits for more than another call that is in the middle of its own.
    ///
    /// # Errors
    /// The value, if the ring is full or closed.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), PushError<T>> {
        let mut backoff = Backoff::new();
        // Relaxed: a guess; the stamp and the CAS decide.
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            if tail & (self.mark | !POSITION) != 0 {
                if tail & self.mark != 0 {
                    return Err(PushError::Closed(value));
                }
                match self.is_used_up(tail) {
                    Some(false) => {}
                    Some(true) => return Err(PushError::Full(value)),
                    None => {
                        tail = self.tail.0.load(Ordering::Relaxed);
                        continue;
                    }
                }
            }
            let position = tail & POSITION;
            let slot = self.slot(position);
            // Acquire pairs with the Release of the pop: the value before has been moved out.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == position {
                let next = tail & !POSITION | self.after(position);
                // SeqCst: see above.
                match self.tail.0.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: the slot is free, and this call has moved `tail` over it.
                        unsafe { self.fill(position, value) };
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                // The value of the lap before is still there, or another push is faster. SeqCst: see above.
                if self.next_lap(stamp) == position + 1
                    && self.next_lap(self.head.0.load(Ordering::SeqCst)) == position
                {
                    return Err(PushError::Full(value));
                }
                backoff.snooze();
                tail = self.tail.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Writes the value at a position.
    ///
    /// # Safety
    /// * The slot is free for this position, and the caller has moved `tail` over it (I1).
    #[inline]
    unsafe fn fill(&self, position: u64, value: T) {
        let slot = self.slot(position);
        // SAFETY: the caller's duty.
        unsafe { &mut *slot.value.get() }.write(value);
        // Release pairs with the Acquire of the pop.
        slot.stamp.store(position + 1, Ordering::Release);
    }

    /// Takes the oldest value. Never waits for more than another call that is in the middle of its own.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let mut backoff = Backoff::new();
        // Relaxed: a guess; the stamp and the CAS decide.
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            // Acquire pairs with the Release of the push: the value is written.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == head + 1 {
                let next = self.after(head);
                // SeqCst: see above.
                match self.head.0.compare_exchange_weak(head, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: I1.
                        let place = unsafe { &*slot.value.get() };
                        // SAFETY: the slot is full, and the value is moved out once.
                        let value = unsafe { place.assume_init_read() };
                        // Release pairs with the Acquire of the next lap's push.
                        slot.stamp.store(self.next_lap(head), Ordering::Release);
                        return Some(value);
                    }
                    Err(now) => head = now,
                }
            } else {
                // SeqCst: see above.
                if stamp == head && self.tail.0.load(Ordering::SeqCst) & POSITION & !self.mark == head {
                    return None;
                }
                backoff.snooze();
                head = self.head.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Lets no more values in. True for the first caller.
    pub fn close(&self) -> bool {
        self.tail.0.fetch_or(self.mark, Ordering::SeqCst) & self.mark == 0
    }

    /// Tells whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.tail.0.load(Ordering::SeqCst) & self.mark != 0
    }

    /// Values between two positions, which `tail` and `head` had at one moment.
    fn between(&self, head: u64, tail: u64) -> usize {
        let tail = tail & POSITION & !self.mark;
        let index = |position| (position & (self.mark - 1)) as usize;
        let (from, to) = (index(head), index(tail));
        match from.cmp(&to) {
            core::cmp::Ordering::Less => to - from,
            core::cmp::Ordering::Greater => self.slots.len() - from + to,
            core::cmp::Ordering::Equal if head == tail => 0,
            core::cmp::Ordering::Equal => self.slots.len(),
        }
    }

    /// Tells whether values and promises take all the room; `None` if `tail` has changed meanwhile.
    fn is_used_up(&self, tail: u64) -> Option<bool> {
        let head = self.head.0.load(Ordering::SeqCst);
        let is_now = self.tail.0.load(Ordering::SeqCst) == tail;
        is_now.then(|| self.between(head, tail) + (tail / PROMISE) as usize >= self.slots.len())
    }

    /// How many values it holds: exact when nobody pushes or pops meanwhile.
    pub fn len(&self) -> usize {
        loop {
            let tail = self.tail.0.load(Ordering::SeqCst);
            let head = self.head.0.load(Ordering::SeqCst);
            if self.tail.0.load(Ordering::SeqCst) == tail {
                return self.between(head, tail);
            }
        }
    }

    /// Tells whether it holds no value.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail.0.load(Ordering::SeqCst) & POSITION & !self.mark == self.head.0.load(Ordering::SeqCst)
    }

    /// Tells whether values, and those that were promised room, leave none.
    pub fn is_full(&self) -> bool {
        loop {
            let tail = self.tail.0.load(Ordering::SeqCst);
            if tail >= PROMISE * MOST_PROMISES {
                return true;
            }
            if let Some(full) = self.is_used_up(tail) {
                return full;
            }
        }
    }

    /// Head and tail as slot indices, for pictures.
    pub fn ends(&self) -> (usize, usize) {
        let index = |word: &Padded| (word.0.load(Ordering::SeqCst) & (self.mark - 1)) as usize;
        (index(&self.head), index(&self.tail))
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn it_is_first_in_first_out_for_every_small_capacity() {
        for capacity in 1..=9 {
            let ring = Ring::new(capacity);
            let (mut pushed, mut popped) = (0, 0);
            for step in 1..200 {
                for _ in 0..step % (capacity + 2) {
                    let fits = ring.push(pushed).is_ok();
                    assert_eq!(fits, pushed - popped < capacity);
                    pushed += usize::from(fits);
                    assert_eq!(ring.len(), pushed - popped);
                }
                for _ in 0..step % 3 {
                    assert_eq!(ring.pop(), (popped < pushed).then_some(popped));
                    popped += usize::from(popped < pushed);
                }
            }
        }
    }

    #[test]
    fn positions_may_wrap_around() {
        let ring = Ring::new(3);
        // Three laps before the end of the positions.
        let start = (POSITION + 1) - 3 * ring.lap;
        ring.head.0.store(start, Ordering::Relaxed);
        ring.tail.0.store(start, Ordering::Relaxed);
        (0..).zip(&ring.slots).for_each(|(index, slot)| slot.stamp.store(start + index, Ordering::Relaxed));
        for round in 0..30 {
            assert_eq!(
                (ring.push(round), ring.promise(), ring.push_promised(round + 100)),
                (Ok(()), true, Ok(()))
            );
            assert_eq!((ring.push(7), ring.push(8), ring.is_full()), (Ok(()), Err(PushError::Full(8)), true));
            assert_eq!([ring.pop(), ring.pop(), ring.pop()], [Some(round), Some(round + 100), Some(7)]);
            assert_eq!((ring.pop(), ring.is_empty(), ring.is_full()), (None, true, false));
        }
    }

    #[test]
    #[should_panic(expected = "does not fit into memory")]
    fn an_absurd_capacity_is_told() {
        drop(Ring::<u64>::new(usize::MAX));
    }
}
