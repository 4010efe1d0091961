//! Deadlines of coroutines: entries in the wheel of their worker.
//!
//! Invariant I1: a waiter is in the wheel only while its coroutine waits, so its party is alive: the coroutine
//! takes it out before it goes on, unless it has fired.

use core::time::Duration;
use std::time::Instant;

use super::park::{Outcome, Waiter};
use super::worker::Worker;

/// Runs `suspend` with a timer set for `waiter`: at `deadline` its wait ends as timed out.
pub(crate) fn with_deadline(worker: &Worker, waiter: Waiter, deadline: Instant, suspend: impl FnOnce()) {
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let owner = unsafe { worker.owner() };
    let key = owner.wheel.insert(owner.clock.nanos(deadline), waiter);
    suspend();
    // SAFETY: this is the worker's thread, because a coroutine resumes on the worker it parked on, and no
    // other borrow is alive.
    let owner = unsafe { worker.owner() };
    // In vain if it has fired.
    owner.wheel.remove(key);
}

/// Ends the waits whose deadline has passed.
pub(crate) fn fire(worker: &Worker) {
    // SAFETY: this is the worker's thread, and no other borrow is alive; `wake` of a coroutine of
    // this worker is replaced by the push below, so nothing borrows the owner again.
    let owner = unsafe { worker.owner() };
    if owner.wheel.is_empty() {
        return;
    }
    let now = owner.clock.now();
    let ready = &mut owner.ready;
    let before = ready.len();
    owner.wheel.advance(now, |waiter| {
        // SAFETY: its party waits on this worker, so it is alive (I1).
        if let Some(claimed) = unsafe { waiter.claim_as(Outcome::TimedOut) } {
            ready.push_back(claimed.into_task());
        }
    });
    worker.counters.wakes.add((ready.len() - before) as u64);
}

/// How long until the next deadline; `None` if there is none.
pub(crate) fn until_next(worker: &Worker) -> Option<Duration> {
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let owner = unsafe { worker.owner() };
    let next = owner.wheel.next_expiry()?;
    Some(Duration::from_nanos(next.saturating_sub(owner.clock.now())))
}
