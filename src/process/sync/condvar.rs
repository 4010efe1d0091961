//! Waiting, between processes, for something to become true under a mutex.

use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::handle::{Place, handle};
use super::mutex::{MutexGuard, OwnerDied};
use crate::base::event_word::EventWord;
use crate::runtime::far;
use crate::runtime::shield::Shield;
use crate::shm::event::{notify_all, notify_one};
use crate::shm::object::{Body as SharedBody, Object};
use crate::shm::pod::Pod;

#[repr(C)]
pub(super) struct Body(Place);

// SAFETY: `repr(C)`, one atomic word.
unsafe impl SharedBody for Body {
    const KIND: u32 = 3;
    const EVENTS: usize = 1;

    fn event(&self, _: usize) -> &EventWord {
        &self.0.0
    }

    fn orphan(&self, _: u64) {}
}

/// A condition variable for a [`Mutex`](super::Mutex) between processes.
///
/// A notification that was given to a process which is killed before it acts wakes the others.
///
/// # Examples
/// ```
/// use ropewalk::process::{Condvar, Mutex};
///
/// let (ready, changed) = (Mutex::new(0u8)?, Condvar::new()?);
/// let (other_ready, other_changed) = (ready.clone(), changed.clone());
/// let waiter = ropewalk::spawn(move || {
///     let mut guard = other_ready.lock().unwrap();
///     while *guard == 0 {
///         guard = other_changed.wait(guard).unwrap();
///     }
/// });
/// *ready.lock().unwrap() = 1;
/// changed.notify_all();
/// waiter.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Condvar(pub(super) Arc<Object<Body>>);

handle!(Condvar, |_, _| ());

impl Condvar {
    /// Makes a condition variable that nobody waits for.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Object::create(0, |_| ())?))
    }

    /// Unlocks, waits for a notification, and locks again, shielded from cancellation. Wakes may be spurious.
    /// A cancellation point; a cancelled wait does not lock again.
    ///
    /// # Errors
    /// [`OwnerDied`], as from `lock`.
    pub fn wait<'a, T: Pod>(&self, guard: MutexGuard<'a, T>) -> Result<MutexGuard<'a, T>, OwnerDied<'a, T>> {
        self.wait_until(guard, None).map(|(guard, _)| guard)
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False with the guard if that came first.
    ///
    /// # Errors
    /// [`OwnerDied`], as from `lock`.
    pub fn wait_timeout<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        limit: Duration,
    ) -> Result<(MutexGuard<'a, T>, bool), OwnerDied<'a, T>> {
        self.wait_until(guard, Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False with the guard if that came first.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::process::{Condvar, Mutex};
    /// use std::time::{Duration, Instant};
    ///
    /// let (ready, changed) = (Mutex::new(0u32)?, Condvar::new()?);
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// let (guard, notified) = changed.wait_deadline(ready.lock().unwrap(), soon).unwrap();
    /// assert!(!notified && *guard == 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`OwnerDied`], as from `lock`.
    pub fn wait_deadline<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Instant,
    ) -> Result<(MutexGuard<'a, T>, bool), OwnerDied<'a, T>> {
        self.wait_until(guard, Some(deadline))
    }

    fn wait_until<'a, T: Pod>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> Result<(MutexGuard<'a, T>, bool), OwnerDied<'a, T>> {
        let mutex = guard.mutex();
        // Under the mutex: a notification after the unlocking finds the bit, and another word than this.
        let key = self.0.body().event(0).prepare();
        drop(guard);
        let in_time = self.0.wait(0, key, deadline);
        let _shield = Shield::new();
        mutex.lock().map(|guard| (guard, in_time))
    }

    /// Wakes one of those who wait. Never waits.
    pub fn notify_one(&self) {
        notify_one(self.0.body().event(0));
    }

    /// Wakes all who wait now. Never waits.
    pub fn notify_all(&self) {
        notify_all(self.0.body().event(0));
    }
}
