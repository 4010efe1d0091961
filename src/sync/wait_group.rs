//! Waiting for a number of things to be done.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use crate::runtime::far;
use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitQueue};

/// A count of open tasks, and those who wait until it is zero; Go's `WaitGroup`.
///
/// # Examples
/// ```
/// use ropewalk::sync::WaitGroup;
/// use std::sync::Arc;
///
/// let group = Arc::new(WaitGroup::new());
/// for _ in 0..3 {
///     group.add(1);
///     let group = Arc::clone(&group);
///     ropewalk::spawn(move || group.done());
/// }
/// group.wait();
/// assert_eq!(group.count(), 0);
/// ```
pub struct WaitGroup(WaitQueue<usize>);

impl fmt::Debug for WaitGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitGroup").field("count", &self.count()).finish()
    }
}

impl Default for WaitGroup {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitGroup {
    /// Makes a group without open tasks.
    pub const fn new() -> Self {
        Self(WaitQueue::new(0))
    }

    /// Opens `count` more. Never waits.
    ///
    /// # Panics
    /// If the count does not fit a `usize`.
    pub fn add(&self, count: usize) {
        let fits = self.0.with(|open, _| open.checked_add(count).map(|sum| *open = sum).is_some());
        assert!(fits, "a WaitGroup cannot count so many open tasks");
    }

    /// Closes one; the last one wakes all who wait. Never waits.
    ///
    /// # Panics
    /// If none is open.
    pub fn done(&self) {
        let woken: Option<Vec<Claimed>> = self.0.with(|open, waiters| {
            *open = open.checked_sub(1)?;
            Some(if *open == 0 {
                core::iter::from_fn(|| waiters.claim_first()).collect()
            } else {
                Vec::new()
            })
        });
        match woken {
            Some(woken) => woken.into_iter().for_each(Claimed::wake),
            None => panic!("WaitGroup::done was called once more than add"),
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.with(|open, _| *open)
    }

    /// Tells whether none is open. Never waits.
    pub fn try_wait(&self) -> bool {
        self.count() == 0
    }

    /// Waits until none is open. A cancellation point if it has to wait.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// let group = ropewalk::sync::WaitGroup::new();
    /// group.add(1);
    /// assert!(!group.wait_timeout(std::time::Duration::from_millis(1)));
    /// group.done();
    /// assert!(group.try_wait());
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
    /// let group = ropewalk::sync::WaitGroup::new();
    /// group.add(1);
    /// assert!(!group.wait_deadline(Instant::now()));
    /// group.done();
    /// assert!(group.wait_deadline(Instant::now()));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        match self.0.wait_if(How::new(Reason::Lock, deadline), |open, _| *open > 0) {
            None | Some(Outcome::Notified) => true,
            Some(Outcome::TimedOut) => false,
            Some(Outcome::Cancelled) => raise_cancelled(),
        }
    }
}
