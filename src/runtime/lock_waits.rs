//! Coroutines that wait long for a lock of std, reported by the monitor.
//!
//! A lock of std does not tell who holds it, so a deadlock cannot be found as among this crate's own. Before std's futex is
//! replaced, a deadlock blocks the worker, and the monitor reports the long turn. Afterwards the worker is free, and the
//! wait itself is what lasts. The owner of the waits (`monkey`) installs the functions that look at them.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::sync::OnceLock;

use super::current::Handle;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::sys;

/// A wait that is shorter is not reported, whatever the monitor's threshold is.
const SHORTEST: Duration = Duration::from_secs(1);
/// Reports of which each is made. After them only the 32nd, 64th, 128th … are: programs that wait so on purpose exist.
const EACH: u64 = 16;

/// A wait that is to be reported.
#[derive(Debug)]
pub(crate) struct LockWait {
    pub(crate) coroutine: Handle,
    /// The lock's word.
    pub(crate) address: usize,
    /// Nanoseconds of `sys::thread::monotonic` at its begin.
    pub(crate) since: u64,
}

/// The functions that look at the waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// Takes one that began before this time, and that was not taken before.
    pub(crate) take: fn(u64) -> Option<LockWait>,
    /// Tells whether there is one that was not taken, however young.
    pub(crate) has_some: fn() -> bool,
}

static SOURCE: OnceLock<Source> = OnceLock::new();

/// Installs the functions, once.
#[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "its caller is `monkey`"))]
pub(crate) fn install(source: Source) {
    let _ = SOURCE.set(source);
}

/// How long the monitor may sleep while there is a wait that it may have to report.
pub(super) fn nap(threshold: Option<Duration>) -> Option<Duration> {
    let limit = threshold?.max(SHORTEST);
    (SOURCE.get()?.has_some)().then_some(limit / 4)
}

/// Reports the waits that last.
pub(super) fn report(threshold: Option<Duration>) {
    static REPORTED: AtomicU64 = AtomicU64::new(0);
    let (Some(source), Some(threshold)) = (SOURCE.get(), threshold) else { return };
    let limit = u64::try_from(threshold.max(SHORTEST).as_nanos()).unwrap_or(u64::MAX);
    let now = sys::thread::monotonic();
    while let Some(LockWait { coroutine, address, since }) = (source.take)(now.saturating_sub(limit)) {
        // Relaxed: only counted.
        let number = REPORTED.fetch_add(1, Ordering::Relaxed) + 1;
        if number <= EACH || number.is_power_of_two() {
            let (name, id) = (coroutine.name().unwrap_or("unnamed"), coroutine.id());
            let millis = now.saturating_sub(since) / 1_000_000;
            unwind::report(|| {
                notice::warn!(
                    "coroutine '{name}' (#{id}) has waited {millis} ms for a lock of std (at {address:#x}); if the \
                     holder waits for this coroutine, that is a deadlock"
                );
            });
        }
    }
}
