//! A counting semaphore between processes.
//!
//! Free permits = `total` - the sum of `held[m]` over the members `m`. Under a lock whose holder may die, a
//! permit is taken or given back by one store, of `total` or of the member's `held`: so no death leaves it
//! half done. What a dead member held is free when its slot is; whoever takes the slot sets `held` to zero first.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::handle::{Place, handle};
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::runtime::far;
use crate::runtime::shield::Shield;
use crate::shm::event::{Baton, notify_all, notify_one};
use crate::shm::object::{Body as SharedBody, MEMBERS, Object};
use crate::sync::TooManyReleases;

/// Numbers of the events.
const LOCK: usize = 0;
const FREED: usize = 1;

#[repr(C)]
pub(super) struct Body {
    lock: RobustWord,
    /// Permits, less those taken without a guard.
    total: AtomicU64,
    /// The most that may be free; zero for no bound.
    most: AtomicU64,
    events: [Place; 2],
    /// Permits held by guards of each member.
    held: [AtomicU64; MEMBERS],
}

// SAFETY: `repr(C)`, atomics only.
unsafe impl SharedBody for Body {
    const KIND: u32 = 5;
    const EVENTS: usize = 2;

    fn event(&self, index: usize) -> &EventWord {
        &self.events[index].0
    }

    fn orphan(&self, dead: u64) {
        self.lock.orphan(dead);
    }

    fn begin(object: &Arc<Object<Self>>) {
        let body = object.body();
        // Relaxed: written under the lock, by members of this slot.
        if body.held[object.slot()].load(Ordering::Relaxed) == 0 {
            return;
        }
        let _shield = Shield::new();
        {
            let _lock = object.lock(&body.lock, LOCK, None);
            body.held[object.slot()].store(0, Ordering::Release);
        }
        notify_all(body.event(FREED));
    }
}

/// Permits that any process takes and gives back.
///
/// A permit taken with [`permit`](Self::permit) belongs to the process, and comes back if that is killed. One
/// taken with [`acquire`](Self::acquire) belongs to nobody: any process may release it, and if its taker is
/// killed it is gone.
///
/// # Examples
/// ```
/// let seats = ropewalk::process::Semaphore::new(2)?;
/// let seat = seats.permit();
/// assert_eq!(seats.available(), 1);
/// drop(seat);
/// assert_eq!(seats.available(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Semaphore(pub(super) Arc<Object<Body>>);

handle!(Semaphore, |semaphore, debug| {
    debug.field("available", &semaphore.available());
});

impl Semaphore {
    /// Makes a semaphore with that many free permits, to which more may be added by releasing.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(permits: u32) -> io::Result<Self> {
        Self::with(permits, 0)
    }

    /// Makes a semaphore that never has more free permits than at the beginning, which is one at least.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    ///
    /// # Panics
    /// If `permits` is zero: nothing could ever be acquired.
    pub fn bounded(permits: u32) -> io::Result<Self> {
        assert!(permits > 0, "a bounded semaphore without permits could never be acquired");
        Self::with(permits, permits)
    }

    fn with(permits: u32, most: u32) -> io::Result<Self> {
        let begin = |body: &Body| {
            // Relaxed: nobody else has it yet.
            body.total.store(permits.into(), Ordering::Relaxed);
            body.most.store(most.into(), Ordering::Relaxed);
        };
        Ok(Self(Object::create(0, begin)?))
    }

    /// How many permits are free now.
    pub fn available(&self) -> usize {
        match self.free() {
            0 => {
                self.0.look_for_deaths();
                self.free()
            }
            free => free,
        }
    }

    /// How many permits are free, as far as deaths are known.
    fn free(&self) -> usize {
        let body = self.0.body();
        let held_in = |(slot, held): (usize, &AtomicU64)| {
            // Relaxed: a look; under the lock, the lock orders it.
            let held = held.load(Ordering::Relaxed);
            if held > 0 && self.0.is_vacant(slot) { 0 } else { held }
        };
        let held = body.held.iter().enumerate().map(held_in).fold(0u64, u64::saturating_add);
        body.total.load(Ordering::Relaxed).saturating_sub(held) as usize
    }

    /// Takes a permit for nobody, or for this process. False if there was none until the deadline.
    fn take(&self, deadline: Option<Instant>, wait: bool, own: bool) -> bool {
        let body = self.0.body();
        let mut in_time = true;
        let baton = Baton::new(body.event(FREED), || self.free() > 0);
        loop {
            let key = body.event(FREED).prepare();
            if self.free() == 0 && !(wait && in_time) {
                self.0.look_for_deaths();
            }
            {
                let Some(_lock) = self.0.lock(&body.lock, LOCK, deadline) else { return false };
                if self.free() > 0 {
                    // Release throughout: one store each, seen whole by whoever comes after a death.
                    if own {
                        let held = &body.held[self.0.slot()];
                        held.store(held.load(Ordering::Relaxed) + 1, Ordering::Release);
                    } else {
                        body.total.store(body.total.load(Ordering::Relaxed) - 1, Ordering::Release);
                    }
                    baton.keep();
                    return true;
                }
            }
            if !wait || !in_time {
                return false;
            }
            in_time = self.0.wait(FREED, key, deadline);
        }
    }

    /// Waits for a permit and takes it, for nobody. A cancellation point if it has to wait.
    pub fn acquire(&self) {
        self.take(None, true, false);
    }

    /// Takes a permit, for nobody, if one is free. Never waits.
    pub fn try_acquire(&self) -> bool {
        self.take(None, false, false)
    }

    /// As [`acquire`](Self::acquire), but waits no longer than `limit`. False if that came first.
    pub fn acquire_timeout(&self, limit: Duration) -> bool {
        self.acquire_deadline(far::after(limit))
    }

    /// As [`acquire`](Self::acquire), but waits no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let seats = ropewalk::process::Semaphore::new(1)?;
    /// assert!(seats.acquire_deadline(Instant::now()));
    /// assert!(!seats.acquire_deadline(Instant::now()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.take(Some(deadline), true, false)
    }

    /// Gives back a permit that was taken for nobody, or adds one.
    ///
    /// # Errors
    /// [`TooManyReleases`] if a bounded semaphore has all its permits already.
    pub fn release(&self) -> Result<(), TooManyReleases> {
        let body = self.0.body();
        let _shield = Shield::new();
        {
            let _lock = self.0.lock(&body.lock, LOCK, None);
            let (total, most) = (body.total.load(Ordering::Relaxed), body.most.load(Ordering::Relaxed));
            if most > 0 && total >= most {
                return Err(TooManyReleases::new(most as usize));
            }
            body.total.store(total + 1, Ordering::Release);
        }
        notify_one(body.event(FREED));
        Ok(())
    }

    /// Waits for a permit of this process that gives itself back, also if the process is killed. A
    /// cancellation point if it has to wait.
    pub fn permit(&self) -> Permit<'_> {
        self.take(None, true, true);
        Permit(self)
    }

    /// As [`permit`](Self::permit), but waits no longer than `limit`. `None` if that came first.
    pub fn permit_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
        self.permit_deadline(far::after(limit))
    }

    /// As [`permit`](Self::permit), but waits no longer than until `deadline`. `None` if that came first.
    pub fn permit_deadline(&self, deadline: Instant) -> Option<Permit<'_>> {
        self.take(Some(deadline), true, true).then(|| Permit(self))
    }

    /// As [`permit`](Self::permit), but never waits. `None` if no permit is free.
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        self.take(None, false, true).then(|| Permit(self))
    }
}

/// A permit of a [`Semaphore`], given back when dropped, or when its process is killed.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let seats = ropewalk::process::Semaphore::new(1)?;
/// let permit = seats.permit();
/// assert!(seats.try_permit().is_none());
/// assert!(seats.permit_timeout(Duration::from_millis(1)).is_none());
/// drop(permit);
/// assert!(seats.try_permit().is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "the permit is given back when dropped"]
pub struct Permit<'a>(&'a Semaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let object = &self.0.0;
        // A copy in the child of a fork: the permit is the parent's.
        if !object.is_own() {
            return;
        }
        let body = object.body();
        let _shield = Shield::new();
        {
            let _lock = object.lock(&body.lock, LOCK, None);
            let held = &body.held[object.slot()];
            held.store(held.load(Ordering::Relaxed).saturating_sub(1), Ordering::Release);
        }
        notify_one(body.event(FREED));
    }
}
