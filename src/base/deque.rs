//! A bounded first-in first-out ring from which others may steal.
//!
//! One owner pushes at the tail; the owner and thieves take from the head, by CAS on `head`. A thief
//! takes half at once. `head` and `tail` only ever rise, so a CAS cannot be fooled by a value that has
//! come back.
//!
//! | word | written by | rule |
//! |---|---|---|
//! | `tail` | owner | rises by one after its slot is written |
//! | `head` | whoever takes, by CAS | rises by what was read before the CAS |
//! | slot `i % N` | owner | written only while `head + N > i` |
//!
//! A thief reads the slots before its CAS: they cannot be overwritten unless `head` has moved, and then
//! the CAS fails.
//!
//! Source: the run queue of Go's scheduler.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use super::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Places in a deque.
#[cfg(not(loom))]
pub const CAPACITY: usize = 256;
/// Places in a deque.
#[cfg(loom)]
pub const CAPACITY: usize = 4;

/// On a cache line of its own (two, for the prefetcher).
#[repr(align(128))]
#[derive(Debug)]
struct Padded<T>(T);

/// The deque; it does not own what its pointers point to.
#[derive(Debug)]
pub struct Deque<T> {
    head: Padded<AtomicUsize>,
    tail: Padded<AtomicUsize>,
    slots: Box<[AtomicPtr<T>]>,
    items: PhantomData<*mut T>,
}

// SAFETY: it moves pointers between threads, which their owner has to allow.
unsafe impl<T> Send for Deque<T> {}
// SAFETY: as for Send; what only the owner may do is unsafe.
unsafe impl<T> Sync for Deque<T> {}

impl<T> Default for Deque<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Deque<T> {
    /// Makes an empty deque.
    pub fn new() -> Self {
        Self {
            head: Padded(AtomicUsize::new(0)),
            tail: Padded(AtomicUsize::new(0)),
            slots: (0..CAPACITY).map(|_| AtomicPtr::new(core::ptr::null_mut())).collect(),
            items: PhantomData,
        }
    }

    fn slot(&self, index: usize) -> &AtomicPtr<T> {
        &self.slots[index % CAPACITY]
    }

    /// How many items wait. A hint for all but the owner.
    #[inline]
    pub fn len(&self) -> usize {
        // Relaxed: a hint; taking decides. The head first, so that the difference is not negative for
        // the owner; for others it may be stale, hence the saturation.
        let head = self.head.0.load(Ordering::Relaxed);
        self.tail.0.load(Ordering::Relaxed).saturating_sub(head)
    }

    /// Tells whether no item waits. A hint for all but the owner.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends an item.
    ///
    /// # Errors
    /// The item, if the deque is full.
    ///
    /// # Safety
    /// * Called by the owner's thread only.
    #[inline]
    pub unsafe fn push(&self, item: NonNull<T>) -> Result<(), NonNull<T>> {
        // Relaxed: only the owner writes the tail.
        let tail = self.tail.0.load(Ordering::Relaxed);
        // Acquire pairs with the Release of the takers: the slot has been read before it is reused.
        let head = self.head.0.load(Ordering::Acquire);
        if tail - head >= CAPACITY {
            return Err(item);
        }
        // Relaxed: published by the tail.
        self.slot(tail).store(item.as_ptr(), Ordering::Relaxed);
        // Release pairs with the Acquire of the thieves.
        self.tail.0.store(tail + 1, Ordering::Release);
        Ok(())
    }

    /// Takes the oldest item.
    ///
    /// # Safety
    /// * Called by the owner's thread only.
    #[inline]
    pub unsafe fn pop(&self) -> Option<NonNull<T>> {
        // Relaxed: only the owner writes the tail.
        let tail = self.tail.0.load(Ordering::Relaxed);
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            if head == tail {
                return None;
            }
            // Relaxed: the owner wrote it.
            let item = self.slot(head).load(Ordering::Relaxed);
            // Release pairs with the Acquire in `push`.
            match self.head.0.compare_exchange_weak(head, head + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return NonNull::new(item),
                Err(now) => head = now,
            }
        }
    }

    /// Takes up to half of the items, at least one, to `into`, and tells how many.
    fn take(&self, most: usize, mut into: impl FnMut(usize, *mut T)) -> usize {
        loop {
            // Acquire: the head before the tail, so that the tail is not older.
            let head = self.head.0.load(Ordering::Acquire);
            // Acquire pairs with the Release in `push`: the slots are written.
            let tail = self.tail.0.load(Ordering::Acquire);
            let len = tail.saturating_sub(head).min(CAPACITY);
            let count = len.div_ceil(2).min(most);
            if count == 0 {
                return 0;
            }
            for offset in 0..count {
                // Relaxed: ordered by the Acquire above, and valid only if the CAS succeeds.
                into(offset, self.slot(head + offset).load(Ordering::Relaxed));
            }
            // Release pairs with the Acquire in `push`.
            let taken = self.head.0.compare_exchange(head, head + count, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return count;
            }
        }
    }

    /// Takes half of the items: one to be run at once, the others into the thief's own deque.
    ///
    /// # Safety
    /// * The caller owns `thief`, which is another deque.
    pub unsafe fn steal_into(&self, thief: &Self) -> Option<NonNull<T>> {
        // Relaxed: the caller owns it.
        let tail = thief.tail.0.load(Ordering::Relaxed);
        // Acquire: as in `push`.
        let room = CAPACITY - (tail - thief.head.0.load(Ordering::Acquire));
        let mut first = core::ptr::null_mut();
        let count = self.take(room + 1, |offset, item| match offset {
            0 => first = item,
            // Relaxed: published by the tail below.
            _ => thief.slot(tail + offset - 1).store(item, Ordering::Relaxed),
        });
        if count > 1 {
            // Release pairs with the Acquire of the thieves.
            thief.tail.0.store(tail + count - 1, Ordering::Release);
        }
        NonNull::new(first).filter(|_| count > 0)
    }

    /// Takes the older half of the items, and tells how many.
    pub fn take_half(&self, out: &mut [MaybeUninit<NonNull<T>>; CAPACITY / 2]) -> usize {
        self.take(CAPACITY / 2, |offset, item| {
            if let Some(item) = NonNull::new(item) {
                out[offset].write(item);
            }
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;

    fn pointer(number: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::without_provenance_mut(number)).expect("numbers begin with one")
    }

    #[test]
    fn items_leave_in_order_and_a_full_deque_refuses() {
        let deque = Deque::new();
        for number in 1..=CAPACITY {
            // SAFETY: this thread owns it.
            unsafe { deque.push(pointer(number)) }.expect("there is room");
        }
        // SAFETY: this thread owns it.
        assert!(unsafe { deque.push(pointer(1)) }.is_err());
        for number in 1..=CAPACITY {
            // SAFETY: this thread owns it.
            assert_eq!(unsafe { deque.pop() }, Some(pointer(number)));
        }
        assert!(deque.is_empty());
    }

    #[test]
    fn every_item_is_taken_exactly_once_with_thieves_about() {
        const ITEMS: usize = if cfg!(miri) { 300 } else { 100_000 };
        let deque = Deque::new();
        let done = AtomicBool::new(false);
        let mut all = std::thread::scope(|scope| {
            let thieves: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (own, mut taken) = (Deque::new(), Vec::new());
                        while !done.load(Ordering::Acquire) || !deque.is_empty() {
                            // SAFETY: this thread owns `own`.
                            taken.extend(unsafe { deque.steal_into(&own) });
                            // SAFETY: as above.
                            taken.extend(core::iter::from_fn(|| unsafe { own.pop() }));
                        }
                        taken.into_iter().map(|item| item.addr().get()).collect::<Vec<_>>()
                    })
                })
                .collect();
            let mut taken = Vec::new();
            for number in 1..=ITEMS {
                // SAFETY: this thread owns it.
                while unsafe { deque.push(pointer(number)) }.is_err() {
                    // SAFETY: as above.
                    taken.extend(unsafe { deque.pop() }.map(|item| item.addr().get()));
                }
            }
            done.store(true, Ordering::Release);
            for thief in thieves {
                taken.extend(thief.join().expect("a thief does not panic"));
            }
            // SAFETY: this thread owns it.
            taken.extend(core::iter::from_fn(|| unsafe { deque.pop() }).map(|item| item.addr().get()));
            taken
        });
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=ITEMS));
    }
}
