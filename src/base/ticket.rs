//! The word in which one party (a coroutine or a thread) waits, and which its wakers race for.
//!
//! ```text
//!  31 ........ 2 | 1 0
//!  epoch         | state
//! ```
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | any outcome | `WAITING`, next epoch | the owner | it is about to wait |
//! | `WAITING` | `NOTIFIED` | a waker, by CAS | what it waits for has happened |
//! | `WAITING` | `TIMED_OUT` | its timer, by CAS | the deadline has passed |
//! | `WAITING` | `CANCELLED` | its worker, by CAS | a cancellation is delivered |
//! | `WAITING` | `NOTIFIED` | the owner, by CAS | it need not wait after all |
//!
//! Invariant I1: of all that race for one epoch exactly one wins, because each moves the word by
//! CAS from that epoch's `WAITING`. A ticket of an older epoch can never win.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU32, Ordering};

const STATE: u32 = 3;
const WAITING: u32 = 1;
const EPOCH: u32 = 4;

/// How a wait has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// Somebody woke the waiter.
    Notified = 0,
    /// The deadline passed first.
    TimedOut = 2,
    /// The waiter's cancellation came first.
    Cancelled = 3,
}

/// One wait of one party; only a ticket of the current epoch can end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

/// The word itself.
#[derive(Debug)]
pub struct TicketWord(AtomicU32);

impl TicketWord {
    /// Makes a word whose owner does not wait.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Makes a word whose owner does not wait.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Opens the next wait. Called by the owner only, which is not waiting now.
    #[inline]
    pub fn open(&self) -> Ticket {
        // Relaxed: only the owner writes a word that is not WAITING.
        let next = ((self.0.load(Ordering::Relaxed) & !STATE).wrapping_add(EPOCH)) | WAITING;
        // Relaxed: whoever gets the ticket gets it through a lock or a Release store after this.
        self.0.store(next, Ordering::Relaxed);
        Ticket(next)
    }

    /// Ends the wait that `ticket` names; true for the one caller that wins.
    #[inline]
    pub fn claim(&self, ticket: Ticket, outcome: Outcome) -> bool {
        let ended = (ticket.0 & !STATE) | outcome as u32;
        // Release pairs with the Acquire in `outcome`: what the winner wrote before is seen by the owner.
        self.0.compare_exchange(ticket.0, ended, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// As [`claim`](Self::claim) with `NOTIFIED`, by one whom nobody races with.
    #[inline]
    pub fn claim_alone(&self, ticket: Ticket) -> bool {
        // Relaxed: the caller is the only one who may write the word now, and runs on its owner's thread.
        let won = self.0.load(Ordering::Relaxed) == ticket.0;
        if won {
            self.0.store((ticket.0 & !STATE) | Outcome::Notified as u32, Ordering::Relaxed);
        }
        won
    }

    /// Tells how the wait has ended, or `None` while it lasts. Called by the owner.
    #[inline]
    pub fn outcome(&self) -> Option<Outcome> {
        // Acquire pairs with the Release in `claim`.
        match self.0.load(Ordering::Acquire) & STATE {
            WAITING => None,
            2 => Some(Outcome::TimedOut),
            3 => Some(Outcome::Cancelled),
            _ => Some(Outcome::Notified),
        }
    }

    /// The ticket of the wait that lasts now, if any. Called on the owner's own thread.
    #[inline]
    pub fn current(&self) -> Option<Ticket> {
        // Relaxed: the owner's thread wrote the epoch itself.
        let word = self.0.load(Ordering::Relaxed);
        (word & STATE == WAITING).then_some(Ticket(word))
    }

    /// The value a kernel wait compares the word with while `ticket` is open.
    #[inline]
    pub fn raw(ticket: Ticket) -> u32 {
        ticket.0
    }

    /// The word as the kernel's futex sees it.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }
}

impl Default for TicketWord {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_claim_decides_the_outcome() {
        let word = TicketWord::new();
        let ticket = word.open();
        assert_eq!(word.outcome(), None);
        assert!(word.claim(ticket, Outcome::TimedOut));
        assert!(!word.claim(ticket, Outcome::Notified));
        assert_eq!(word.outcome(), Some(Outcome::TimedOut));
    }
}
