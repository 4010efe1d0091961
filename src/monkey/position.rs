//! The offset of an open file, held while a read moves its data in pieces.
//!
//! The kernel's `read` moves all of its data with the offset locked (`f_pos_lock`). Here what the page cache holds comes
//! first and the rest later, from another thread, so other coroutines must not read in between. The offset belongs to
//! the open file, and a duplicate shares its lock with the descriptor that it was made from. Plain threads make one call
//! to the kernel each, and do not take this lock: one of them that reads the same offset can come in between.
#![forbid(unsafe_code)]

use core::mem;
use core::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;

use super::slot::{self, Known};
use crate::runtime::park::Reason;
use crate::runtime::shield::Shield;
use crate::runtime::wait_queue::{How, WaitQueue};

/// What a slot has for it.
pub(super) struct Position {
    is_taken: WaitQueue<bool>,
    /// The descriptor whose lock this one shares; -1 if it has its own.
    shared_with: AtomicI32,
}

impl Position {
    pub(super) const fn new() -> Self {
        Self { is_taken: WaitQueue::new(false), shared_with: AtomicI32::new(-1) }
    }

    /// Says that the descriptor is no duplicate.
    pub(super) fn forget(&self) {
        // Relaxed, here and below: a number, whose slot is there for ever. One that is old costs a wait at worst.
        self.shared_with.store(-1, Ordering::Relaxed);
    }
}

/// Says that `new` is a duplicate of `old`.
pub(super) fn share(old: c_int, new: c_int) {
    let (Some(from), Some(to)) = (slot::known_any(old), slot::known_any(new)) else { return };
    let origin = from.slot.position.shared_with.load(Ordering::Relaxed);
    let origin = if origin < 0 { old } else { origin };
    to.slot.position.shared_with.store(origin, Ordering::Relaxed);
}

/// The lock, which is free again when this is dropped.
pub(super) struct Held(&'static WaitQueue<bool>);

/// Waits for the lock, without being cancelled: whoever has it holds it for a read of a disk.
pub(super) fn hold(known: Known) -> Held {
    let origin = known.slot.position.shared_with.load(Ordering::Relaxed);
    let slot = slot::find(origin).unwrap_or(known.slot);
    let queue = &slot.position.is_taken;
    let _shield = Shield::new();
    // Handed over by whoever had it, or free.
    let _ = queue.wait_if(How::new(Reason::Io, None), |is_taken, _| mem::replace(is_taken, true));
    Held(queue)
}

impl Drop for Held {
    fn drop(&mut self) {
        let next = self.0.with(|is_taken, list| {
            let next = list.claim_first();
            *is_taken = next.is_some();
            next
        });
        next.into_iter().for_each(|claimed| claimed.wake());
    }
}
