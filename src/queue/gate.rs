//! Where one side of a queue waits: for a value, or for room.
//!
//! The two sides, each with a store and a load that must not pass each other, all SeqCst:
//!
//! | who waits | who wakes |
//! |---|---|
//! | locks the queue of waiters | changes the buffer |
//! | looks at the buffer once more | looks whether the queue is quiet |
//! | enters the queue, and unlocks it with a mark | if it is not, locks it and wakes one |
//!
//! Whichever comes second sees the other. So a push or pop with nobody waiting costs one load more.
#![forbid(unsafe_code)]

use core::fmt;
use core::mem::MaybeUninit;
use std::time::Instant;

use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitList, WaitQueue};

/// Away from what lies behind it: both sides look at it all the time, and it seldom changes.
#[repr(C)]
pub(crate) struct Gate(WaitQueue<()>, MaybeUninit<[u8; 104]>);

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gate").field(&self.0).finish()
    }
}

impl Gate {
    pub(crate) const fn new() -> Self {
        Self(WaitQueue::new(()), MaybeUninit::uninit())
    }

    /// Waits unless `ready` says, with the queue locked, that there is no need to. What `ready` looks at
    /// is changed by SeqCst exchanges before `wake_one`, and it looks by SeqCst loads.
    ///
    /// False if the deadline came first. A cancellation point: nothing was taken when it unwinds.
    pub(crate) fn wait(&self, deadline: Option<Instant>, ready: impl FnOnce() -> bool) -> bool {
        match self.wait_as(0, deadline, ready) {
            None | Some(Outcome::Notified) => true,
            Some(Outcome::TimedOut) => false,
            Some(Outcome::Cancelled) => raise_cancelled(),
        }
    }

    /// As [`wait`](Self::wait), known by `key` to whoever looks at the list; `None` if there was no need.
    #[inline]
    pub(super) fn wait_as(
        &self,
        key: usize,
        deadline: Option<Instant>,
        ready: impl FnOnce() -> bool,
    ) -> Option<Outcome> {
        self.0.wait_if(How { key, ..How::new(Reason::Queue, deadline) }, |(), _| !ready())
    }

    /// Tells whether nobody waits, nor is about to look whether it must.
    #[inline]
    pub(super) fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }

    /// Gives `f` those who wait, with the queue locked. Whom it claims must be woken after it has returned.
    #[inline]
    pub(super) fn with<R>(&self, f: impl FnOnce(&mut WaitList) -> R) -> R {
        self.0.with(|(), list| f(list))
    }

    /// Wakes the one that has waited longest, if anybody waits. True if there was one.
    #[inline]
    pub(crate) fn wake_one(&self) -> bool {
        !self.0.is_quiet() && self.wake_slow()
    }

    #[cold]
    fn wake_slow(&self) -> bool {
        let claimed = self.0.with(|(), list| list.claim_first());
        claimed.map(|claimed| claimed.wake()).is_some()
    }

    /// Wakes all who wait now.
    pub(crate) fn wake_all(&self) {
        if !self.0.is_quiet() {
            self.0.claim_each(usize::MAX, |_| true, Claimed::wake);
        }
    }

    /// As [`wait`](Self::wait), for one of several waits: true if there is no need to.
    pub(crate) fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, ready: impl FnOnce() -> bool) -> bool {
        wait.enlist(&self.0, 0, 0, |(), _| ready())
    }
}
