//! `timeout`: a deadline around a piece of code, wherever it waits.
//!
//! The code runs in place. The deadline is an entry in the calling party's list, which every wait
//! honours; when it has passed, the wait unwinds with a private payload that names the entry, and the
//! `timeout` call with that entry catches it. So destructors run and locks are freed.
//!
//! A coroutine that is resumed by hand may be carried to another party in the middle of a `timeout`, but never to
//! another thread. So its entries are in a list of the thread, and count for the waits that come from within that
//! coroutine, whichever party they are of.
#![forbid(unsafe_code)]

use core::any::Any;
use core::cell::Cell;
use core::fmt;
use core::mem::ManuallyDrop;
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
    /// Whether the caller is under that `timeout`, and not only its party or its thread.
    fn is_around(&self) -> bool {
        self.within.is_none_or(nest::is_within)
    }
}

/// The `timeout` calls a party is in on its own stack, outermost first.
#[derive(Default)]
#[expect(clippy::box_collection, reason = "one word in every task, null for nearly all")]
pub(crate) struct Scopes(Cell<Option<Box<Vec<Entry>>>>);

thread_local! {
    /// The calls that the coroutines of this thread are in which are resumed by hand. Without a destructor.
    static NESTED: ManuallyDrop<Scopes> = const { ManuallyDrop::new(Scopes::new()) };
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scopes")
    }
}

/// The payload of the unwinding; names the `timeout` call that has expired.
struct Expired(u64);

/// Tells whether a payload is that of a deadline.
pub(super) fn is_expired(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Expired>()
}

impl Scopes {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Tells whether there is none on the party's own stack. On the path of every wait.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        let entries = self.0.take();
        let none = entries.is_none();
        self.0.set(entries);
        none
    }

    fn with<R>(&self, f: impl FnOnce(&mut Vec<Entry>) -> R) -> R {
        let mut entries = self.0.take().unwrap_or_default();
        let result = f(&mut entries);
        if !entries.is_empty() {
            self.0.set(Some(entries));
        }
        result
    }

    /// Gives `f` the entries that are around the caller, which is the party of this list: its own, then those of
    /// the coroutines by hand that it runs on.
    #[cold]
    fn around<R>(&self, f: impl FnOnce(&mut dyn Iterator<Item = &mut Entry>) -> R) -> R {
        self.with(|own| {
            NESTED.with(|nested| {
                nested.with(|nested| f(&mut own.iter_mut().chain(nested).filter(|e| e.is_around())))
            })
        })
    }

    /// The earliest of the deadlines that the caller is under.
    #[inline]
    pub(crate) fn earliest(&self) -> Option<Instant> {
        if self.is_empty() && !nest::has_any() {
            return None;
        }
        self.around(|entries| entries.map(|entry| entry.deadline).min())
    }

    /// The largest number of the calls around the caller whose deadline has passed.
    #[cfg(feature = "monkey")]
    pub(crate) fn last_expired(&self) -> Option<u64> {
        self.earliest()?;
        let now = Instant::now();
        self.around(|entries| entries.filter(|e| e.deadline <= now).map(|entry| entry.number).max())
    }

    /// The earliest deadline of the calls around the caller with a larger number.
    #[cfg(feature = "monkey")]
    pub(crate) fn earliest_after(&self, number: u64) -> Option<Instant> {
        self.around(|entries| entries.filter(|e| e.number > number).map(|entry| entry.deadline).min())
    }

    /// Says that the deadline of the outermost `timeout` call whose deadline has passed has ended a wait without
    /// unwinding.
    pub(super) fn cut(&self) {
        let now = Instant::now();
        self.around(|mut entries| {
            if let Some(entry) = Iterator::find(&mut entries, |entry| entry.deadline <= now) {
                entry.cut = true;
            }
        });
    }

    /// Unwinds to the outermost `timeout` call whose deadline has passed.
    pub(crate) fn raise_expired(&self) -> ! {
        let now = Instant::now();
        let first =
            self.around(|mut entries| Iterator::find(&mut entries, |e| e.deadline <= now).map(|e| e.number));
        match first {
            Some(number) => {
                unwind::raise(Box::new(Expired(number)), "the code under a `timeout` was not done in time")
            }
            None => unwind::raise_kill(),
        }
    }
}

/// The list for entries of the calling code, which is on the coroutine by hand of that id, if it is given.
fn list_of<R>(within: Option<u64>, f: impl FnOnce(&Scopes) -> R) -> R {
    match within {
        Some(_) => NESTED.with(|nested| f(nested)),
        None => party::with_current(|party| f(&party.scopes)),
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
    let within = nest::innermost();
    list_of(within, |list| list.with(|entries| entries.push(Entry { number, deadline, within, cut: false })));
    if within.is_some() {
        nest::count_limit();
    }
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    let own = |entries: &mut Vec<Entry>| {
        let at = entries.iter().position(|entry| entry.number == number)?;
        Some(entries.remove(at))
    };
    let ended = list_of(within, |list| list.with(own));
    if within.is_some() {
        nest::uncount_limit();
    }
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
