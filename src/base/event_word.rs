//! The word of an event that parties of several processes wait for: a count of what has happened, and
//! whether anybody may sleep.
//!
//! `count << 1 | SLEEPERS`
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `n`, any | `n`, `SLEEPERS` | who is about to sleep | before it looks at the state once more |
//! | `n`, `SLEEPERS` | `n + 1`, `SLEEPERS` | who has changed the state | before it wakes one |
//! | `n`, `SLEEPERS` | `n + 2`, clear | the same | if the kernel found nobody to wake; then it wakes all |
//! | `n`, any | `n + 2`, clear | who wakes all | before it wakes all |
//!
//! The two sides, each with a write and a read that must not pass each other:
//!
//! | who waits | who wakes |
//! |---|---|
//! | sets `SLEEPERS` (`prepare`) | changes the state |
//! | looks at the state, and sleeps while the word is what `prepare` said | looks at `SLEEPERS` |
//!
//! The bit needs no count of sleepers, so one that is killed leaves nothing behind but one wake for nobody.
//! Whoever clears it wakes all: those who slept look again, and set it again. It raises the count by two, so
//! that whoever stands in for several sleepers, and takes two events as a call to wake all of them, sees it.
//!
//! Counting wraps after 2^31 events: a party that is held up, between `prepare` and its sleep, for exactly
//! that many would sleep through the last of them.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU32, Ordering, fence};

const SLEEPERS: u32 = 1;
const STEP: u32 = 2;

/// A count of events and a bit; zero is an event that has not happened and that nobody waits for.
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

    /// Tells, after a change of the state, whether somebody may sleep.
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        // Between the change and the look; pairs with the fence in `prepare`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence orders it.
        self.0.load(Ordering::Relaxed) & SLEEPERS != 0
    }

    /// Counts one event; the value after it. A wake of one follows.
    pub fn count_one(&self) -> u32 {
        // SeqCst: as in `prepare`.
        self.0.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP)
    }

    /// The kernel found nobody for the event that made the word `seen`: clears the bit, unless the word has
    /// moved on. The value after it; a wake of all follows.
    pub fn clear(&self, seen: u32) -> Option<u32> {
        let next = (seen & !SLEEPERS).wrapping_add(2 * STEP);
        if seen & SLEEPERS == 0 {
            return None;
        }
        // SeqCst: as in `prepare`.
        self.0.compare_exchange(seen, next, Ordering::SeqCst, Ordering::Relaxed).ok().map(|_| next)
    }

    /// Counts an event for all, and clears the bit; a wake of all follows.
    pub fn count_all(&self) {
        // SeqCst: as in `prepare`.
        let next = |word: u32| Some((word & !SLEEPERS).wrapping_add(2 * STEP));
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next);
    }

    /// How many events lie between two values of the word.
    pub fn between(earlier: u32, later: u32) -> u32 {
        (later & !SLEEPERS).wrapping_sub(earlier & !SLEEPERS) / STEP
    }
}

impl Default for EventWord {
    fn default() -> Self {
        Self::new()
    }
}
