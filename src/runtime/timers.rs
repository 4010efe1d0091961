//! Deadlines of coroutines: entries on the waiters' stacks, in the wheel of their worker.

use core::ptr::NonNull;
use core::time::Duration;
use std::time::Instant;

use super::park::{Outcome, Waiter};
use super::worker::Worker;
use crate::base::wheel::Timer;

/// Runs `suspend` with a timer set for `waiter`: at `deadline` its wait ends as timed out.
pub(crate) fn with_deadline(worker: &Worker, waiter: Waiter, deadline: Instant, suspend: impl FnOnce()) {
    let mut waiter = waiter;
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let owner = unsafe { worker.owner() };
    let at = owner.clock.nanos(deadline);
    let mut timer = Timer::new(at, (&raw mut waiter).cast());
    let node = NonNull::from(&mut timer);
    // SAFETY: the timer stays in place on this frame, and is out of the wheel before the frame ends.
    unsafe { owner.wheel.insert(node) };
    suspend();
    // SAFETY: as above; a fired timer is unlinked.
    if unsafe { node.as_ref() }.is_linked() {
        // SAFETY: this is the worker's thread: a coroutine resumes on the worker it parked on.
        let owner = unsafe { worker.owner() };
        // SAFETY: it is linked in this wheel.
        unsafe { owner.wheel.remove(node) };
    }
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
    owner.wheel.advance(now, |timer| {
        // SAFETY: a linked timer lives on the frame of a coroutine that waits.
        let payload: *mut Waiter = unsafe { timer.as_ref() }.payload.cast();
        // SAFETY: `with_deadline` has put the address of a waiter on the same frame there.
        let waiter = unsafe { payload.read() };
        // SAFETY: its party waits on this worker, so it is alive.
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
