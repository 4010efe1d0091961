//! Interruptions that are told as an error to code that may not heed them: each is told once.
//!
//! std's locks take any error for a wake without a reason, and wait again. Told each time, a cancelled coroutine would
//! do so for ever without waiting; so the waits after the first are shielded, until something else interrupts.

use std::time::Instant;

use super::cancel;
use super::extra::Extra;
use super::park::Outcome;
use super::party;
use super::shield::{self, Shield};
use super::task::Task;

/// The name of a cancellation, which comes once in a life; that of a deadline is the number of its `timeout` call, and
/// later calls have larger ones.
const CANCELLED: u64 = u64::MAX;

/// What would end the task's next wait at once.
fn pending(task: &Task) -> Option<u64> {
    if task.is_cancelled() { Some(CANCELLED) } else { task.party.scopes.last_expired() }
}

/// Waits by `wait`, which gets a deadline. A cancellation that its outcome tells of is not told again.
///
/// A cancellation that comes after a deadline was told, while the caller waits again, is told by the wait after that.
pub(crate) fn wait(
    until: Option<Instant>,
    wait: impl FnOnce(Option<Instant>) -> Option<Outcome>,
) -> Option<Outcome> {
    let party = party::current();
    // SAFETY: a party outlives its turn as the current one of its thread.
    let party_ref = unsafe { party.as_ref() };
    if party_ref.home().is_null() || shield::covers(party_ref) {
        return wait(until);
    }
    // SAFETY: as above, and a party with a home is the first field of a task.
    let task = unsafe { party.cast::<Task>().as_ref() };
    let told = Extra::of(task).map_or(0, Extra::told);
    let shield = pending(task).is_some_and(|pending| pending <= told).then(Shield::new);
    // The shield keeps what is told already away, and with it the deadlines that are not.
    let untold = shield.as_ref().and_then(|_| task.party.scopes.earliest_after(told));
    let limit = [until, untold].into_iter().flatten().min();
    let mut outcome = wait(limit);
    if outcome == Some(Outcome::TimedOut) && untold.is_some() && untold == limit {
        outcome = Some(Outcome::Cancelled);
    }
    if outcome == Some(Outcome::Cancelled)
        && let Some(pending) = pending(task)
    {
        Extra::tell(task, pending);
        cancel::tell();
    }
    outcome
}
