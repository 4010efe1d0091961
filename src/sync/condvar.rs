//! Waiting for something to become true under a mutex.
#![forbid(unsafe_code)]

use core::fmt;
use core::ptr;
use core::time::Duration;
use std::time::Instant;

use super::futex::{shard, wake_address};
use super::mutex::MutexGuard;
use crate::runtime::far;
use crate::runtime::park::{Outcome, Reason, raise_cancelled};
use crate::runtime::shield::Shield;
use crate::runtime::wait_queue::How;

/// A condition variable: wakes are given to those who wait already, the oldest first.
///
/// # Examples
/// ```
/// use ropewalk::sync::{Condvar, Mutex};
///
/// static READY: Mutex<bool> = Mutex::new(false);
/// static CHANGED: Condvar = Condvar::new();
/// let waiter = ropewalk::spawn(|| {
///     let guard = CHANGED.wait_while(READY.lock(), |ready| !*ready);
///     assert!(*guard);
/// });
/// *READY.lock() = true;
/// CHANGED.notify_all();
/// waiter.join().unwrap();
/// ```
#[derive(Default)]
pub struct Condvar {
    /// A place in memory of its own: the key of the futex table.
    _place: u8,
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}

impl Condvar {
    /// Makes a condition variable that nobody waits for.
    pub const fn new() -> Self {
        Self { _place: 0 }
    }

    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Unlocks, waits for a notification, and locks again, shielded from cancellation. Unlocking and
    /// the beginning of the wait are one step for those who notify under the mutex. Wakes may be
    /// spurious. A cancellation point.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Condvar, Mutex};
    ///
    /// let (ready, changed) = (Mutex::new(false), Condvar::new());
    /// ropewalk::scope(|s| {
    ///     s.spawn(|| {
    ///         *ready.lock() = true;
    ///         changed.notify_one();
    ///     });
    ///     let mut guard = ready.lock();
    ///     while !*guard { guard = changed.wait(guard); }
    ///     assert!(*guard);
    /// });
    /// ```
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_deadline_inner(guard, None).0
    }

    /// Waits as long as `condition` holds.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False with the guard if that came first.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_deadline(guard, far::after(limit))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False with the guard if that came
    /// first.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Condvar, Mutex};
    /// use std::time::{Duration, Instant};
    ///
    /// let (ready, changed) = (Mutex::new(false), Condvar::new());
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// let (guard, notified) = changed.wait_deadline(ready.lock(), soon);
    /// assert!(!notified && !*guard);
    /// ```
    pub fn wait_deadline<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_deadline_inner(guard, Some(deadline))
    }

    /// As [`wait_while`](Self::wait_while), but no longer than `limit`. False with the guard if
    /// `condition` still held then.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (count, changed) = (Mutex::new(0), Condvar::new());
    /// let (guard, done) = changed.wait_timeout_while(count.lock(), Duration::from_millis(1), |n| *n < 3);
    /// assert_eq!((*guard, done), (0, false));
    /// ```
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
        condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, bool) {
        self.wait_deadline_while(guard, far::after(limit), condition)
    }

    /// As [`wait_while`](Self::wait_while), but no longer than until `deadline`. False with the guard if
    /// `condition` still held then.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Condvar, Mutex};
    /// use std::time::Instant;
    ///
    /// let (count, changed) = (Mutex::new(3), Condvar::new());
    /// let (guard, done) = changed.wait_deadline_while(count.lock(), Instant::now(), |n| *n < 3);
    /// assert_eq!((*guard, done), (3, true));
    /// ```
    pub fn wait_deadline_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Instant,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, bool) {
        while condition(&mut guard) {
            let notified;
            (guard, notified) = self.wait_deadline(guard, deadline);
            if !notified && condition(&mut guard) {
                return (guard, false);
            }
        }
        (guard, true)
    }

    fn wait_deadline_inner<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, bool) {
        let mutex = guard.mutex();
        let how = How { key: self.address(), ..How::new(Reason::Lock, deadline) };
        let mut held = Some(guard);
        // The mutex is freed once this party is in the queue, so that nobody notifies too early. Its
        // own queue may be the same shard, hence not inside `wait_if`.
        let outcome = shard(self.address()).wait_after(how, || drop(held.take()));
        let guard = {
            let _shield = Shield::new();
            mutex.lock()
        };
        if outcome == Outcome::Cancelled {
            drop(guard);
            raise_cancelled();
        }
        (guard, outcome == Outcome::Notified)
    }

    /// Wakes the one that has waited longest. Never waits.
    pub fn notify_one(&self) {
        wake_address(self.address(), 1);
    }

    /// Wakes all who wait now. Never waits.
    pub fn notify_all(&self) {
        wake_address(self.address(), usize::MAX);
    }
}
