//! A block of a list: slots, and where blocks go when all their values have been taken.
//!
//! | slot | meaning | who leaves it |
//! |---|---|---|
//! | `EMPTY` | the push that has moved `tail` over it writes here | that push, to `FULL` |
//! | `FULL` | the pop that has moved, or will move, `head` over it reads here | that pop, to `TAKEN` |
//! | `TAKEN` | nobody comes here any more | whoever reuses the block, to `EMPTY` |
//!
//! Invariant I3: a block whose slots are all `TAKEN` is touched by nobody but the one who finds that: a push is done
//! with it when it sets `FULL`, a pop when it sets `TAKEN`; the last slot's pop looks after the block, or
//! leaves it in `limbo` for the next one that does.
//!
//! A used block is kept for the next push that needs one; a further one is freed.

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;

use crate::base::atomic::{AtomicPtr, AtomicU32, Ordering};
use crate::base::backoff::Backoff;

const EMPTY: u32 = 0;
pub(super) const FULL: u32 = 1;
pub(super) const TAKEN: u32 = 2;

/// About so many bytes a block has.
const BYTES: usize = 2048;

pub(super) struct Slot<T> {
    pub(super) state: AtomicU32,
    pub(super) value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Slot<T> {
    /// Gives back what a pop has taken.
    ///
    /// # Safety
    /// * The caller has moved `head` over this slot (I1), and has not been here before.
    #[inline]
    pub(super) unsafe fn take(&self) -> T {
        let mut backoff = Backoff::new();
        // Acquire pairs with the Release of the push: the value is written.
        while self.state.load(Ordering::Acquire) != FULL {
            backoff.snooze();
        }
        // SAFETY: I1.
        let place = unsafe { &*self.value.get() };
        // SAFETY: it is full, and moved out once.
        unsafe { place.assume_init_read() }
    }
}

pub(super) struct Block<T> {
    /// The one after; set by the push into the last slot before that slot is full.
    pub(super) next: AtomicPtr<Block<T>>,
    /// The one after in `limbo`.
    waiting: AtomicPtr<Block<T>>,
    pub(super) slots: Box<[Slot<T>]>,
}

impl<T> Block<T> {
    /// Slots a block: the fewer the bigger the values. One less than a power of two, for the list's sake.
    pub(super) const SLOTS: usize = if cfg!(loom) {
        2
    } else {
        let fit = BYTES / size_of::<Slot<T>>();
        if fit < 2 {
            1
        } else if fit < 8 {
            3
        } else if fit < 32 {
            7
        } else if fit < 128 {
            31
        } else {
            127
        }
    };

    pub(super) fn new() -> Box<Self> {
        let mut slots: Vec<Slot<T>> = Vec::with_capacity(Self::SLOTS);
        for slot in &mut slots.spare_capacity_mut()[..Self::SLOTS] {
            // SAFETY: the slot is allocated, and the field is inside it.
            let state = unsafe { &raw mut (*slot.as_mut_ptr()).state };
            // SAFETY: as above, and nothing was there before.
            unsafe { state.write(AtomicU32::new(EMPTY)) };
        }
        // SAFETY: all of them have their states, and a value may be uninitialised.
        unsafe { slots.set_len(Self::SLOTS) };
        let none = || AtomicPtr::new(ptr::null_mut());
        Box::new(Self { next: none(), waiting: none(), slots: slots.into_boxed_slice() })
    }

    /// Makes it as new. Nobody else is here (I3); it is handed on by Release.
    fn reset(&self) {
        let none = ptr::null_mut();
        self.next.store(none, Ordering::Relaxed);
        self.waiting.store(none, Ordering::Relaxed);
        self.slots.iter().for_each(|slot| slot.state.store(EMPTY, Ordering::Relaxed));
    }

    /// Tells whether nobody will come here any more (I3).
    fn is_used_up(&self) -> bool {
        // Acquire pairs with the Release of the pop: the value has been moved out.
        self.slots.iter().all(|slot| slot.state.load(Ordering::Acquire) == TAKEN)
    }
}

/// Blocks that are in no chain.
pub(super) struct Blocks<T> {
    /// One for the next push that needs one.
    spare: AtomicPtr<Block<T>>,
    /// Out of the chain, but a pop was still in the middle of its own: a stack that is taken whole.
    limbo: AtomicPtr<Block<T>>,
}

impl<T> Blocks<T> {
    pub(super) fn new() -> Self {
        Self { spare: AtomicPtr::new(ptr::null_mut()), limbo: AtomicPtr::new(ptr::null_mut()) }
    }

    #[cold]
    pub(super) fn get(&self) -> Box<Block<T>> {
        // Acquire pairs with the Release in `put`.
        let spare = self.spare.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: null or boxed, and the swap has made it this call's.
        if spare.is_null() { Block::new() } else { unsafe { Box::from_raw(spare) } }
    }

    #[cold]
    pub(super) fn put(&self, block: Box<Block<T>>) {
        let block = Box::into_raw(block);
        // Release pairs with the Acquire in `get`.
        if self.spare.compare_exchange(ptr::null_mut(), block, Ordering::Release, Ordering::Relaxed).is_err()
        {
            // SAFETY: boxed above, and not given away.
            drop(unsafe { Box::from_raw(block) });
        }
    }

    /// Looks after a block that has left the chain, and after those that had to wait.
    ///
    /// # Safety
    /// * The block is boxed, out of the chain, and nobody else does this with it.
    #[cold]
    pub(super) unsafe fn retire(&self, block: *mut Block<T>) {
        // Acquire pairs with the Release in `let_wait`.
        let waiting = self.limbo.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the caller's duty.
        unsafe { &*block }.waiting.store(waiting, Ordering::Relaxed);
        let mut at = block;
        // SAFETY: null, or the caller's block, or one that the swap has made this call's.
        while let Some(this) = unsafe { at.as_ref() } {
            let after = this.waiting.load(Ordering::Relaxed);
            if this.is_used_up() {
                this.reset();
                // SAFETY: boxed, and used by nobody else (I3).
                self.put(unsafe { Box::from_raw(at) });
            } else {
                // SAFETY: as for this block itself.
                unsafe { self.let_wait(at) };
            }
            at = after;
        }
    }

    /// Pushes a block onto `limbo`.
    ///
    /// # Safety
    /// * As for `retire`. The pointer is the one that `Box::into_raw` has given: who takes it frees the block with it.
    unsafe fn let_wait(&self, block: *mut Block<T>) {
        // Relaxed: the CAS decides.
        let mut top = self.limbo.load(Ordering::Relaxed);
        loop {
            // SAFETY: boxed, and only this call has it until the CAS below.
            unsafe { &*block }.waiting.store(top, Ordering::Relaxed);
            // Release pairs with the Acquire in `retire`. LAST: another may have it after this.
            match self.limbo.compare_exchange_weak(top, block, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }
}

impl<T> Drop for Blocks<T> {
    fn drop(&mut self) {
        for first in [&self.spare, &self.limbo] {
            let mut at = first.load(Ordering::Relaxed);
            while !at.is_null() {
                // SAFETY: boxed, and nobody else is here.
                let block = unsafe { Box::from_raw(at) };
                at = block.waiting.load(Ordering::Relaxed);
            }
        }
    }
}
