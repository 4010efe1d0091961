//! Waiting for an event of several processes, and waking those who wait.
//!
//! A plain thread sleeps in the kernel, on the word. A coroutine sleeps in this process's futex table, and
//! the listener sleeps in the kernel for it. See `base::event_word` for the word.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use super::listener;
use crate::base::event_word::EventWord;
use crate::runtime;
use crate::runtime::park::{raise_cancelled, scope_deadline};
use crate::sync::futex::{self, Waited};
use crate::sys;

/// How long a coroutine sleeps at once where no thread can listen for it.
const NAP: Duration = Duration::from_millis(10);

/// Something with events in shared memory, which stay as long as it.
pub(crate) trait Events: Send + Sync {
    /// The event with this number.
    fn event(&self, index: usize) -> &EventWord;
}

/// Wakes one of those who wait, after a change of the state. No kernel call if nobody sleeps.
#[inline]
pub(crate) fn notify_one(event: &EventWord) {
    if event.has_sleepers() {
        pass_on(event);
    }
}

/// Counts an event and wakes one sleeper, or all; the result is that of [`EventWord::wake_one`].
#[cold]
pub(super) fn pass_on(event: &EventWord) -> (u32, u32) {
    event.wake_one(|count| sys::futex::wake_shared(event.word(), count))
}

/// Wakes all who wait, after a change of the state. No kernel call if nobody sleeps.
pub(crate) fn notify_all(event: &EventWord) {
    if event.has_sleepers() {
        event.wake_all(|count| sys::futex::wake_shared(event.word(), count));
    }
}

/// Held by whoever sleeps for an event that one is woken for: if it leaves without having acted, by an error
/// or by unwinding, and the state still wants somebody, it wakes the next.
pub(crate) struct Baton<'a, R: Fn() -> bool> {
    event: &'a EventWord,
    ready: R,
}

impl<'a, R: Fn() -> bool> Baton<'a, R> {
    pub(crate) fn new(event: &'a EventWord, ready: R) -> Self {
        Self { event, ready }
    }

    /// The caller has acted.
    pub(crate) fn keep(self) {
        core::mem::forget(self);
    }
}

impl<R: Fn() -> bool> Drop for Baton<'_, R> {
    fn drop(&mut self) {
        if (self.ready)() {
            notify_one(self.event);
        }
    }
}

/// Sleeps while the event's word is `key`, at most until `deadline`. False if that has come.
///
/// Wakes may be spurious: the caller looks at the state again, after a false as well. A cancellation point.
pub(crate) fn wait(events: &Arc<dyn Events>, index: usize, key: u32, deadline: Option<Instant>) -> bool {
    let event = events.event(index);
    if runtime::is_coroutine() {
        let Some(_listening) = listener::listen(events, index, key) else {
            // No thread could be started to listen: a short sleep, and the caller looks for itself.
            let soon = Instant::now() + NAP;
            let until = deadline.map_or(soon, |deadline| deadline.min(soon));
            futex::wait(event.word(), key, Some(until));
            return deadline.is_none_or(|deadline| Instant::now() < deadline);
        };
        return futex::wait(event.word(), key, deadline) != Waited::TimedOut;
    }
    let scope = scope_deadline();
    let by_scope = scope.is_some_and(|scope| deadline.is_none_or(|deadline| scope < deadline));
    let until = if by_scope { scope } else { deadline };
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    // A wake that was taken is never thrown away: the caller looks first.
    if left.is_none_or(|left| !left.is_zero()) && sys::futex::wait_shared(event.word(), key, left) {
        return true;
    }
    let in_time = until.is_none_or(|until| Instant::now() < until);
    if !in_time && by_scope {
        raise_cancelled();
    }
    in_time
}
