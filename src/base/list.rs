//! A ring without end, that many push to and many pop from, without a lock: blocks of slots, in a chain.
//!
//! ```text
//! head ──▶ block ──next──▶ block ──next──▶ block ◀── tail
//!          slots: T T F F  slots: F F F F  slots: F F . .      (T taken, F full)
//! ```
//!
//! Positions count up for ever, `LAP` of them a block. The last one of a lap has no slot: while `head` or
//! `tail` is there, whoever took the last slot is moving it on to the next block, and the others wait.
//! `tail` is the position times two, plus `CLOSED`; `head` is on the same scale.
//!
//! Invariants:
//! * I1: whoever moves `tail` (or `head`) over a position by CAS is the only one to touch that slot, until
//!   it sets the state. Nobody looks into a block before that CAS: it may have been freed.
//! * I2: an index that has not changed between a load and a CAS has had the same block all the time,
//!   because the block is changed while the index is at the position without a slot.
//! * I3: a block whose slots are all `TAKEN` is used by nobody; see `block`.
//!
//! `seen` is a position that `tail` has had, so a pop before that needs no look at `tail`, whose cache line
//! belongs to those who push. One used block is kept for the next push that needs one.
//!
//! Source of blocks that are entered by a counter and freed by their last reader: crossbeam's `SegQueue`.

mod block;

use core::fmt;
use core::marker::PhantomData;

use super::atomic::{AtomicPtr, AtomicU64, Ordering};
use super::backoff::Backoff;
use block::{Block, Blocks, FULL, TAKEN};

const CLOSED: u64 = 1;
/// One position.
const STEP: u64 = 2;

/// One end: where it is, and in which block. On cache lines of its own.
#[repr(align(128))]
struct End<T> {
    index: AtomicU64,
    block: AtomicPtr<Block<T>>,
    /// Used by the pops only.
    seen: AtomicU64,
}

/// Values from head to tail, in blocks.
pub struct List<T> {
    head: End<T>,
    tail: End<T>,
    blocks: Blocks<T>,
    owns: PhantomData<T>,
}

// SAFETY: a value is touched by the one who has moved `head` or `tail` over it (I1).
unsafe impl<T: Send> Sync for List<T> {}
// SAFETY: the list owns its values and blocks.
unsafe impl<T: Send> Send for List<T> {}

impl<T> List<T> {
    /// Positions a block.
    const LAP: u64 = Self::SLOTS as u64 + 1;

    const SLOTS: usize = Block::<T>::SLOTS;

    /// Makes an empty list.
    pub fn new() -> Self {
        let first = Box::into_raw(Block::new());
        let end = || End { index: AtomicU64::new(0), block: AtomicPtr::new(first), seen: AtomicU64::new(0) };
        Self { head: end(), tail: end(), blocks: Blocks::new(), owns: PhantomData }
    }

    /// The slot of an index, or `SLOTS` for none.
    #[inline]
    fn offset(index: u64) -> usize {
        (index / STEP % Self::LAP) as usize
    }

    /// Appends a value. Waits for no more than another call that is in the middle of its own.
    ///
    /// # Errors
    /// The value, if the list is closed.
    #[inline]
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut backoff = Backoff::new();
        let mut spare: Option<Box<Block<T>>> = None;
        // Acquire pairs with the Release of whoever has moved it to another block.
        let mut tail = self.tail.index.load(Ordering::Acquire);
        loop {
            if tail & CLOSED != 0 {
                return Err(value);
            }
            let offset = Self::offset(tail);
            if offset == Self::SLOTS {
                backoff.snooze();
                tail = self.tail.index.load(Ordering::Acquire);
                continue;
            }
            // Acquire pairs with the Release in `enter_next`: the block is made.
            let block = self.tail.block.load(Ordering::Acquire);
            if offset + 1 == Self::SLOTS && spare.is_none() {
                spare = Some(self.blocks.get());
            }
            let next = tail + STEP;
            // SeqCst: whoever concludes "empty" looks at `tail` by a SeqCst load, see `queue::gate`.
            match self.tail.index.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Acquire) {
                Ok(_) => {
                    // SAFETY: `tail` has been moved over a slot of it, so it is in use (I1, I2).
                    let block = unsafe { &*block };
                    if offset + 1 == Self::SLOTS {
                        self.extend(block, spare.take());
                    }
                    let slot = &block.slots[offset];
                    // SAFETY: I1.
                    unsafe { &mut *slot.value.get() }.write(value);
                    // Release pairs with the Acquire in `take`. LAST: the block may be gone after this.
                    slot.state.store(FULL, Ordering::Release);
                    if let Some(spare) = spare {
                        self.blocks.put(spare);
                    }
                    return Ok(());
                }
                Err(now) => tail = now,
            }
        }
    }

    /// Hangs a block behind the last one, and moves `tail` to it.
    #[cold]
    fn extend(&self, last: &Block<T>, spare: Option<Box<Block<T>>>) {
        let next = Box::into_raw(spare.unwrap_or_else(|| self.blocks.get()));
        // Relaxed: the Release of the last slot's FULL publishes it.
        last.next.store(next, Ordering::Relaxed);
        // Release pairs with the Acquire in `push`.
        self.tail.block.store(next, Ordering::Release);
        // Release pairs with the Acquire in `push`. An addition, because a close may come in between.
        self.tail.index.fetch_add(STEP, Ordering::Release);
    }

    /// Takes the oldest value. Waits for no more than another call that is in the middle of its own.
    #[inline]
    pub fn pop(&self) -> Option<T> {
        let mut backoff = Backoff::new();
        // Acquire pairs with the Release of whoever has moved it to another block.
        let mut head = self.head.index.load(Ordering::Acquire);
        loop {
            let offset = Self::offset(head);
            if offset == Self::SLOTS {
                backoff.snooze();
                head = self.head.index.load(Ordering::Acquire);
                continue;
            }
            // Acquire: as in `push`.
            let block = self.head.block.load(Ordering::Acquire);
            // Acquire pairs with the Release below: whoever goes by it knows of that `tail` as well.
            if head >= self.head.seen.load(Ordering::Acquire) {
                // SeqCst: pairs with the CAS of a push, see there.
                let tail = self.tail.index.load(Ordering::SeqCst) & !CLOSED;
                if tail <= head {
                    return None;
                }
                self.head.seen.store(tail, Ordering::Release);
            }
            // Acquire for the failure, as above.
            match self.head.index.compare_exchange_weak(
                head,
                head + STEP,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                // SAFETY: `head` has been moved over the slot at `offset` by this call.
                Ok(_) => return Some(unsafe { self.take(block, head, offset) }),
                Err(now) => head = now,
            }
        }
    }

    /// Takes the value out of a slot, and the block out of the chain if it is the last one.
    ///
    /// # Safety
    /// * This call has moved `head` from `head` on, and so over the slot at `offset` of `block`.
    #[inline]
    unsafe fn take(&self, block: *mut Block<T>, head: u64, offset: usize) -> T {
        // SAFETY: a slot of it is this call's, and not TAKEN, so it is in use (I3).
        let this = unsafe { &*block };
        let slot = &this.slots[offset];
        // SAFETY: I1.
        let value = unsafe { slot.take() };
        let is_last = offset + 1 == Self::SLOTS;
        if is_last {
            // Relaxed: the Acquire of FULL has brought it.
            self.head.block.store(this.next.load(Ordering::Relaxed), Ordering::Release);
            // Release pairs with the Acquire in `pop`. A store, because the others wait.
            self.head.index.store(head + 2 * STEP, Ordering::Release);
        }
        // Release pairs with the Acquire in `is_used_up`. LAST for all but the last slot.
        slot.state.store(TAKEN, Ordering::Release);
        if is_last {
            // SAFETY: boxed by `get`; `head` has left it, and this is the pop of its last slot.
            unsafe { self.blocks.retire(block) };
        }
        value
    }

    /// Lets no more values in. True for the first caller.
    pub fn close(&self) -> bool {
        self.tail.index.fetch_or(CLOSED, Ordering::SeqCst) & CLOSED == 0
    }

    /// Tells whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.tail.index.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Tells whether it holds no value.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // `head` first: it never passes `tail`.
        let head = self.head.index.load(Ordering::SeqCst);
        self.tail.index.load(Ordering::SeqCst) & !CLOSED <= head
    }

    /// How many values it holds: exact when nobody pushes or pops meanwhile.
    pub fn len(&self) -> usize {
        let values = |index: u64| index / STEP / Self::LAP * (Self::LAP - 1) + index / STEP % Self::LAP;
        loop {
            let tail = self.tail.index.load(Ordering::SeqCst);
            let head = self.head.index.load(Ordering::SeqCst);
            if self.tail.index.load(Ordering::SeqCst) == tail {
                return values(tail).saturating_sub(values(head)) as usize;
            }
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        /// Frees the last block even if a value's destructor panics; the rest of the values leak then.
        struct Rest<'a, T>(&'a List<T>);
        impl<T> Drop for Rest<'_, T> {
            fn drop(&mut self) {
                while let Some(value) = self.0.pop() {
                    core::mem::forget(value);
                }
                let last = self.0.head.block.load(Ordering::Relaxed);
                // SAFETY: nobody else is here, and the block was boxed.
                drop(unsafe { Box::from_raw(last) });
            }
        }
        let rest = Rest(self);
        while let Some(value) = rest.0.pop() {
            drop(value);
        }
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_is_first_in_first_out_over_many_blocks_and_reuses_them() {
        let list = List::new();
        let (mut pushed, mut popped) = (0u64, 0);
        for step in 0..2000 {
            for _ in 0..step % 9 {
                list.push(pushed).unwrap();
                pushed += 1;
            }
            for _ in 0..step % 7 {
                assert_eq!(list.pop(), (popped < pushed).then_some(popped));
                popped += u64::from(popped < pushed);
            }
            assert_eq!((list.len() as u64, list.is_empty()), (pushed - popped, pushed == popped));
        }
        assert!(list.close() && !list.close() && list.is_closed());
        assert_eq!(list.push(0), Err(0));
        assert_eq!(list.pop(), Some(popped));
    }

    #[test]
    fn values_of_any_size_are_dropped_once_with_the_list() {
        let count = Arc::new(());
        let list = List::new();
        (0..100).for_each(|_| assert!(list.push((Arc::clone(&count), [0u8; 5000])).is_ok()));
        (0..50).for_each(|_| drop(list.pop()));
        assert_eq!(Arc::strong_count(&count), 51);
        drop(list);
        assert_eq!(Arc::strong_count(&count), 1);
        let nothing = List::new();
        (0..500).for_each(|_| nothing.push(()).unwrap());
        assert_eq!((nothing.len(), core::iter::from_fn(|| nothing.pop()).count()), (500, 500));
    }
}
