//! Where those wait who want a value: woken to look for one, or handed one past the buffer.
//!
//! ```text
//! taker                                      giver
//! lock ── buffer still empty? ── enter,      lock ── buffer empty and open? ── write to the first taker's
//! with the address of a place ── unlock      place ── claim it ── unlock ── wake
//! wait ── value in the place? take it        (claim failed: take the value back, try the next)
//! ```
//!
//! Invariants:
//! * I1: a place is touched with the queue locked while its taker is in the queue, and by the taker alone once
//!   its wait has ended: one that was not claimed by a giver locks the queue before it looks.
//! * I2: a place holds a value after the lock is free only if its taker was claimed for it. So nothing is lost
//!   to a taker that was cancelled or came too late.
//! * I3: nothing is handed while the buffer holds a value: the order is that of the buffer.
//!
//! What is handed has passed through the buffer in no time, so whoever takes it owes what a pop owes: a wake for
//! one that waits for room. A putter that was woken because there is room may have handed its value instead of
//! using that room; the next putter must learn of it.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use std::time::Instant;

use super::gate::Gate;
use crate::base::lock::Lock;
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Outcome, raise_cancelled};

/// The key of a waiter that cannot be handed anything: a select looks for itself.
const NO_PLACE: usize = 0;

/// How a wait for a value has ended.
pub(crate) enum Taken<T> {
    /// With a value.
    Handed(T),
    /// There may be one in the buffer, or it is closed.
    Look,
    /// The deadline came first.
    TimedOut,
}

/// A gate whose waiters can be handed a `T`. As sendable as a lock around one.
pub(crate) struct Takers<T> {
    gate: Gate,
    values: PhantomData<Lock<T>>,
}

impl<T> Takers<T> {
    pub(crate) const fn new() -> Self {
        Self { gate: Gate::new(), values: PhantomData }
    }

    /// Waits as [`Gate::wait`] does, or until a value is handed over.
    #[inline]
    pub(crate) fn wait(&self, deadline: Option<Instant>, ready: impl FnOnce() -> bool) -> Taken<T> {
        let place = UnsafeCell::new(None::<T>);
        let outcome = self.gate.wait_as(place.get().expose_provenance(), deadline, ready);
        match (outcome, place.into_inner()) {
            (_, Some(value)) => Taken::Handed(value),
            (None | Some(Outcome::Notified), None) => Taken::Look,
            (Some(Outcome::TimedOut), None) => Taken::TimedOut,
            (Some(Outcome::Cancelled), None) => raise_cancelled(),
        }
    }

    /// Hands the value to the one that has waited longest, and wakes it, if `may` says twice, the second time with
    /// the queue locked, that nothing comes before this value.
    ///
    /// # Errors
    /// The value, if it may not be handed, if that one looks for itself, or if nobody waits.
    #[inline]
    pub(crate) fn hand(&self, value: T, may: impl Fn() -> bool) -> Result<(), T> {
        if self.gate.is_quiet() || !may() { Err(value) } else { self.hand_slow(value, may) }
    }

    fn hand_slow(&self, value: T, may: impl Fn() -> bool) -> Result<(), T> {
        let mut value = Some(value);
        let claimed = self.gate.with(|list| {
            if !may() {
                return None;
            }
            let mut place = ptr::null_mut::<Option<T>>();
            let mut in_turn = true;
            let claimed = list.claim(|seen| {
                // SAFETY: null, or the place of one whose wait had ended: it returns only after it has had the
                // lock (I1).
                if let Some(place) = unsafe { place.as_mut() } {
                    value = place.take();
                }
                // Not past a select that has waited longer.
                in_turn &= seen.key != NO_PLACE;
                place = ptr::with_exposed_provenance_mut(if in_turn { seen.key } else { NO_PLACE });
                // SAFETY: null, or the place of one in the queue, whose lock is held (I1). Keys of this queue are
                // `NO_PLACE` or come from `wait`, so it is a place for a `T`.
                let Some(place) = (unsafe { place.as_mut() }) else { return false };
                *place = value.take();
                true
            });
            if claimed.is_none() {
                // SAFETY: as above.
                if let Some(place) = unsafe { place.as_mut() } {
                    value = place.take();
                }
            }
            claimed
        });
        match value {
            Some(value) => Err(value),
            None => {
                if let Some(claimed) = claimed {
                    claimed.wake();
                }
                Ok(())
            }
        }
    }

    /// Where they wait.
    #[inline]
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// As [`Gate::wake_one`]: whoever is woken looks for itself.
    #[inline]
    pub(crate) fn wake_one(&self) -> bool {
        self.gate.wake_one()
    }

    /// As [`Gate::wake_all`].
    pub(crate) fn wake_all(&self) {
        self.gate.wake_all();
    }

    /// As [`Gate::enlist`].
    pub(crate) fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, ready: impl FnOnce() -> bool) -> bool {
        self.gate.enlist(wait, ready)
    }
}

impl<T> fmt::Debug for Takers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Takers").field(&self.gate).finish()
    }
}
