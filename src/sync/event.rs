//! A flag to wait for.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::futex::{self, Waited};
use crate::runtime::far;

/// Something that happens once, or is reset: whoever waits goes on when it is set.
///
/// # Examples
/// ```
/// use ropewalk::sync::Event;
///
/// static GO: Event = Event::new();
/// let runner = ropewalk::spawn(|| GO.wait());
/// GO.set();
/// runner.join().unwrap();
/// assert!(GO.is_set());
/// ```
#[derive(Default)]
pub struct Event(AtomicU32);

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}

impl Event {
    /// Makes an event that is not set.
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Tells whether it is set.
    pub fn is_set(&self) -> bool {
        // Acquire pairs with the Release in `set`.
        self.0.load(Ordering::Acquire) != 0
    }

    /// Sets it, and wakes all who wait. Never waits.
    pub fn set(&self) {
        // SeqCst: the futex's side of the comparison is SeqCst too; Release for what was done before.
        if self.0.swap(1, Ordering::SeqCst) == 0 {
            futex::wake(&self.0, usize::MAX);
        }
    }

    /// Resets it: whoever comes now waits.
    pub fn clear(&self) {
        // Relaxed: nothing is published by it.
        self.0.store(0, Ordering::Relaxed);
    }

    /// Waits until it has been set. A cancellation point if it has to wait.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::Event;
    /// use std::time::Duration;
    ///
    /// let event = Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let event = ropewalk::sync::Event::new();
    /// assert!(!event.wait_deadline(Instant::now()));
    /// event.set();
    /// assert!(event.wait_deadline(Instant::now()));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        // Woken by a `set` that was cleared again counts: it has happened.
        self.is_set() || futex::wait(&self.0, 0, deadline) != Waited::TimedOut
    }
}
