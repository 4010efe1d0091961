//! std's word for `thread::park`, of a worker's thread on which coroutines are parked.
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `NOTIFIED` | `EMPTY` | std's `park`, unseen | it finds a token |
//! | `EMPTY` | `PARKED` | std's `park` | it calls, to wait |
//! | any | `NOTIFIED` | std's `unpark`, on any thread | it calls if it has found `PARKED` |
//! | `PARKED` | `EMPTY` | `settle` | a park that has called begins to wait, so that the next one calls as well |
//! | any | `NOTIFIED` | `give` | a wait has ended: std's `park` takes it and returns |
//! | `NOTIFIED` | `EMPTY` | `take` | the worker looks between two turns |
//! | `EMPTY` | `PARKED` | `arm` | the worker is about to sleep, so that an `unpark` calls |
//! | `PARKED` | `EMPTY` | `disarm` | it has slept |
//!
//! All but `unpark` happen on the thread itself. So an `unpark` calls, or leaves a token that one of `settle`, `give`,
//! `take`, `arm` and `disarm` finds, or that a `park` of the same turn takes unseen.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU32, Ordering};

/// Nobody parks, as far as the word says.
pub const EMPTY: u32 = 0;
/// There is a token.
pub const NOTIFIED: u32 = 1;
/// A `park` waits, or the whole worker; the value that `park` waits for.
pub const PARKED: u32 = u32::MAX;

/// The word.
#[repr(transparent)]
#[derive(Debug)]
pub struct ParkerWord(AtomicU32);

impl ParkerWord {
    /// The word of a thread, or a model of one.
    pub fn new(word: AtomicU32) -> Self {
        Self(word)
    }

    /// The word itself, for models of std's side.
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Puts `EMPTY` for the caller's `PARKED`; false if there is a token.
    pub fn settle(&self) -> bool {
        self.exchange(PARKED, EMPTY)
    }

    /// Puts a token there; true if there was one, which is taken with it.
    pub fn give(&self) -> bool {
        // AcqRel: what the giver of that one has done comes before the return of the `park` that takes this one.
        self.0.swap(NOTIFIED, Ordering::AcqRel) == NOTIFIED
    }

    /// Takes a token, if there is one.
    pub fn take(&self) -> bool {
        // Relaxed: the exchange orders. Acquire pairs with the Release of std's `unpark`.
        self.0.load(Ordering::Relaxed) == NOTIFIED
            && self.0.compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Has an `unpark` call from now on; false if one has left a token.
    pub fn arm(&self) -> bool {
        self.exchange(EMPTY, PARKED)
    }

    /// Has each `park` call from now on; false if an `unpark` has called.
    pub fn disarm(&self) -> bool {
        self.exchange(PARKED, EMPTY)
    }

    fn exchange(&self, from: u32, to: u32) -> bool {
        // AcqRel: what is behind a wait's entry in the list comes before; Acquire pairs with the Release of `unpark`.
        let seen = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        seen != Err(NOTIFIED)
    }
}
