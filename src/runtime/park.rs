//! The one door for waiting: [`park`] is the only place that suspends, [`Claimed::wake`] the only
//! one that makes ready.
//!
//! ```text
//! owner                                   waker (holds the lock of the list)
//! let w = Waiter::open();                 let c = unsafe { w.claim() };   // CAS: one winner
//! list.lock().push(node with w);          list.unlock();
//! match park(w, …) { … }                  if let Some(c) = c { c.wake() }
//! ```
//!
//! Rules:
//! * A waiter is published (pushed to a list) only after `open`, and `park` follows on the same
//!   party; or it is never published and `abandon` closes it.
//! * `claim` needs the party alive. It is called under the lock of the list that holds the node;
//!   the owner takes the same lock to remove its node before it returns. So the party lives.
//! * After `park` returns `TimedOut` or `Cancelled` the owner removes its node under the lock.
//!   On `Cancelled` it then calls [`raise_cancelled`], with everything cleaned up.
//! * `wake` comes after the lock is released: the claimed party cannot run before it.

use core::ptr::NonNull;
use std::time::Instant;

use super::party::{self, Party};
pub(crate) use crate::base::ticket::Outcome;
use crate::base::ticket::{Ticket, TicketWord};
use crate::sys;

/// What a party waits for, as dumps and reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A futex word.
    Futex,
    /// A lock of the mutex family.
    Lock,
    /// The end of a coroutine.
    Join,
    /// A point in time.
    Sleep,
    /// A file descriptor.
    Io,
    /// A queue or a channel.
    Queue,
    /// `unpark`.
    Park,
    /// A future's waker.
    Future,
    /// A result of a pool.
    Result,
}

/// One wait of one party, as lists hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    party: NonNull<Party>,
    ticket: Ticket,
}

// SAFETY: a waiter is a key; using it (`claim`) is unsafe and has the duty to know the party alive.
unsafe impl Send for Waiter {}
// SAFETY: as for Send.
unsafe impl Sync for Waiter {}

impl Waiter {
    /// Opens the calling party's next wait.
    #[inline]
    pub(crate) fn open() -> Self {
        let party = party::current();
        // SAFETY: a party outlives its turn as the current one of its thread.
        let ticket = unsafe { party.as_ref() }.word.open();
        Self { party, ticket }
    }

    /// Closes a wait that was never published.
    #[inline]
    pub(crate) fn abandon(self) {
        // SAFETY: the calling party is the owner, and it lives.
        let party = unsafe { self.party.as_ref() };
        party.word.claim(self.ticket, Outcome::Notified);
    }

    /// Ends the wait in the name of the one who wakes; `None` if another has ended it already.
    ///
    /// # Safety
    /// * The party is alive: the caller holds the lock that the owner must take before it returns
    ///   from its wait, or keeps the party alive in another way.
    #[inline]
    pub(crate) unsafe fn claim(self) -> Option<Claimed> {
        // SAFETY: the caller knows that the party is alive.
        unsafe { self.claim_as(Outcome::Notified) }
    }

    /// As [`claim`](Self::claim), with another outcome.
    ///
    /// # Safety
    /// * As for `claim`.
    #[inline]
    pub(crate) unsafe fn claim_as(self, outcome: Outcome) -> Option<Claimed> {
        // SAFETY: the caller knows that the party is alive.
        let party = unsafe { self.party.as_ref() };
        party.word.claim(self.ticket, outcome).then_some(Claimed(self.party))
    }

    /// The party's id, as lock words hold it.
    ///
    /// # Safety
    /// * As for `claim`.
    pub(crate) unsafe fn id(self) -> u32 {
        // SAFETY: the caller knows that the party is alive.
        unsafe { self.party.as_ref() }.id()
    }
}

/// A party whose wait has ended and that must now be made ready: it cannot run before `wake`.
#[must_use = "a claimed party sleeps for ever unless it is woken"]
#[derive(Debug)]
pub(crate) struct Claimed(NonNull<Party>);

// SAFETY: it is the exclusive right to make the party ready, which any thread may do.
unsafe impl Send for Claimed {}

impl Claimed {
    /// Makes the party ready. Never blocks; may make one kernel call to wake a sleeping thread.
    #[inline]
    pub(crate) fn wake(self) {
        // A thread that has seen its outcome may be gone: only the address of its word is used.
        let word = self.0.as_ptr().cast_const().cast();
        sys::futex::wake(word, 1);
    }
}

/// Suspends the calling party until its wait ends, and tells how.
///
/// A coroutine gives its worker to others; a plain thread sleeps in the kernel.
pub(crate) fn park(waiter: Waiter, reason: Reason, object: usize, deadline: Option<Instant>) -> Outcome {
    let _ = (reason, object);
    park_thread(waiter, deadline)
}

fn park_thread(waiter: Waiter, deadline: Option<Instant>) -> Outcome {
    // SAFETY: the calling party is the owner, and it lives.
    let word: &TicketWord = &unsafe { waiter.party.as_ref() }.word;
    loop {
        if let Some(outcome) = word.outcome() {
            return outcome;
        }
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            word.claim(waiter.ticket, Outcome::TimedOut);
            continue;
        }
        sys::futex::wait(word.word(), TicketWord::raw(waiter.ticket), left);
    }
}

/// Unwinds the calling coroutine after a wait that ended with [`Outcome::Cancelled`].
///
/// # Panics
/// Always: with the private payload that the coroutine's root catches.
#[cold]
pub(crate) fn raise_cancelled() -> ! {
    unreachable!("a plain thread is never cancelled")
}

/// While it lives, waits of the calling party are not cancelled.
#[derive(Debug)]
pub(crate) struct Shield(NonNull<Party>);

impl Shield {
    pub(crate) fn new() -> Self {
        let party = party::current();
        // SAFETY: a party outlives its turn as the current one of its thread.
        let shields = &unsafe { party.as_ref() }.shields;
        shields.set(shields.get() + 1);
        Self(party)
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        // SAFETY: a shield is !Send and lives on its party's stack.
        let shields = &unsafe { self.0.as_ref() }.shields;
        shields.set(shields.get() - 1);
    }
}
