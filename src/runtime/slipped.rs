//! System calls that keep a worker in the kernel in the middle of a turn: what `monkey` offers as a debug mode.
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | the monitor, each tick, for each turn that has lasted a tick | reads in which call the thread is blocked |
//! | 2 | the monitor, a tick later | the same turn is blocked in the same call: it is counted and reported, once a turn |
//! | 3 | the report | asks the thread by a signal for name and frames (`sample`), which may end the call with `EINTR` |
//!
//! Two looks, because a call that is found once may have just begun. The first two steps do not disturb the
//! thread. While it is off, the monitor makes one load a tick for it, and nobody else anything.
//!
//! Rejected: seccomp's user notification. It sees each call before it is made, but it cannot tell which will
//! block, costs two switches of threads for each, needs the filter's table of calls kept complete, can never be
//! taken off again, and is inherited by children.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::worker::Worker;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::sys::blocked::{self, Call};

static ON: AtomicBool = AtomicBool::new(false);
/// Says once in a process that looks fail.
static FAILED: AtomicBool = AtomicBool::new(false);
/// One entry a number of a call, so there are no more than the kernel has calls.
static FOUND: Lock<Vec<Found>> = Lock::new(Vec::new());

/// What has been found of one system call.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) number: libc::c_long,
    pub(crate) count: u64,
    /// The name of the coroutine that was found last, if it has one.
    pub(crate) coroutine: Option<String>,
}

pub(crate) fn is_on() -> bool {
    // Relaxed: nothing rides on it.
    ON.load(Ordering::Relaxed)
}

/// Turns it on or off for all runtimes. Turned on, it first tries to read what it needs.
#[cfg(feature = "monkey")]
pub(crate) fn turn(on: bool) -> std::io::Result<()> {
    if on {
        blocked::look(crate::sys::thread::id().unsigned_abs())?;
    }
    // Relaxed: as in `is_on`.
    ON.store(on, Ordering::Relaxed);
    Ok(())
}

/// All that has been found.
#[cfg(feature = "monkey")]
pub(crate) fn found() -> Vec<Found> {
    FOUND.lock().clone()
}

/// Counts one.
pub(crate) fn count(number: libc::c_long, coroutine: Option<String>) {
    let mut found = FOUND.lock();
    let before = match found.iter_mut().find(|found| found.number == number) {
        Some(entry) => {
            entry.count += 1;
            core::mem::replace(&mut entry.coroutine, coroutine)
        }
        None => {
            found.push(Found { number, count: 1, coroutine });
            None
        }
    };
    drop(found);
    drop(before);
}

/// What the monitor remembers of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    /// Where the thread was blocked at the last look, and since when it has been found there.
    last: Option<(Call, Instant)>,
    reported: bool,
}

impl Looks {
    /// Looks at the thread of `worker`, which is in the turn `tick`. The call, and how long it has been blocked
    /// in that at least, if this is to be reported.
    pub(crate) fn again(&mut self, worker: &Worker, tick: u64, now: Instant) -> Option<(Call, Duration)> {
        if self.reported || !is_on() {
            return None;
        }
        // Relaxed: the worker's thread has stored it before its first turn.
        let call = match blocked::look(worker.thread.load(Ordering::Relaxed)) {
            Ok(call) => call,
            Err(error) => {
                // Relaxed: it only has to be one that says it.
                if !FAILED.swap(true, Ordering::Relaxed) {
                    unwind::report(|| notice::warn!("blocking calls cannot be told: {error}"));
                }
                None
            }
        };
        // A worker whose coroutine waits while it unwinds naps in its own epoll instance, which nobody else knows.
        let call = call.filter(|call| !worker.reactor.is_polled_by(call));
        // Relaxed: written before the worker went into the kernel, where the look has found it.
        let same_turn =
            worker.counters.switches.get() == tick && !worker.running.load(Ordering::Relaxed).is_null();
        let Some(call) = call.filter(|_| same_turn) else {
            self.last = None;
            return None;
        };
        match self.last {
            Some((last, since)) if last == call => {
                self.reported = true;
                Some((call, now - since))
            }
            _ => {
                self.last = Some((call, now));
                None
            }
        }
    }
}
