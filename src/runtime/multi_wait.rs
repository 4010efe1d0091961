//! One wait in several queues at once: what a select waits with.

use core::fmt;
use core::ptr::NonNull;
use std::time::Instant;

use super::park::{Outcome, Reason, Waiter, park};
use super::wait_queue::{Entry, Place, WaitList, WaitQueue};

/// A wait that any of several queues may end. Its entries are boxed, and leave the queues when it ends.
pub(crate) struct MultiWait<'a> {
    waiter: Waiter,
    /// Where it is, in the order of `enlist`; `None` where that found something ready.
    places: Vec<Option<(&'a dyn Place, NonNull<Entry>)>>,
}

impl fmt::Debug for MultiWait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiWait").field("places", &self.places.len()).finish_non_exhaustive()
    }
}

impl<'a> MultiWait<'a> {
    /// Opens the calling party's next wait.
    pub(crate) fn new() -> Self {
        Self { waiter: Waiter::open(), places: Vec::new() }
    }

    /// Queues the wait, unless `ready` says under the queue's lock that there is no need; true if so.
    pub(crate) fn enlist<S>(
        &mut self,
        queue: &'a WaitQueue<S>,
        key: usize,
        note: u64,
        ready: impl FnOnce(&mut S, &mut WaitList) -> bool,
    ) -> bool {
        // SAFETY: it is freed in `leave`, after it was taken out.
        let entry = unsafe { queue.enlist(self.waiter, (key, note), ready) };
        self.places.push(entry.map(|entry| (queue as &dyn Place, entry)));
        entry.is_none()
    }

    /// Says that one more has nothing to wait for by a wake.
    pub(crate) fn skip(&mut self) {
        self.places.push(None);
    }

    /// Waits until one of the queues ends it.
    pub(crate) fn park(&self, deadline: Option<Instant>) -> Outcome {
        park(self.waiter, Reason::Queue, 0, deadline)
    }

    /// Ends it without waiting. False if a queue has ended it already: that wake is taken in.
    pub(crate) fn retract(&self) -> bool {
        let clean = self.waiter.retract();
        if !clean {
            park(self.waiter, Reason::Queue, 0, None);
        }
        clean
    }

    /// Leaves all queues, and tells through which of them a wake has come.
    pub(crate) fn finish(mut self) -> Vec<Option<bool>> {
        self.leave()
    }

    fn leave(&mut self) -> Vec<Option<bool>> {
        let places = core::mem::take(&mut self.places);
        let leave = |(queue, entry): (&dyn Place, NonNull<Entry>)| {
            // SAFETY: it was pushed there, and lives until it is freed below.
            let won = unsafe { queue.take_out(entry) };
            // SAFETY: boxed in `enlist`, and out of the queue.
            drop(unsafe { Box::from_raw(entry.as_ptr()) });
            won
        };
        places.into_iter().map(|place| place.map(leave)).collect()
    }
}

impl Drop for MultiWait<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
