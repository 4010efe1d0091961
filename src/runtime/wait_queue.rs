//! A queue of waiting parties behind a short lock: what every lock, queue and channel waits with.
//!
//! ```text
//! wait_if ── lock ── closure: must it wait? ── push entry ── unlock ── park ── (lock, remove)
//! with ───── lock ── change the state, claim the first that fit ── unlock ── wake them
//! ```
//!
//! Entries lie on the waiters' stacks, so waiting allocates nothing. The lock's mark says whether anybody
//! is in the list, so whoever changes something can look for waiters without the lock (`is_quiet`).
//!
//! Invariants:
//! * I1: an entry is in the list only while its owner is between push and return of `wait_if`, and the
//!   owner returns only after it was claimed (and so taken out under the lock) or has taken itself out
//!   under the lock. So whoever holds the lock finds living entries, and living parties.
//! * I2: an entry is taken out before its claim is tried; one whose claim fails has another outcome
//!   already, and its owner does not need to be in the list.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::{self, NonNull};
use std::time::Instant;

use super::park::{Claimed, Outcome, Reason, Waiter, park};
use crate::base::lock::LockWord;

#[derive(Debug)]
pub(super) struct Entry {
    waiter: Waiter,
    key: usize,
    note: u64,
    linked: bool,
    /// One of several entries of the same wait.
    multiple: bool,
    /// Set by the claim that has won through this very entry.
    won: bool,
    prev: *mut Entry,
    next: *mut Entry,
}

/// The waiters, oldest first.
#[derive(Debug)]
pub(crate) struct WaitList {
    head: *mut Entry,
    tail: *mut Entry,
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
}

impl WaitList {
    /// Tells whether nobody waits.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// # Safety
    /// * The entry lives until it is out again, and is not linked.
    #[inline]
    unsafe fn push(&mut self, entry: NonNull<Entry>, front: bool) {
        let (prev, next) = if front { (ptr::null_mut(), self.head) } else { (self.tail, ptr::null_mut()) };
        // SAFETY: the caller's duty.
        let this = unsafe { &mut *entry.as_ptr() };
        (this.linked, this.prev, this.next) = (true, prev, next);
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
    unsafe fn remove(&mut self, entry: NonNull<Entry>) {
        // SAFETY: the caller's duty.
        let this = unsafe { &mut *entry.as_ptr() };
        if core::mem::replace(&mut this.linked, false) {
            let (prev, next) = (this.prev, this.next);
            self.join(prev, next);
        }
    }

    /// The first waiter that `fits`, without waking it.
    pub(crate) fn peek(&self, mut fits: impl FnMut(Seen) -> bool) -> Option<Seen> {
        let mut at = self.head;
        // SAFETY: null or a linked entry, which lives (I1).
        while let Some(entry) = unsafe { at.as_ref() } {
            let seen = entry.seen();
            if fits(seen) {
                return Some(seen);
            }
            at = entry.next;
        }
        None
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
    fn new(waiter: Waiter, key: usize, note: u64, multiple: bool) -> Self {
        let (prev, next) = (ptr::null_mut(), ptr::null_mut());
        Self { waiter, key, note, linked: false, multiple, won: false, prev, next }
    }

    #[inline]
    pub(super) fn seen(&self) -> Seen {
        // SAFETY: whoever holds the lock finds living parties (I1).
        let party = unsafe { self.waiter.id() };
        Seen { party, key: self.key, note: self.note }
    }
}

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub(crate) reason: Reason,
    pub(crate) deadline: Option<Instant>,
    pub(crate) key: usize,
    pub(crate) note: u64,
    /// Before those who wait already.
    pub(crate) front: bool,
}

impl How {
    #[inline]
    pub(crate) const fn new(reason: Reason, deadline: Option<Instant>) -> Self {
        Self { reason, deadline, key: 0, note: 0, front: false }
    }
}

/// A state, and those who wait for it to change.
#[derive(Debug)]
pub(crate) struct WaitQueue<S> {
    word: LockWord,
    inner: UnsafeCell<(S, WaitList)>,
}

// SAFETY: the word lets one thread at a time reach the rest.
unsafe impl<S: Send> Sync for WaitQueue<S> {}

// The crate's own closures change the state, whole or not at all; no code of users runs under the lock.
impl<S> UnwindSafe for WaitQueue<S> {}
impl<S> RefUnwindSafe for WaitQueue<S> {}

/// Holds the lock; when it is dropped, the mark tells whether anybody waits.
struct Guard<'a, S>(&'a WaitQueue<S>);

impl<S> Deref for Guard<'_, S> {
    type Target = (S, WaitList);
    #[inline]
    fn deref(&self) -> &Self::Target {
        // SAFETY: the lock is held while the guard lives.
        unsafe { &*self.0.inner.get() }
    }
}

impl<S> DerefMut for Guard<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { &mut *self.0.inner.get() }
    }
}

impl<S> Drop for Guard<'_, S> {
    #[inline]
    fn drop(&mut self) {
        let mark = !self.1.is_empty();
        self.0.word.unlock(mark);
    }
}

impl<S> WaitQueue<S> {
    pub(crate) const fn new(state: S) -> Self {
        let list = WaitList { head: ptr::null_mut(), tail: ptr::null_mut() };
        Self { word: LockWord::new(), inner: UnsafeCell::new((state, list)) }
    }

    #[inline]
    fn lock(&self) -> Guard<'_, S> {
        self.word.lock();
        Guard(self)
    }

    /// Tells whether nobody waits, nor is about to look whether it must. The other half of
    /// `LockWord::is_quiet`.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.word.is_quiet()
    }

    /// Runs `f` under the lock. What it claims must be woken after it has returned.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut S, &mut WaitList) -> R) -> R {
        let mut guard = self.lock();
        let (state, list) = &mut *guard;
        f(state, list)
    }

    /// Asks `must_wait` under the lock, and waits if it says so. `None` if it did not.
    ///
    /// On `Cancelled` the caller cleans up and then calls `raise_cancelled`. Inlined: see `park`.
    #[inline(always)]
    pub(crate) fn wait_if(
        &self,
        how: How,
        must_wait: impl FnOnce(&mut S, &mut WaitList) -> bool,
    ) -> Option<Outcome> {
        self.wait(how, must_wait, || ())
    }

    /// Waits, and runs `queued` (which must not wait itself) once this party is in the queue.
    pub(crate) fn wait_after(&self, how: How, queued: impl FnOnce()) -> Outcome {
        self.wait(how, |_, _| true, queued).unwrap_or(Outcome::Notified)
    }

    /// As [`wait_if`](Self::wait_if), and as [`wait_after`](Self::wait_after).
    pub(crate) fn wait_then(
        &self,
        how: How,
        must_wait: impl FnOnce(&mut S, &mut WaitList) -> bool,
        queued: impl FnOnce(),
    ) -> Option<Outcome> {
        self.wait(how, must_wait, queued)
    }

    #[inline(always)]
    fn wait(
        &self,
        how: How,
        must_wait: impl FnOnce(&mut S, &mut WaitList) -> bool,
        queued: impl FnOnce(),
    ) -> Option<Outcome> {
        let mut entry;
        let place;
        let waiter;
        {
            let mut guard = self.lock();
            let (state, list) = &mut *guard;
            if !must_wait(state, list) {
                return None;
            }
            waiter = Waiter::open();
            let (key, note) = (how.key, how.note);
            entry = Entry::new(waiter, key, note, false);
            place = NonNull::from(&mut entry);
            // SAFETY: the entry is on this frame, which is left only when it is out again (below).
            unsafe { guard.1.push(place, how.front) };
        }
        // From here on nothing unwinds before the entry is out again: `queued` unlocks, no more.
        queued();
        let outcome = park(waiter, how.reason, ptr::from_ref(self).addr(), how.deadline);
        if outcome != Outcome::Notified {
            // SAFETY: it lives, and belongs to this list.
            unsafe { self.lock().1.remove(place) };
        }
        Some(outcome)
    }
}

/// A queue as [`MultiWait`](super::multi_wait::MultiWait) sees it, whatever its state.
pub(super) trait Place {
    /// Takes an entry out; true if a claim has won through it.
    ///
    /// # Safety
    /// * The entry lives, and was pushed here.
    unsafe fn take_out(&self, entry: NonNull<Entry>) -> bool;
}

impl<S> Place for WaitQueue<S> {
    unsafe fn take_out(&self, entry: NonNull<Entry>) -> bool {
        let mut guard = self.lock();
        // SAFETY: the caller's duty.
        unsafe { guard.1.remove(entry) };
        // SAFETY: it lives, and the lock is held.
        unsafe { entry.as_ref() }.won
    }
}

impl<S> WaitQueue<S> {
    /// Asks `ready` under the lock. If it is not, puts a boxed entry into the queue, and returns it.
    ///
    /// # Safety
    /// * The caller frees the entry, and not before [`Place::take_out`] has returned.
    pub(super) unsafe fn enlist(
        &self,
        waiter: Waiter,
        (key, note): (usize, u64),
        ready: impl FnOnce(&mut S, &mut WaitList) -> bool,
    ) -> Option<NonNull<Entry>> {
        let mut guard = self.lock();
        let (state, list) = &mut *guard;
        if ready(state, list) {
            return None;
        }
        let entry = NonNull::from(Box::leak(Box::new(Entry::new(waiter, key, note, true))));
        // SAFETY: leaked, and kept by the caller.
        unsafe { list.push(entry, false) };
        Some(entry)
    }
}
