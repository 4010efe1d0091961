//! `timeout`: a deadline around a piece of code, wherever it waits.
//!
//! The code runs in place. The deadline is an entry in the calling party's list, which every wait
//! honours; when it has passed, the wait unwinds with a private payload that names the entry, and the
//! `timeout` call with that entry catches it. So destructors run and locks are freed.
//!
//! Entries are values, found by number: a hand-resumed coroutine that is carried to another party in
//! the middle of a `timeout` leaves a stale number behind, never a pointer. And its entry counts only for waits
//! that come from within it: nobody could catch the unwinding of others.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use super::{far, party};
use crate::coroutine::stack::nest;
use crate::coroutine::{id, unwind};

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    deadline: Instant,
    /// The coroutine that has called `timeout`, if that was resumed by hand.
    within: Option<u64>,
    /// Its deadline has ended a wait, and the waiting code was told so by an error number.
    cut: bool,
}

impl Entry {
    /// Whether the caller is under that `timeout`, and not only its party.
    fn is_around(&self) -> bool {
        self.within.is_none_or(nest::is_within)
    }
}

/// The `timeout` calls a party is in, outermost first.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "one word in every task, null for nearly all")]
pub(crate) struct Scopes(Cell<Option<Box<Vec<Entry>>>>);

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scopes")
    }
}

/// The payload of the unwinding; names the `timeout` call that has expired.
struct Expired(u64);

impl Scopes {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        let mut entries = self.0.take().unwrap_or_default();
        let result = f(&mut entries);
        if !entries.is_empty() {
            self.0.set(Some(entries));
        }
        result
    }

    /// The earliest of the deadlines that the caller is under.
    #[inline(always)]
    pub(crate) fn earliest(&self) -> Option<Instant> {
        // On the path of every wait: nearly all have none.
        self.0.take().and_then(|entries| self.earliest_of(entries))
    }

    #[cold]
    #[expect(clippy::box_collection, reason = "as the list lies in the task")]
    fn earliest_of(&self, entries: Box<Vec<Entry>>) -> Option<Instant> {
        let around = entries.iter().filter(|entry| entry.is_around());
        let earliest = around.map(|entry| entry.deadline).min();
        self.0.set(Some(entries));
        earliest
    }

    /// The largest number of the calls around the caller whose deadline has passed.
    #[cfg(feature = "monkey")]
    pub(crate) fn last_expired(&self) -> Option<u64> {
        self.earliest()?;
        let now = Instant::now();
        let expired = |entry: &&Entry| entry.deadline <= now && entry.is_around();
        self.with(|entries| entries.iter().filter(expired).map(|entry| entry.number).max())
    }

    /// The earliest deadline of the calls around the caller with a larger number.
    #[cfg(feature = "monkey")]
    pub(crate) fn earliest_after(&self, number: u64) -> Option<Instant> {
        let later = |entry: &&Entry| entry.number > number && entry.is_around();
        self.with(|entries| entries.iter().filter(later).map(|entry| entry.deadline).min())
    }

    /// Says that the deadline of the outermost `timeout` call whose deadline has passed has ended a wait without
    /// unwinding.
    pub(super) fn cut(&self) {
        let now = Instant::now();
        self.with(|entries| {
            let mut expired = entries.iter_mut().filter(|entry| entry.deadline <= now && entry.is_around());
            if let Some(entry) = expired.next() {
                entry.cut = true;
            }
        });
    }

    /// Unwinds to the outermost `timeout` call whose deadline has passed.
    pub(crate) fn raise_expired(&self) -> ! {
        let now = Instant::now();
        let expired = |entry: &&Entry| entry.deadline <= now && entry.is_around();
        let first = self.with(|entries| entries.iter().find(expired).copied());
        match first {
            Some(entry) => unwind::raise(
                Box::new(Expired(entry.number)),
                "the code under a `timeout` was not done in time",
            ),
            None => unwind::raise_kill(),
        }
    }
}

/// The code under [`timeout`] was still waiting when its time was over.
///
/// # Examples
/// ```
/// use std::{io, time::Duration};
///
/// fn answer() -> io::Result<u32> {
///     Ok(ropewalk::timeout(Duration::from_millis(1), || ropewalk::channel::never().recv().unwrap())?)
/// }
/// assert_eq!(answer().unwrap_err().kind(), io::ErrorKind::TimedOut);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed(Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done after {:?}", self.0)
    }
}

impl core::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs `f` here and now; if it waits when `limit` is over, unwinds it and returns an error.
///
/// The deadline ends waits, not computations: code that never waits is never interrupted. Every wait
/// of this crate counts, on a coroutine and on a plain thread; waits under [`shield`](super::shield)
/// and in destructors of an unwinding are let be. Locks are freed and no message is lost, as with a
/// cancellation. Nested calls each have their own deadline.
///
/// A replaced function of libc (`monkey`) never unwinds: one that waits when the time is over fails with `ECANCELED`, and
/// so does each after it. What `f` makes of that and returns is dropped; if it panics, as an `unwrap` of such an error
/// does, that panic goes on.
///
/// # Errors
/// [`Elapsed`] if the time was over and `f` waited for something before it returned.
///
/// # Panics
/// If `f` does.
///
/// # Examples
/// ```
/// use ropewalk::sync::Event;
/// use std::time::Duration;
///
/// let never = Event::new();
/// let result = ropewalk::timeout(Duration::from_millis(5), || never.wait());
/// assert!(result.is_err());
/// assert_eq!(ropewalk::timeout(Duration::from_secs(5), || 42), Ok(42));
/// ```
pub fn timeout<T>(limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    let number = id::next();
    let deadline = far::after(limit);
    let entry = Entry { number, deadline, within: nest::innermost(), cut: false };
    party::with_current(|party| party.scopes.with(|entries| entries.push(entry)));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let own = |entries: &mut Vec<Entry>| {
        let at = entries.iter().position(|entry| entry.number == number)?;
        Some(entries.remove(at))
    };
    let ended = party::with_current(|party| party.scopes.with(own));
    match result {
        Ok(_) if ended.is_some_and(|entry| entry.cut) => Err(Elapsed(limit)),
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast::<Expired>() {
            Ok(expired) if expired.0 == number => Err(Elapsed(limit)),
            Ok(expired) => panic::resume_unwind(expired),
            Err(payload) => panic::resume_unwind(payload),
        },
    }
}
