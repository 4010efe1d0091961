//! What is done once; `OnceCell` and `Lazy` are built on it.
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `NEW` | not done | the first caller, to `RUNNING` |
//! | `RUNNING` | somebody is doing it | that one, to `DONE`, or to `NEW` if it unwinds |
//! | `DONE` | done | nobody |
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::futex;
use crate::runtime::{far, party};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;

/// Something to be done once. If it panics, the next caller does it.
///
/// # Examples
/// ```
/// use ropewalk::sync::Once;
///
/// static SETUP: Once = Once::new();
/// let mut times = 0;
/// SETUP.call_once(|| times += 1);
/// SETUP.call_once(|| times += 1);
/// assert_eq!(times, 1);
/// ```
#[derive(Default)]
pub struct Once {
    state: AtomicU32,
    /// Who is doing it.
    runner: AtomicU32,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish()
    }
}

/// How long a caller waits for another's run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Patience {
    None,
    Until(Instant),
    ForEver,
}

/// Tells the others how it has ended.
struct Running<'a>(&'a Once, u32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Relaxed: read by the runner itself.
        self.0.runner.store(0, Ordering::Relaxed);
        // SeqCst: Release for what was done, and the futex's own comparison.
        self.0.state.store(self.1, Ordering::SeqCst);
        futex::wake(&self.0.state, usize::MAX);
    }
}

impl Once {
    /// Makes one that is not done.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(NEW), runner: AtomicU32::new(0) }
    }

    /// Tells whether it is done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire pairs with the Release of the end.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Does it, or waits until another has done it. A cancellation point if it has to wait.
    ///
    /// # Panics
    /// If `f` does, and if `f` calls this on the same `Once`.
    pub fn call_once(&self, f: impl FnOnce()) {
        self.call(Patience::ForEver, f);
    }

    /// Does it, unless another is doing it now: false then. Waits for nobody; `f` itself may.
    ///
    /// # Examples
    /// ```
    /// let once = ropewalk::sync::Once::new();
    /// assert!(once.try_call_once(|| assert!(!once.try_call_once(|| ()), "it runs now")));
    /// assert!(once.try_call_once(|| unreachable!("it is done")));
    /// ```
    ///
    /// # Panics
    /// If `f` does.
    pub fn try_call_once(&self, f: impl FnOnce()) -> bool {
        self.call(Patience::None, f)
    }

    /// As [`call_once`](Self::call_once), but waits for another no longer than `limit`. False if that came
    /// first; how long `f` may take is its own affair.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Event, Once};
    /// use std::time::Duration;
    ///
    /// let (once, begun, go_on) = (Once::new(), Event::new(), Event::new());
    /// ropewalk::scope(|s| {
    ///     s.spawn(|| once.call_once(|| { begun.set(); go_on.wait(); }));
    ///     begun.wait();
    ///     assert!(!once.call_once_timeout(Duration::from_millis(1), || unreachable!()));
    ///     go_on.set();
    ///     assert!(once.call_once_timeout(Duration::from_secs(60), || unreachable!()));
    /// });
    /// ```
    ///
    /// # Panics
    /// If `f` does, and if `f` calls this on the same `Once`.
    pub fn call_once_timeout(&self, limit: Duration, f: impl FnOnce()) -> bool {
        self.call_once_deadline(far::after(limit), f)
    }

    /// As [`call_once`](Self::call_once), but waits for another no longer than until `deadline`. False if that
    /// came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let once = ropewalk::sync::Once::new();
    /// assert!(once.call_once_deadline(Instant::now(), || ())); // nobody else is at it
    /// assert!(once.is_completed());
    /// ```
    ///
    /// # Panics
    /// If `f` does, and if `f` calls this on the same `Once`.
    pub fn call_once_deadline(&self, deadline: Instant, f: impl FnOnce()) -> bool {
        self.call(Patience::Until(deadline), f)
    }

    fn call(&self, patience: Patience, f: impl FnOnce()) -> bool {
        let ran: Result<bool, core::convert::Infallible> = self.run("Once", patience, || {
            f();
            Ok(())
        });
        let Ok(done) = ran;
        done
    }

    /// Waits until somebody has done it. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// static LOADED: ropewalk::sync::Once = ropewalk::sync::Once::new();
    /// let waiter = ropewalk::spawn(|| LOADED.wait());
    /// LOADED.call_once(|| ());
    /// waiter.join().unwrap();
    /// assert!(LOADED.is_completed());
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let once = ropewalk::sync::Once::new();
    /// assert!(!once.wait_deadline(Instant::now()));
    /// once.call_once(|| ());
    /// assert!(once.wait_deadline(Instant::now()));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            // Acquire pairs with the Release of the end.
            let state = self.state.load(Ordering::Acquire);
            if state == DONE {
                return true;
            }
            // A run that fails wakes everybody, and the next one may not.
            if futex::wait(&self.state, state, deadline) == futex::Waited::TimedOut {
                return self.is_completed();
            }
        }
    }

    /// Does it, or waits until another has done it, as long as `patience` lasts. False if that was too short.
    pub(super) fn run<E>(
        &self,
        what: &str,
        patience: Patience,
        f: impl FnOnce() -> Result<(), E>,
    ) -> Result<bool, E> {
        while !self.is_completed() {
            // Acquire: a run before that failed may have left something behind.
            match self.state.compare_exchange(NEW, RUNNING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    self.runner.store(party::current_id(), Ordering::Relaxed);
                    let mut running = Running(self, NEW);
                    f()?;
                    running.1 = DONE;
                    return Ok(true);
                }
                Err(RUNNING) => {
                    let deadline = match patience {
                        Patience::None => return Ok(false),
                        Patience::Until(deadline) => Some(deadline),
                        Patience::ForEver => None,
                    };
                    // Relaxed: only the caller's own store can match.
                    let own = self.runner.load(Ordering::Relaxed) == party::current_id();
                    assert!(!own, "a {what} was used again from within its own init: it would wait for ever");
                    if futex::wait(&self.state, RUNNING, deadline) == futex::Waited::TimedOut {
                        return Ok(self.is_completed());
                    }
                }
                Err(_) => {}
            }
        }
        Ok(true)
    }
}
