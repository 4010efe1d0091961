//! The mutex without a value: the owner's id in one word, and a futex queue for those who wait.
//!
//! * lock: one CAS. A locker that finds it held looks again for a moment, and then waits.
//! * unlock: one CAS. With waiters, the oldest is woken and competes with whoever comes by: that keeps
//!   the lock busy. One that was woken for nothing a few times gets the lock handed over: that keeps it
//!   fair, and asks no clock.
//!
//! Whoever is handed the lock finds its own id in the word, and nobody else does: before any other waiter
//! is claimed, the word says "nobody", and a party that waits cannot take it.
//!
//! Source of barging that ends in a hand-off: WebKit's `WTF::Lock`, which goes by the time.
#![forbid(unsafe_code)]

use core::fmt;
use core::panic::Location;
use core::ptr;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

use super::deadlock;
use super::futex::shard;
use crate::base::backoff::Backoff;
use crate::base::owner_word::{Found, OwnerWord};
use crate::runtime::far;
use crate::runtime::park::{Outcome, Reason, raise_cancelled};
use crate::runtime::party::{self, Party};
use crate::runtime::wait_queue::How;

/// Looks of a coroutine at a held lock before it waits. Its worker has others to run, and the holder may
/// be one of them.
const LOOKS: u32 = 2;
/// Wakes for nothing, after which a waiter is handed the lock.
const PATIENCE: u64 = 4;

/// A mutex without a value: [`acquire`](Self::acquire), [`release`](Self::release).
///
/// # Examples
/// ```
/// use ropewalk::sync::RawMutex;
///
/// static GATE: RawMutex = RawMutex::new();
/// GATE.acquire();
/// assert!(!GATE.try_acquire());
/// GATE.release()?;
/// assert!(GATE.release().is_err());
/// # Ok::<(), ropewalk::sync::NotOwner>(())
/// ```
#[derive(Default)]
pub struct RawMutex(OwnerWord);

/// Somebody released a mutex that another holds, or nobody.
///
/// # Examples
/// ```
/// let gate = ropewalk::sync::RawMutex::new();
/// assert!(gate.release().unwrap_err().to_string().contains("nobody holds it"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOwner {
    /// What people call the holder.
    holder: Option<String>,
}

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            None => f.write_str("the mutex was released, but nobody holds it; acquire it first"),
            Some(holder) => {
                write!(f, "the mutex was released, but {holder} holds it; only the holder may release it")
            }
        }
    }
}

impl core::error::Error for NotOwner {}

/// A mutex's word, taken apart; for pictures.
///
/// # Examples
/// ```
/// let gate = ropewalk::sync::RawMutex::new();
/// gate.acquire();
/// let state = gate.state();
/// assert!(state.owner > 0 && !state.contended && state.waiting == 0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MutexState {
    /// The word's owner: who holds it, by a number that is used again after its end (so another than that of
    /// [`Handle::id`](crate::coroutine::Handle::id)); 0 for nobody.
    pub owner: u32,
    /// Whether somebody may wait.
    pub contended: bool,
    /// How many wait.
    pub waiting: usize,
}

impl RawMutex {
    /// Makes a free mutex.
    pub const fn new() -> Self {
        Self(OwnerWord::new())
    }

    /// Waits for the mutex and takes it. A cancellation point if it has to wait.
    ///
    /// # Panics
    /// If this wait closes a cycle of owners who wait for each other; the message names them all. A caller that
    /// unwinds is not told, but another one on the cycle; if all unwind, the log is told, and they wait for ever.
    #[inline]
    #[track_caller]
    pub fn acquire(&self) {
        self.acquire_at(Location::caller());
    }

    /// As [`acquire`](Self::acquire), for whoever has called at `at`.
    #[inline]
    pub(super) fn acquire_at(&self, at: &'static Location<'static>) {
        let own = party::current_ref();
        if self.0.try_fast(own.id()) {
            own.holds_one_more();
        } else {
            self.acquire_slow(own, None, at);
        }
    }

    /// Takes the mutex if it is free. Never waits.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        let own = party::current_ref();
        let taken = self.0.try_fast(own.id()) || self.0.try_barge(own.id()) == Found::Taken;
        if taken {
            own.holds_one_more();
        }
        taken
    }

    /// As [`acquire`](Self::acquire), but waits no longer than `limit`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// static GATE: ropewalk::sync::RawMutex = ropewalk::sync::RawMutex::new();
    /// GATE.acquire();
    /// let other = ropewalk::spawn(|| GATE.acquire_timeout(std::time::Duration::from_millis(1)));
    /// assert!(!other.join().unwrap());
    /// ```
    pub fn acquire_timeout(&self, limit: Duration) -> bool {
        self.try_acquire()
            || self.acquire_slow(party::current_ref(), Some(far::after(limit)), Location::caller())
    }

    /// As [`acquire`](Self::acquire), but waits no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let mutex = ropewalk::sync::RawMutex::new();
    /// assert!(mutex.acquire_deadline(Instant::now()));
    /// assert!(mutex.is_held());
    /// mutex.release().unwrap();
    /// ```
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.try_acquire() || self.acquire_slow(party::current_ref(), Some(deadline), Location::caller())
    }

    /// Gives the mutex back, and wakes one who waits.
    ///
    /// # Errors
    /// [`NotOwner`] if the caller does not hold it; nothing is changed then.
    #[inline]
    pub fn release(&self) -> Result<(), NotOwner> {
        let own = party::current_ref();
        if !self.0.unlock_fast(own.id()) {
            let owner = self.0.owner();
            if owner != own.id() {
                return Err(NotOwner { holder: (owner != 0).then(|| party::name(owner)) });
            }
            self.unlock_slow();
        }
        own.holds_one_less();
        Ok(())
    }

    /// Unlocks for a guard, whose holder may have changed its party since.
    #[inline]
    pub(super) fn unlock(&self) {
        let own = party::current_ref();
        if self.0.unlock_fast(own.id()) {
            own.holds_one_less();
        } else {
            self.unlock_for(own);
        }
    }

    #[cold]
    fn unlock_for(&self, own: &Party) {
        // Otherwise its party counts it for ever: see `Party::holds`.
        if self.0.owner() == own.id() {
            own.holds_one_less();
        }
        self.unlock_slow();
    }

    /// Tells whether anybody holds it.
    pub fn is_held(&self) -> bool {
        self.0.owner() != 0
    }

    /// Looks at the word and the wait queue. Takes the queue's short lock.
    pub fn state(&self) -> MutexState {
        let (owner, contended) = self.0.state();
        let address = self.address();
        let mut waiting = 0;
        shard(address).with(|(), list| {
            list.peek(|seen| {
                waiting += usize::from(seen.key == address);
                false
            })
        });
        MutexState { owner, contended, waiting }
    }

    /// The id of the holder; 0 for nobody.
    pub(super) fn owner(&self) -> u32 {
        self.0.owner()
    }

    pub(super) fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    #[cold]
    fn acquire_slow(&self, own: &Party, deadline: Option<Instant>, at: &'static Location<'static>) -> bool {
        let taken = self.spin(own.id()) || self.wait(own.id(), deadline, at);
        if taken {
            own.holds_one_more();
        }
        taken
    }

    fn wait(&self, id: u32, deadline: Option<Instant>, at: &'static Location<'static>) -> bool {
        let mut lost = 0;
        // Once: while this party waits, another coroutine of its thread may unwind.
        let unwinds = std::thread::panicking();
        loop {
            let owner = match self.0.try_barge(id) {
                Found::Taken => return true,
                Found::Held { owner, .. } => owner,
            };
            let how =
                How { reason: Reason::Lock, deadline, key: self.address(), note: lost, front: lost > 0 };
            let outcome = deadlock::watched(self, deadline, at, unwinds, |told| {
                if !self.0.contend(owner) {
                    return None;
                }
                // Relaxed: see `deadlock`.
                let must_wait = || self.0.is_contended() && !told.load(Ordering::Relaxed);
                shard(self.address()).wait_if(how, |(), _| must_wait())
            });
            match outcome {
                Some(Outcome::Notified) if self.0.owner() == id => return true,
                Some(Outcome::Notified) => lost += 1,
                None => {}
                Some(Outcome::TimedOut) => return false,
                Some(Outcome::Cancelled) => raise_cancelled(),
            }
        }
    }

    /// Looks at the lock for a moment; a holder on another core may be about to let go.
    fn spin(&self, id: u32) -> bool {
        let mut backoff = Backoff::new();
        let mut looks = if party::is_coroutine() { LOOKS } else { u32::MAX };
        loop {
            match self.0.try_barge(id) {
                Found::Taken => return true,
                Found::Held { contended: true, .. } => return false,
                Found::Held { owner, .. } if owner == id => return false,
                Found::Held { .. } => {}
            }
            looks -= 1;
            if looks == 0 || !backoff.snooze() {
                return false;
            }
        }
    }

    #[cold]
    fn unlock_slow(&self) {
        let address = self.address();
        let claimed = shard(address).with(|(), list| {
            // Once it is free, it is no longer this call's to hand over.
            let mut free = false;
            let claimed = list.claim(|seen| {
                if seen.key != address {
                    return false;
                }
                if !free {
                    // Before the claim, because whoever is claimed may look at the word at once. If the
                    // claim of an heir fails, it has given up, and the next one is looked at.
                    free = seen.note < PATIENCE;
                    self.0.hand_over(if free { 0 } else { seen.party });
                }
                true
            });
            if claimed.is_none() && !free {
                self.0.hand_over(0);
            }
            if list.peek(|seen| seen.key == address).is_none() {
                self.0.settle();
            }
            claimed
        });
        if let Some(claimed) = claimed {
            claimed.wake();
        }
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").field("held", &self.is_held()).finish()
    }
}
