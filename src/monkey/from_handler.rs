//! Wakes that a signal handler makes: handed to a thread of their own.
//!
//! A handler may have interrupted its thread while that held the lock of the very queue that is to be looked at, or the
//! worker's own lists. So it only sets a bit and wakes the thread in the kernel. The thread then wakes every coroutine
//! of that part of the table: more than was asked for, which std's locks take for wakes without a reason.
//!
//! | a handler | the thread |
//! |---|---|
//! | sets the bit | reads `RUNG` |
//! | adds one to `RUNG` and wakes it | takes the bits, then sleeps while `RUNG` is as it was |
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Once;
use std::thread;

use super::futex::{self, SHARDS};
use crate::sys;

static WANTED: [AtomicU64; SHARDS / 64] = [const { AtomicU64::new(0) }; SHARDS / 64];
static RUNG: AtomicU32 = AtomicU32::new(0);
static RUNS: AtomicBool = AtomicBool::new(false);

/// Starts the thread, because a handler is installed. Not called by handlers.
pub(super) fn start() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let started = thread::Builder::new().name("handlers".into()).stack_size(64 << 10).spawn(serve);
        // Release pairs with the Acquire in `hand_over`; without the thread, handlers wake by themselves.
        RUNS.store(started.is_ok(), Ordering::Release);
    });
}

/// Has the thread wake who waits in a part of the table; false if there is no thread.
pub(super) fn hand_over(shard: usize) -> bool {
    // Acquire pairs with the Release in `start`.
    if !RUNS.load(Ordering::Acquire) {
        return false;
    }
    // Relaxed: ordered by `RUNG`.
    WANTED[shard / 64].fetch_or(1 << (shard % 64), Ordering::Relaxed);
    // Release pairs with the Acquire in `serve`.
    RUNG.fetch_add(1, Ordering::Release);
    sys::futex::wake(&raw const RUNG, 1);
    true
}

fn serve() {
    loop {
        // Acquire pairs with the Release in `hand_over`.
        let rung = RUNG.load(Ordering::Acquire);
        for (index, word) in WANTED.iter().enumerate() {
            // Relaxed: as above.
            let mut bits = word.swap(0, Ordering::Relaxed);
            while bits != 0 {
                futex::wake_all(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
        sys::futex::wait(&RUNG, rung, None);
    }
}
