//! The word of an event that parties of several processes wait for: a count of what has happened, whether
//! a party may sleep, and whether a wake of all parties may be outstanding.
//!
//! `count << 2 | PENDING | SLEEPERS`
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `n`, any | `n`, and `SLEEPERS` | a party that is about to sleep | before it looks at the state once more |
//! | `n`, any | `n + 1`, same bits | a party that has changed the state | before it wakes one sleeper |
//! | `n`, any | `n + 2`, `PENDING` alone | the same party | before it wakes all sleepers |
//! | `n`, `PENDING` | `n`, without it | the party that has set it at `n` | after it has woken all sleepers |
//!
//! One sleeper is woken while there are sleepers in the kernel and nothing is `PENDING`; all of them otherwise.
//!
//! The two sides, each with a write and a read that must not pass each other:
//!
//! | a waiting party | a waking party |
//! |---|---|
//! | sets `SLEEPERS` (`prepare`) | changes the state |
//! | looks at the state, and sleeps while the word is what `prepare` said | looks at both bits |
//!
//! The bits need no count of sleepers, so a sleeper that is killed leaves nothing behind but one wake for nobody.
//! A party that clears `SLEEPERS` wakes all sleepers: they look again, and set it again. The count rises by
//! two, so that a listener which stands in for several sleepers takes it as a call to wake all of them.
//!
//! A party that is killed between the store that clears `SLEEPERS` and the wake leaves `PENDING` behind. The
//! next party that looks at the bits, at another event or at the burial of the dead, wakes all in its place.
//!
//! Counting wraps after 2^30 events: a party that is held up, between `prepare` and its sleep, for exactly
//! that many would sleep through the last of them.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU32, Ordering, fence};

const SLEEPERS: u32 = 1;
const PENDING: u32 = 2;
const BITS: u32 = SLEEPERS | PENDING;
const STEP: u32 = 4;

/// The number of sleepers that a wake of all asks for: the kernel takes a signed count.
const ALL: u32 = i32::MAX.cast_unsigned();

/// A count of events and two bits; zero is an event that has not happened and that nobody waits for.
#[repr(transparent)]
#[derive(Debug)]
pub struct EventWord(AtomicU32);

impl EventWord {
    /// Nothing has happened.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Nothing has happened.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The word itself, for the kernel.
    #[inline]
    pub fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Says that the caller is about to sleep, and gives the value to sleep on.
    #[inline]
    pub fn prepare(&self) -> u32 {
        // SeqCst: before the caller's look at the state; pairs with the fence in `has_sleepers`.
        let before = self.0.fetch_or(SLEEPERS, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        before | SLEEPERS
    }

    /// Tells, after a change of the state, whether there may be a sleeper to wake.
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        // Between the change and the look; pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        self.0.load(Ordering::Relaxed) & BITS != 0
    }

    /// Counts one event and wakes one sleeper; all of them if the kernel knows of none, or if a wake of all
    /// is outstanding. `wake` wakes up to that many sleepers, and tells how many they were.
    ///
    /// The result says how many events were counted, up to which value of the word.
    pub fn wake_one(&self, wake: impl Fn(u32) -> u32) -> (u32, u32) {
        let seen = self.count_one();
        if seen & PENDING == 0 && wake(1) > 0 {
            return (1, seen);
        }
        match self.begin_wake_after(seen) {
            Some(begun) => {
                wake(ALL);
                self.end_wake(begun);
                (1 + Self::between(seen, begun), begun)
            }
            None => (1, seen),
        }
    }

    /// Counts an event for all, and wakes all sleepers. `wake` as for [`wake_one`](Self::wake_one).
    pub fn wake_all(&self, wake: impl Fn(u32) -> u32) {
        let begun = self.begin_wake();
        wake(ALL);
        self.end_wake(begun);
    }

    /// Counts one event; the value after it.
    pub fn count_one(&self) -> u32 {
        // SeqCst: as in `prepare`.
        self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP)
    }

    /// As [`begin_wake`](Self::begin_wake), if the word has not moved on from `seen` and has one of the bits.
    /// A party that has moved the count on has seen the bits itself; one that has set `SLEEPERS` gets its wake.
    fn begin_wake_after(&self, seen: u32) -> Option<u32> {
        let next = |word: u32| {
            let moved_on = Self::between(seen, word) > 0;
            (!moved_on && word & BITS != 0).then(|| Self::begun(word))
        };
        // SeqCst: as in `prepare`.
        self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next).ok().map(Self::begun)
    }

    /// Counts an event for all, clears `SLEEPERS` and sets `PENDING`; the value after it. A wake of all and
    /// [`end_wake`](Self::end_wake) follow.
    pub fn begin_wake(&self) -> u32 {
        let next = |word: u32| Some(Self::begun(word));
        // SeqCst: as in `prepare`.
        let (Ok(before) | Err(before)) = self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next);
        Self::begun(before)
    }

    fn begun(word: u32) -> u32 {
        ((word & !BITS) | PENDING).wrapping_add(2 * STEP)
    }

    /// All who slept when the word was `begun` have been woken: takes `PENDING` off, unless the count has
    /// moved on since, which may be the work of another party that has yet to wake.
    fn end_wake(&self, begun: u32) {
        let next = |word: u32| (Self::between(begun, word) == 0).then_some(word & !PENDING);
        // Release: after the wake. Relaxed on failure: nothing is read.
        let _ = self.0.fetch_update(Ordering::Release, Ordering::Relaxed, next);
    }

    /// How many events lie between two values of the word.
    pub fn between(earlier: u32, later: u32) -> u32 {
        (later & !BITS).wrapping_sub(earlier & !BITS) / STEP
    }
}

impl Default for EventWord {
    fn default() -> Self {
        Self::new()
    }
}
