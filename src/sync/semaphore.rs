//! A fair counting semaphore.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use crate::runtime::far;
use crate::runtime::park::{Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitQueue};

/// Permits that are taken and given back; whoever waits longest gets the next one.
///
/// # Examples
/// ```
/// use ropewalk::sync::Semaphore;
///
/// let seats = Semaphore::bounded(2);
/// seats.acquire();
/// {
///     let _seat = seats.permit();
///     assert!(!seats.try_acquire());
/// }
/// seats.release()?;
/// assert!(seats.release().is_err());
/// # Ok::<(), ropewalk::sync::TooManyReleases>(())
/// ```
pub struct Semaphore {
    free: WaitQueue<usize>,
    most: usize,
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish_non_exhaustive()
    }
}

/// A bounded semaphore was released more often than acquired.
///
/// # Examples
/// ```
/// use ropewalk::sync::{Semaphore, TooManyReleases};
///
/// let error: TooManyReleases = Semaphore::bounded(2).release().unwrap_err();
/// assert!(error.to_string().contains('2'));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyReleases(usize);

impl TooManyReleases {
    pub(crate) fn new(permits: usize) -> Self {
        Self(permits)
    }
}

impl fmt::Display for TooManyReleases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the semaphore was released, but all of its {} permits are free already", self.0)
    }
}

impl core::error::Error for TooManyReleases {}

impl Semaphore {
    /// Makes a semaphore with that many free permits, to which more may be added by releasing.
    pub const fn new(permits: usize) -> Self {
        Self { free: WaitQueue::new(permits), most: usize::MAX }
    }

    /// Makes a semaphore that never has more free permits than at the beginning.
    pub const fn bounded(permits: usize) -> Self {
        Self { free: WaitQueue::new(permits), most: permits }
    }

    /// Waits for a permit and takes it. A cancellation point if it has to wait.
    pub fn acquire(&self) {
        self.take(None);
    }

    /// Takes a permit if one is free. Never waits.
    pub fn try_acquire(&self) -> bool {
        self.free.with(|free, _| take_one(free))
    }

    /// As [`acquire`](Self::acquire), but waits no longer than `limit`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// let empty = ropewalk::sync::Semaphore::new(0);
    /// assert!(!empty.acquire_timeout(std::time::Duration::from_millis(1)));
    /// ```
    pub fn acquire_timeout(&self, limit: Duration) -> bool {
        self.take(Some(far::after(limit)))
    }

    /// As [`acquire`](Self::acquire), but waits no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let seats = ropewalk::sync::Semaphore::new(1);
    /// assert!(seats.acquire_deadline(Instant::now()));
    /// assert!(!seats.acquire_deadline(Instant::now()));
    /// ```
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.take(Some(deadline))
    }

    fn take(&self, deadline: Option<Instant>) -> bool {
        match self.free.wait_if(How::new(Reason::Lock, deadline), |free, _| !take_one(free)) {
            // Whoever released gave the permit to this party.
            None | Some(Outcome::Notified) => true,
            Some(Outcome::TimedOut) => false,
            Some(Outcome::Cancelled) => raise_cancelled(),
        }
    }

    /// Gives a permit back, or adds one. Never waits.
    ///
    /// # Errors
    /// [`TooManyReleases`] if a bounded semaphore has all its permits already.
    pub fn release(&self) -> Result<(), TooManyReleases> {
        let claimed = self.free.with(|free, waiters| match waiters.claim_first() {
            Some(claimed) => Ok(Some(claimed)),
            None if *free >= self.most => Err(TooManyReleases(self.most)),
            None => {
                *free += 1;
                Ok(None)
            }
        })?;
        if let Some(claimed) = claimed {
            claimed.wake();
        }
        Ok(())
    }

    /// Waits for a permit that gives itself back. A cancellation point if it has to wait.
    pub fn permit(&self) -> Permit<'_> {
        self.acquire();
        Permit(self)
    }

    /// Takes a permit that gives itself back, if one is free. Never waits.
    pub fn try_permit(&self) -> Option<Permit<'_>> {
        self.try_acquire().then(|| Permit(self))
    }

    /// As [`permit`](Self::permit), but waits no longer than `limit`.
    pub fn permit_timeout(&self, limit: Duration) -> Option<Permit<'_>> {
        self.acquire_timeout(limit).then(|| Permit(self))
    }

    /// As [`permit`](Self::permit), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let seats = ropewalk::sync::Semaphore::new(1);
    /// let permit = seats.permit_deadline(Instant::now()).unwrap();
    /// assert!(seats.permit_timeout(Duration::from_millis(1)).is_none());
    /// drop(permit);
    /// assert_eq!(seats.available(), 1);
    /// ```
    pub fn permit_deadline(&self, deadline: Instant) -> Option<Permit<'_>> {
        self.acquire_deadline(deadline).then(|| Permit(self))
    }

    /// How many permits are free now.
    pub fn available(&self) -> usize {
        self.free.with(|free, _| *free)
    }
}

fn take_one(free: &mut usize) -> bool {
    let taken = *free > 0;
    *free -= usize::from(taken);
    taken
}

/// A permit of a [`Semaphore`], given back when dropped.
///
/// # Examples
/// ```
/// use ropewalk::sync::{Permit, Semaphore};
///
/// let seats = Semaphore::new(2);
/// let taken: Vec<Permit<'_>> = vec![seats.permit(), seats.permit()];
/// assert!(seats.try_permit().is_none());
/// drop(taken);
/// assert_eq!(seats.available(), 2);
/// ```
#[derive(Debug)]
#[must_use = "the permit is given back when dropped"]
pub struct Permit<'a>(&'a Semaphore);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // A bounded one refuses only if somebody else has released too often, and has told so.
        let _ = self.0.release();
    }
}
