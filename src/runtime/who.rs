//! Names of parties, for reports: who is behind a lock's word.

use core::ptr::NonNull;

use super::party::{self, Party};
use super::task::Task;

/// Tells whether somebody has asked the party to end, so that no wait of its is for ever.
///
/// # Safety
/// * The party is alive.
pub(crate) unsafe fn is_cancelled(party: NonNull<Party>) -> bool {
    // SAFETY: the caller's duty.
    if unsafe { party.as_ref() }.home().is_null() {
        return false;
    }
    // SAFETY: a party with a home is the first field of a task.
    unsafe { party.cast::<Task>().as_ref() }.is_cancelled()
}

/// What people call a party.
///
/// # Safety
/// * The party is alive.
pub(crate) unsafe fn is(party: NonNull<Party>) -> String {
    // SAFETY: the caller's duty.
    let header = unsafe { party.as_ref() };
    if header.home().is_null() {
        return party::thread_name(header.id());
    }
    // SAFETY: a party with a home is the first field of a task.
    let task = unsafe { party.cast::<Task>().as_ref() };
    format!("coroutine '{}' (#{})", task.name().unwrap_or("unnamed"), task.id)
}
