//! Where one side of a queue waits: for a value, or for room.
//!
//! The two sides, each with a store and a load that must not pass each other:
//!
//! | who waits | who wakes |
//! |---|---|
//! | counts itself in `waiting` | changes the buffer |
//! | fence | fence |
//! | looks at the buffer once more, and waits | looks at `waiting`, and wakes one |
//!
//! So a push or pop with nobody waiting costs a fence and a load, and takes no lock.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering, fence};
use std::time::Instant;

use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitQueue};

#[derive(Debug)]
pub(crate) struct Gate {
    waiting: AtomicUsize,
    queue: WaitQueue<()>,
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self { waiting: AtomicUsize::new(0), queue: WaitQueue::new(()) }
    }

    /// Waits unless `ready` says, after this party was counted, that there is no need to.
    ///
    /// False if the deadline came first. A cancellation point: nothing was taken when it unwinds.
    pub(crate) fn wait(&self, deadline: Option<Instant>, ready: impl FnOnce() -> bool) -> bool {
        let outcome = self.queue.wait_if(How::new(Reason::Queue, deadline), |(), _| {
            // Relaxed: the fence orders it.
            self.waiting.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let wait = !ready();
            if !wait {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            wait
        });
        match outcome {
            None | Some(Outcome::Notified) => return true,
            // Whoever ends a wait in another way than by a wake leaves the count itself.
            Some(_) => self.waiting.fetch_sub(1, Ordering::Relaxed),
        };
        if outcome == Some(Outcome::Cancelled) {
            raise_cancelled();
        }
        false
    }

    /// Wakes the one that has waited longest, if anybody waits. True if there was one.
    #[inline]
    pub(crate) fn wake_one(&self) -> bool {
        // The other half of the protocol above.
        fence(Ordering::SeqCst);
        self.waiting.load(Ordering::Relaxed) > 0 && self.wake_slow()
    }

    #[cold]
    fn wake_slow(&self) -> bool {
        let claimed = self.queue.with(|(), list| {
            let claimed = list.claim_first();
            if claimed.is_some() {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            claimed
        });
        claimed.map(|claimed| claimed.wake()).is_some()
    }

    /// Wakes all who wait now.
    pub(crate) fn wake_all(&self) {
        while self.wake_one() {}
    }

    /// As [`wait`](Self::wait), for one of several waits: true if there is no need to.
    pub(crate) fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, ready: impl FnOnce() -> bool) -> bool {
        wait.enlist(&self.queue, 0, 0, |(), _| {
            // Relaxed: the fence orders it.
            self.waiting.fetch_add(1, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let ready = ready();
            if ready {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            ready
        })
    }

    /// One of several waits is over; `won` if a wake came through this gate.
    pub(crate) fn left(&self, won: bool) {
        if !won {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
