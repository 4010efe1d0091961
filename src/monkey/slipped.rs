//! The debug mode: which blocking system calls slip past the hooks, found by `runtime::slipped`.
#![forbid(unsafe_code)]

use core::fmt;
use std::io;

use crate::runtime::slipped::{self, Found};
use crate::sys::blocked;

/// Turns a debug mode on or off: blocking system calls that do not come through a replaced function, made
/// while a coroutine runs, are reported as warnings of the `log` crate, and counted for [`slipped`].
///
/// It is for all runtimes of the process, and off at first; off, it costs nothing. A report names the
/// coroutine, worker, runtime and system call, and shows the frames (on x86-64). Each turn of a coroutine,
/// from one wait to the next, is reported once.
///
/// How it sees: every 10 ms each runtime's monitor reads from `/proc` in which system call a worker's thread is
/// blocked, if its coroutine has run for 10 ms without a wait. The same call at two looks is reported.
/// * It sees whatever is blocked in the kernel, whoever called: system calls as instructions (rustix), calls
///   inside of libc and of C libraries, functions that are not patched in, and replaced ones that cannot
///   cooperate (`std::thread::park`, standard input).
/// * It does not see what blocks for less than 20 to 30 ms at a time, however often; calls that work rather
///   than sleep (a long read from the page cache); sleeps outside of any call (a mapped page that comes
///   from disk); threads other than workers, such as those of `spawn_blocking`, which may block.
/// * A loop that makes the same call over and over, from the same place, looks like one call.
/// * Asking for the name and the frames takes a signal
///   ([`monitor_signal`](crate::runtime::RuntimeBuilder::monitor_signal)): the reported call, if it is one that
///   is never restarted (`poll`, `nanosleep`), then returns `EINTR`. Without a signal the report names the
///   worker only.
///
/// # Errors
/// What the kernel says when `/proc/self/task/…/syscall` cannot be read: `/proc` is not mounted, the process is
/// not dumpable, or the kernel was built without that file. The mode stays off then.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use ropewalk::monkey;
///
/// monkey::patch_all()?;
/// monkey::report_blocking(true)?;
/// // A replaced function: nothing to report.
/// ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(50))).join().unwrap();
/// assert!(monkey::slipped().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn report_blocking(on: bool) -> io::Result<()> {
    slipped::turn(on)
}

/// Lists the system calls that were found blocked under a coroutine since [`report_blocking`] was first turned
/// on, the most frequent first.
///
/// # Examples
/// ```
/// for call in ropewalk::monkey::slipped() {
///     println!("{call}");
/// }
/// assert!(ropewalk::monkey::slipped().is_empty()); // the mode is off
/// ```
pub fn slipped() -> Vec<Slipped> {
    let mut found = slipped::found();
    found.sort_by_key(|found| core::cmp::Reverse(found.count));
    found.into_iter().map(Slipped).collect()
}

/// A system call that slipped past the hooks, as [`slipped`] lists it.
///
/// # Examples
/// ```
/// use ropewalk::monkey;
/// use std::time::Duration;
///
/// monkey::report_blocking(true)?;
/// let is_sleep = |call: &monkey::Slipped| call.name().is_some_and(|name| name.contains("nanosleep"));
/// let found = (0..100).any(|_| {
///     // Nothing is patched, so this blocks the worker. It is seen unless the monitor comes by too late.
///     ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(100))).join().unwrap();
///     monkey::slipped().iter().any(is_sleep)
/// });
/// assert!(found);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Slipped(Found);

impl Slipped {
    /// The kernel's name of the call; `None` for one that hardly ever blocks.
    pub fn name(&self) -> Option<&'static str> {
        blocked::name(self.0.number)
    }

    /// The kernel's number of the call.
    pub fn number(&self) -> i64 {
        self.0.number
    }

    /// How many turns of coroutines were found in it.
    pub fn count(&self) -> u64 {
        self.0.count
    }

    /// The name of the coroutine that was found in it last, if it has one and could be asked.
    pub fn last_coroutine(&self) -> Option<&str> {
        self.0.coroutine.as_deref()
    }
}

impl fmt::Display for Slipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, number, count) = (self.name().unwrap_or("unnamed"), self.number(), self.count());
        let last = self.last_coroutine().unwrap_or("unnamed");
        write!(f, "{name} ({number}): {count} times, last by coroutine '{last}'")
    }
}
