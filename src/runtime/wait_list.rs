//! The waiters of one queue, oldest first: a list through entries on their stacks.
//!
//! Every function here is called with the queue's lock held; `wait_queue` has the invariants I1 and I2.

use core::ptr::{self, NonNull};

#[cfg(feature = "monkey")]
use super::current::Handle;
use super::park::{Claimed, Waiter};
#[cfg(feature = "monkey")]
use super::task::TaskRef;

#[derive(Debug)]
pub(super) struct Entry {
    waiter: Waiter,
    key: usize,
    note: u64,
    /// Its number among all that have entered the list.
    number: u64,
    linked: bool,
    /// One of several entries of the same wait.
    multiple: bool,
    /// Set by the claim that has won through this very entry.
    pub(super) won: bool,
    prev: *mut Entry,
    next: *mut Entry,
}

/// The waiters, oldest first.
#[derive(Debug)]
pub(crate) struct WaitList {
    head: *mut Entry,
    tail: *mut Entry,
    /// How many have entered. At one a nanosecond it lasts for centuries.
    entered: u64,
}

// SAFETY: entries are reached under the queue's lock only (I1).
unsafe impl Send for WaitList {}

/// A waiter as the one who wakes sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// The waiter's party id.
    pub(crate) party: u32,
    /// What it waits for, as its `wait_if` said.
    pub(crate) key: usize,
    /// A second word of its.
    pub(crate) note: u64,
    /// Its number among all that have entered the queue.
    pub(crate) number: u64,
}

impl WaitList {
    pub(super) const fn new() -> Self {
        Self { head: ptr::null_mut(), tail: ptr::null_mut(), entered: 0 }
    }

    /// How many entries have ever been put in.
    pub(super) fn entered(&self) -> u64 {
        self.entered
    }

    /// Tells whether nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// # Safety
    /// * The entry lives until it is out again, and is not linked.
    #[inline]
    pub(super) unsafe fn push(&mut self, entry: NonNull<Entry>, front: bool) {
        let (prev, next) = if front { (ptr::null_mut(), self.head) } else { (self.tail, ptr::null_mut()) };
        // SAFETY: the caller's duty.
        let this = unsafe { &mut *entry.as_ptr() };
        (this.linked, this.prev, this.next) = (true, prev, next);
        this.number = self.entered;
        self.entered += 1;
        self.join(prev, entry.as_ptr());
        self.join(entry.as_ptr(), next);
    }

    /// Makes `next` the one after `prev`; null stands for the list's ends.
    #[inline]
    fn join(&mut self, prev: *mut Entry, next: *mut Entry) {
        // SAFETY: null or a linked entry, which lives (I1).
        match unsafe { prev.as_mut() } {
            Some(prev) => prev.next = next,
            None => self.head = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_mut() } {
            Some(next) => next.prev = prev,
            None => self.tail = prev,
        }
    }

    /// Takes an entry out, if it is in.
    ///
    /// # Safety
    /// * The entry lives, and belongs to this list.
    #[inline]
    pub(super) unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the caller's duty.
        let this = unsafe { &mut *entry.as_ptr() };
        if core::mem::replace(&mut this.linked, false) {
            let (prev, next) = (this.prev, this.next);
            self.join(prev, next);
        }
    }

    /// The first waiter that `fits`, without waking it.
    pub(crate) fn peek(&self, mut fits: impl FnMut(Seen) -> bool) -> Option<Seen> {
        self.peek_at(|entry| fits(entry.seen()))
    }

    fn peek_at(&self, mut fits: impl FnMut(&Entry) -> bool) -> Option<Seen> {
        let mut at = self.head;
        // SAFETY: null or a linked entry, which lives (I1).
        while let Some(entry) = unsafe { at.as_ref() } {
            if fits(entry) {
                return Some(entry.seen());
            }
            at = entry.next;
        }
        None
    }

    /// The first waiter that `fits` and is a spawned coroutine, and that coroutine.
    #[cfg(feature = "monkey")]
    pub(crate) fn first_coroutine(&self, mut fits: impl FnMut(Seen) -> bool) -> Option<(Seen, Handle)> {
        let mut found = None;
        let seen = self.peek_at(|entry| {
            let party = entry.waiter.party();
            // SAFETY: a linked entry's party lives (I1).
            let is_coroutine = !unsafe { party.as_ref() }.home().is_null();
            if is_coroutine && fits(entry.seen()) {
                // SAFETY: as above, and a party with a home is the first field of a task.
                found = Some(Handle::of(&unsafe { TaskRef::retain(party.cast()) }));
            }
            found.is_some()
        })?;
        found.map(|handle| (seen, handle))
    }

    /// Ends the wait of the first waiter that `fits`; whoever calls must wake it, after the lock.
    ///
    /// `fits` is called again with the next ones if a waiter turns out to have given up.
    pub(crate) fn claim(&mut self, mut fits: impl FnMut(Seen) -> bool) -> Option<Claimed> {
        let mut at = self.head;
        while let Some(entry) = NonNull::new(at) {
            // SAFETY: a linked entry lives (I1).
            let this = unsafe { entry.as_ref() };
            at = this.next;
            if !fits(this.seen()) {
                continue;
            }
            let (waiter, multiple) = (this.waiter, this.multiple);
            // SAFETY: it lives, and is linked here.
            unsafe { self.remove(entry) };
            // Before the claim: after it, the entry may be gone.
            // SAFETY: it lives: the owner cannot return before it has had the lock.
            unsafe { (*entry.as_ptr()).won = true };
            let claimed = if multiple {
                // SAFETY: as above.
                unsafe { waiter.claim() }
            } else {
                // SAFETY: as above. The lock of the only list it is in is held; timers and cancellations
                // run on the party's worker.
                unsafe { waiter.claim_listed() }
            };
            if let Some(claimed) = claimed {
                return Some(claimed);
            }
            // SAFETY: as above; it was not claimed here.
            unsafe { (*entry.as_ptr()).won = false };
        }
        None
    }

    /// Ends the wait of the oldest waiter.
    #[inline]
    pub(crate) fn claim_first(&mut self) -> Option<Claimed> {
        if self.is_empty() { None } else { self.claim(|_| true) }
    }
}

impl Entry {
    #[inline]
    pub(super) fn new(waiter: Waiter, key: usize, note: u64, multiple: bool) -> Self {
        let (prev, next) = (ptr::null_mut(), ptr::null_mut());
        Self { waiter, key, note, number: 0, linked: false, multiple, won: false, prev, next }
    }

    #[inline]
    pub(super) fn seen(&self) -> Seen {
        // SAFETY: whoever holds the lock finds living parties (I1).
        let party = unsafe { self.waiter.id() };
        Seen { party, key: self.key, note: self.note, number: self.number }
    }
}
