//! `std::thread::park` on a coroutine: told from a lock's wait, and passed on to the kernel.
//!
//! Its word is the thread's, and std looks at it before and after the call, unseen: were one coroutine parked here, the
//! next one's `park` would find the word off by one and spin in std, and a token meant for the one could be taken
//! by the other without a trace. Passed on, a `park` keeps its worker, and neither spins nor misses a wake.
//!
//! The value it waits for, -1, is also that of an RwLock which is write-locked with readers and writers waiting. So the
//! thread's own word is found out: an `unpark` of the thread wakes that word if it is parked, and the wake comes through
//! here. The token this leaves makes one `park` return for no reason, as it may.
#![forbid(unsafe_code)]

use core::cell::Cell;
use std::thread;

/// The value that `park` waits for.
pub(super) const PARKED: u32 = u32::MAX;

thread_local! {
    /// Address of the thread's word, once that is known.
    static WORD: Cell<usize> = const { Cell::new(0) };
    static LEARNING: Cell<bool> = const { Cell::new(false) };
}

/// Tells whether a wait for `PARKED` at this address is a `park`.
pub(super) fn is_park(address: usize) -> bool {
    if WORD.get() == 0 {
        LEARNING.set(true);
        thread::current().unpark();
        LEARNING.set(false);
    }
    // Not learnt: nobody is parked on this thread, so it is a lock's.
    WORD.get() == address
}

/// Takes in a wake, if it is the one that tells the thread's word.
pub(super) fn learn(address: usize) -> bool {
    let learning = LEARNING.get();
    if learning {
        WORD.set(address);
    }
    learning
}
