//! A bounded ring that many push to and many pop from, without a lock: one stamp a slot.
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
//! Invariant I1: whoever moves `tail` (or `head`) over `p` by CAS is the only one to touch the slot until
//! it sets the stamp.
//!
//! Any capacity from 1; allocated once.
//!
//! Source: Vyukov's bounded MPMC queue.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;

use super::atomic::{AtomicUsize, Ordering, fence};

struct Slot<T> {
    stamp: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// On cache lines of its own.
#[repr(align(128))]
struct Padded(AtomicUsize);

/// The ring.
pub struct Ring<T> {
    head: Padded,
    tail: Padded,
    slots: Box<[Slot<T>]>,
    /// A power of two above every index. Set in `tail`: closed.
    mark: usize,
    /// Distance between the same index of two laps: twice the mark.
    lap: usize,
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

impl<T> Ring<T> {
    /// Makes an empty ring.
    ///
    /// # Panics
    /// If the capacity is zero.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a ring needs at least one slot");
        let slot =
            |index| Slot { stamp: AtomicUsize::new(index), value: UnsafeCell::new(MaybeUninit::uninit()) };
        let mark = (capacity + 1).next_power_of_two();
        Self {
            head: Padded(AtomicUsize::new(0)),
            tail: Padded(AtomicUsize::new(0)),
            slots: (0..capacity).map(slot).collect(),
            mark,
            lap: mark * 2,
        }
    }

    /// How many values it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    fn after(&self, position: usize) -> usize {
        let index = position & (self.mark - 1);
        if index + 1 < self.slots.len() {
            position + 1
        } else {
            (position & !(self.lap - 1)).wrapping_add(self.lap)
        }
    }

    #[inline]
    fn slot(&self, position: usize) -> &Slot<T> {
        let index = position & (self.mark - 1);
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
        // Relaxed: a guess; the stamp and the CAS decide.
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            if tail & self.mark != 0 {
                return Err(PushError::Closed(value));
            }
            let slot = self.slot(tail);
            // Acquire pairs with the Release of the pop: the value before has been moved out.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == tail {
                let next = self.after(tail);
                // SeqCst: a total order of pushes and pops, which the check for "full" relies on.
                match self.tail.0.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: I1; the slot is free.
                        unsafe { &mut *slot.value.get() }.write(value);
                        // Release pairs with the Acquire of the pop.
                        slot.stamp.store(tail.wrapping_add(1), Ordering::Release);
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                // The value of the lap before is still there, or another push is faster.
                fence(Ordering::SeqCst);
                if stamp.wrapping_add(self.lap) == tail.wrapping_add(1)
                    && self.head.0.load(Ordering::Relaxed).wrapping_add(self.lap) == tail
                {
                    return Err(PushError::Full(value));
                }
                relax();
                tail = self.tail.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Takes the oldest value. Never waits for more than another call that is in the middle of its own.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        // Relaxed: a guess; the stamp and the CAS decide.
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            // Acquire pairs with the Release of the push: the value is written.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp == head.wrapping_add(1) {
                let next = self.after(head);
                // SeqCst: as in `push`.
                match self.head.0.compare_exchange_weak(head, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: I1.
                        let place = unsafe { &*slot.value.get() };
                        // SAFETY: the slot is full, and the value is moved out once.
                        let value = unsafe { place.assume_init_read() };
                        // Release pairs with the Acquire of the next lap's push.
                        slot.stamp.store(head.wrapping_add(self.lap), Ordering::Release);
                        return Some(value);
                    }
                    Err(now) => head = now,
                }
            } else {
                fence(Ordering::SeqCst);
                if stamp == head && self.tail.0.load(Ordering::Relaxed) & !self.mark == head {
                    return None;
                }
                relax();
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

    /// How many values it holds: exact when nobody pushes or pops meanwhile.
    pub fn len(&self) -> usize {
        loop {
            let tail = self.tail.0.load(Ordering::SeqCst);
            let head = self.head.0.load(Ordering::SeqCst);
            if self.tail.0.load(Ordering::SeqCst) == tail {
                let tail = tail & !self.mark;
                let (from, to) = (head & (self.mark - 1), tail & (self.mark - 1));
                return match from.cmp(&to) {
                    core::cmp::Ordering::Less => to - from,
                    core::cmp::Ordering::Greater => self.slots.len() - from + to,
                    core::cmp::Ordering::Equal if head == tail => 0,
                    core::cmp::Ordering::Equal => self.slots.len(),
                };
            }
        }
    }

    /// Tells whether it holds no value.
    pub fn is_empty(&self) -> bool {
        self.tail.0.load(Ordering::SeqCst) & !self.mark == self.head.0.load(Ordering::SeqCst)
    }

    /// Head and tail as slot indices, for pictures.
    pub fn ends(&self) -> (usize, usize) {
        let mask = self.mark - 1;
        (self.head.0.load(Ordering::SeqCst) & mask, self.tail.0.load(Ordering::SeqCst) & mask)
    }
}

/// Another call is in the middle of its own.
#[inline]
fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    core::hint::spin_loop();
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
}
