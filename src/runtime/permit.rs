//! One token that `park` takes and `unpark` gives: std's thread parking for any party.

use core::ptr;
use std::time::Instant;

use super::park::{Outcome, Reason, Waiter, park, raise_cancelled};
use crate::base::lock::Lock;

#[derive(Debug, Default)]
struct State {
    token: bool,
    waiter: Option<Waiter>,
}

/// A token and the one party that may wait for it.
#[derive(Debug)]
pub(crate) struct Permit(Lock<State>);

impl Default for Permit {
    fn default() -> Self {
        Self(Lock::new(State::default()))
    }
}

impl Permit {
    /// Waits for the token and takes it. False if the deadline came first.
    pub(crate) fn take(&self, reason: Reason, deadline: Option<Instant>) -> bool {
        let mut state = self.0.lock();
        if core::mem::take(&mut state.token) {
            return true;
        }
        let waiter = Waiter::open();
        state.waiter = Some(waiter);
        drop(state);
        let outcome = park(waiter, reason, ptr::from_ref(self).addr(), deadline);
        let mut state = self.0.lock();
        state.waiter = None;
        // Given between the end of the wait and the lock: it is taken all the same, but for a
        // cancellation, which takes nothing with it.
        let taken = outcome != Outcome::Cancelled && core::mem::take(&mut state.token);
        drop(state);
        if outcome == Outcome::Cancelled {
            raise_cancelled();
        }
        taken
    }

    /// Gives the token; wakes the party that waits for it.
    pub(crate) fn give(&self) {
        let mut state = self.0.lock();
        state.token = true;
        // SAFETY: the waiter takes this lock before it returns, so its party is alive.
        let claimed = state.waiter.take().and_then(|waiter| unsafe { waiter.claim() });
        drop(state);
        if let Some(claimed) = claimed {
            claimed.wake();
        }
    }
}
