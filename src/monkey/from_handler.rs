//! Wakes that a signal handler makes, by a futex or by closing a descriptor: handed to a thread of their own.
//!
//! A handler may have interrupted its thread while that held the lock of the very queue that is to be looked at, or the
//! worker's own lists. So it only sets a bit and wakes the thread in the kernel. The thread then wakes every coroutine
//! of that part of the table: more than was asked for, which std's locks take for wakes without a reason.
//!
//! | a handler | the thread |
//! |---|---|
//! | sets the bit | reads `RUNG` |
//! | adds one to `RUNG` and wakes it | takes the bits, then sleeps while `RUNG` is as it was |
//!
//! A descriptor that a handler has closed is known to be gone at once, by its generation. Its slot is put in a list, as a
//! stack of numbers, and the thread makes its source leave the reactor. A source that was registered anew meanwhile
//! only registers once more. Where there is no such thread (the program handles nothing but its own faults), the next
//! one that is closed in the ordinary way has this done.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::Once;
use std::thread;

use super::futex::{self, SHARDS};
use super::slot::{self, Slot};
use crate::sys;

static WANTED: [AtomicU64; SHARDS / 64] = [const { AtomicU64::new(0) }; SHARDS / 64];
static RUNG: AtomicU32 = AtomicU32::new(0);
static RUNS: AtomicBool = AtomicBool::new(false);

/// No descriptor.
const NONE: i32 = -1;
/// The first of those that handlers have retired.
static LEAVING: AtomicI32 = AtomicI32::new(NONE);

/// A slot's place in the list of those that are to leave.
#[derive(Debug)]
pub(super) struct Retired {
    listed: AtomicBool,
    /// Written by whoever lists it.
    next: AtomicI32,
}

impl Retired {
    pub(super) const fn new() -> Self {
        Self { listed: AtomicBool::new(false), next: AtomicI32::new(NONE) }
    }
}

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
    ring();
    true
}

fn ring() {
    // Release pairs with the Acquire in `serve`.
    RUNG.fetch_add(1, Ordering::Release);
    sys::futex::wake(&raw const RUNG, 1);
}

/// Has the source of a slot leave its reactor, because a handler has retired the number. Takes no lock.
pub(super) fn leave_later(slot: &Slot) {
    // AcqRel pairs with the swap in `leave_all`: one that was listed already leaves after what was done here.
    if !slot.retired.listed.swap(true, Ordering::AcqRel) {
        let mut first = LEAVING.load(Ordering::Relaxed);
        loop {
            // Relaxed: published by the exchange.
            slot.retired.next.store(first, Ordering::Relaxed);
            // Release pairs with the Acquire in `leave_all`.
            match LEAVING.compare_exchange(first, slot.fd(), Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => first = other,
            }
        }
    }
    ring();
}

/// Makes all leave that handlers have retired, if the thread has not done so yet.
#[inline]
pub(super) fn leave_overdue() {
    // Relaxed: a look, `leave_all` decides.
    if LEAVING.load(Ordering::Relaxed) != NONE {
        leave_all();
    }
}

#[cold]
fn leave_all() {
    // Acquire pairs with the Release in `leave_later`.
    let mut next = LEAVING.swap(NONE, Ordering::Acquire);
    while let Some(slot) = slot::find(next) {
        // Relaxed: as above; before the slot may be listed anew.
        next = slot.retired.next.load(Ordering::Relaxed);
        // AcqRel pairs with the swap in `leave_later`.
        slot.retired.listed.swap(false, Ordering::AcqRel);
        slot.source.leave();
    }
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
        leave_overdue();
        sys::futex::wait(&RUNG, rung, None);
    }
}
