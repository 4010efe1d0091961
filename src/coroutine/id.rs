//! Numbers of coroutines and threads: unique for ever, handed out in blocks.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

/// Numbers a thread takes at once, so that a spawn rarely touches the shared counter.
const BLOCK: u64 = 1024;

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The next number of this thread's block, and how many are left.
    static OWN: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// The next number. Rising on each thread; a thread-local load and store.
#[inline]
pub(crate) fn next() -> u64 {
    let (id, left) = OWN.get();
    if left > 0 {
        OWN.set((id + 1, left - 1));
        return id;
    }
    // Relaxed: only the uniqueness of the block matters.
    let first = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
    OWN.set((first + 1, BLOCK - 1));
    first
}
