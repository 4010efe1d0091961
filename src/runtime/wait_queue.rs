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
pub(super) use super::wait_list::Entry;
pub(crate) use super::wait_list::{Seen, WaitList};
use crate::base::lock::LockWord;

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
        Self { word: LockWord::new(), inner: UnsafeCell::new((state, WaitList::new())) }
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

    /// Ends the waits of at most `count` of the waiters that `fits` and that are in the queue now, the oldest first,
    /// and hands each claim to `wake` with the lock free. Tells how many.
    ///
    /// A waiter that is woken and waits again before this returns waits for the next call. Without that, waiters that
    /// come back quickly would keep the caller for ever.
    pub(crate) fn claim_each(
        &self,
        count: usize,
        mut fits: impl FnMut(Seen) -> bool,
        mut wake: impl FnMut(Claimed),
    ) -> usize {
        let mut entered = None;
        let mut woken = 0;
        while woken < count {
            let claimed = self.with(|_, list| {
                let entered = *entered.get_or_insert(list.entered());
                list.claim(|seen| seen.number < entered && fits(seen))
            });
            let Some(claimed) = claimed else { break };
            wake(claimed);
            woken += 1;
        }
        woken
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
