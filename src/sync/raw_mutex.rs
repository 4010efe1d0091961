//! The mutex without a value: the owner's id in one word, and a futex queue for those who wait.
//!
//! * lock: one CAS. A locker that finds it held looks again for a moment, and then waits.
//! * unlock: one CAS. With waiters, the oldest is woken and competes with whoever comes by: that keeps
//!   the lock busy. One that has waited for a millisecond gets the lock handed over: that keeps it fair.
//!
//! Source of the hand-off after a while: WebKit's `WTF::Lock`.
#![forbid(unsafe_code)]

use core::fmt;
use core::ptr;
use core::time::Duration;
use std::time::Instant;

use super::deadlock;
use super::futex::shard;
use crate::base::owner_word::{Found, OwnerWord};
use crate::runtime::far;
use crate::runtime::park::{Outcome, Reason, raise_cancelled};
use crate::runtime::party;
use crate::runtime::wait_queue::How;

/// Looks at a held lock before waiting.
const SPINS: u32 = 40;
/// Waits longer than this are ended by a hand-off.
const FAIR_AFTER: u64 = 1_000_000;

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOwner(u32);

impl fmt::Display for NotOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the mutex was released, but nobody holds it; acquire it first"),
            id => {
                write!(f, "the mutex was released, but party {id} holds it; only the holder may release it")
            }
        }
    }
}

impl core::error::Error for NotOwner {}

/// A mutex's word, taken apart; for pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MutexState {
    /// The id of the party that holds it; 0 for nobody.
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
    /// If this wait closes a cycle of owners who wait for each other; the message names them all.
    #[inline]
    pub fn acquire(&self) {
        let id = party::current_id();
        if !self.0.try_fast(id) {
            self.acquire_slow(id, None);
        }
    }

    /// Takes the mutex if it is free. Never waits.
    #[inline]
    pub fn try_acquire(&self) -> bool {
        let id = party::current_id();
        self.0.try_fast(id) || self.0.try_barge(id) == Found::Taken
    }

    /// As [`acquire`](Self::acquire), but waits no longer than `limit`. False if that came first.
    pub fn acquire_timeout(&self, limit: Duration) -> bool {
        self.try_acquire() || self.acquire_slow(party::current_id(), Some(far::after(limit)))
    }

    /// As [`acquire`](Self::acquire), but waits no longer than until `deadline`. False if that came first.
    pub fn acquire_deadline(&self, deadline: Instant) -> bool {
        self.try_acquire() || self.acquire_slow(party::current_id(), Some(deadline))
    }

    /// Gives the mutex back, and wakes one who waits.
    ///
    /// # Errors
    /// [`NotOwner`] if the caller does not hold it; nothing is changed then.
    #[inline]
    pub fn release(&self) -> Result<(), NotOwner> {
        let id = party::current_id();
        if self.0.unlock_fast(id) {
            return Ok(());
        }
        let owner = self.0.owner();
        if owner != id {
            return Err(NotOwner(owner));
        }
        self.unlock_slow();
        Ok(())
    }

    /// Unlocks for a guard, whose holder may have changed its party since.
    #[inline]
    pub(super) fn unlock(&self) {
        if !self.0.unlock_fast(party::current_id()) {
            self.unlock_slow();
        }
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
    fn acquire_slow(&self, id: u32, deadline: Option<Instant>) -> bool {
        if self.spin(id) {
            return true;
        }
        let began = Instant::now();
        let mut front = false;
        loop {
            let owner = match self.0.try_barge(id) {
                Found::Taken => return true,
                Found::Held { owner, .. } => owner,
            };
            let watched = deadlock::Watched::enter(self, deadline);
            if !self.0.contend(owner) {
                continue;
            }
            let how =
                How { reason: Reason::Lock, deadline, key: self.address(), note: since_start(began), front };
            let outcome = shard(self.address()).wait_if(how, |(), _| self.0.is_contended());
            drop(watched);
            match outcome {
                Some(Outcome::Notified) if self.0.owner() == id => return true,
                Some(Outcome::Notified) => front = true,
                None => {}
                Some(Outcome::TimedOut) => return false,
                Some(Outcome::Cancelled) => raise_cancelled(),
            }
        }
    }

    /// Looks at the lock for a moment; a holder on another core may be about to let go.
    fn spin(&self, id: u32) -> bool {
        for _ in 0..SPINS {
            match self.0.try_barge(id) {
                Found::Taken => return true,
                Found::Held { contended: true, .. } => return false,
                Found::Held { owner, .. } if owner == id => return false,
                Found::Held { .. } => core::hint::spin_loop(),
            }
        }
        false
    }

    #[cold]
    fn unlock_slow(&self) {
        let (address, own) = (self.address(), self.0.owner());
        let claimed = shard(address).with(|(), list| {
            let now = since_start(Instant::now());
            let mut handed = false;
            let claimed = list.claim(|seen| {
                if seen.key != address {
                    return false;
                }
                // Before the claim, because whoever is claimed may look at the word at once. If the
                // claim fails, the next one tried sets it anew.
                handed = now.saturating_sub(seen.note) > FAIR_AFTER;
                self.0.hand_over(if handed { seen.party } else { own }, true);
                true
            });
            if claimed.is_none() || !handed {
                self.0.hand_over(0, list.peek(|seen| seen.key == address).is_some());
            }
            claimed
        });
        if let Some(claimed) = claimed {
            claimed.wake();
        }
    }
}

/// Nanoseconds since the process first asked.
fn since_start(at: Instant) -> u64 {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(at.saturating_duration_since(*start).as_nanos()).unwrap_or(u64::MAX)
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex").field("held", &self.is_held()).finish()
    }
}
