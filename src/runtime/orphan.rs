//! A child that was forked after a runtime had started: it has the runtime's memory, but none of its threads.
//!
//! Their locks may have been held at the moment of the fork, so no runtime can start there. What would wait for one
//! fails instead.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::io;

use crate::base::fork;

/// The number of the process in which a runtime has started (`base::fork`); 0 if there is none.
static STARTED: AtomicU32 = AtomicU32::new(0);

/// What such a child is told.
pub(crate) const WHY: &str = "this process was forked after a runtime had started, and has none of its threads; \
                              fork before the first use of coroutines, or start the child by an exec";

/// Notes that a runtime starts.
///
/// # Errors
/// In the child of a process in which one had started.
pub(super) fn begin() -> io::Result<()> {
    let now = fork::generation();
    // Relaxed, here and below: written before there is a second thread of the runtime, or another process.
    match STARTED.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(started) if started == now => Ok(()),
        Err(_) => Err(io::Error::other(WHY)),
    }
}

/// Tells whether a runtime had started before this process was forked.
#[inline]
pub(crate) fn is_orphan() -> bool {
    let started = STARTED.load(Ordering::Relaxed);
    started != 0 && started != fork::generation()
}

/// Tells whether a runtime has started, in this process or in one that it was forked from.
#[cfg(feature = "monkey")]
pub(crate) fn has_started() -> bool {
    STARTED.load(Ordering::Relaxed) != 0
}

/// # Errors
/// In such a child.
pub(super) fn check() -> io::Result<()> {
    if is_orphan() { Err(io::Error::other(WHY)) } else { Ok(()) }
}

/// # Panics
/// In such a child.
#[inline]
pub(super) fn refuse() {
    assert!(!is_orphan(), "{WHY}");
}
