//! A steady beat.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::time::Instant;

use crate::runtime;

/// Gives one tick a period; see [`interval`].
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let mut beat = ropewalk::time::interval(Duration::from_millis(1));
/// let (first, second) = (beat.tick(), beat.tick());
/// assert!(second - first >= beat.period());
/// ```
#[derive(Debug)]
pub struct Interval {
    next: Instant,
    period: Duration,
}

/// Makes a beat of `period`; the first tick comes at once.
///
/// Ticks keep to the grid of the first one. Whoever comes late gets a tick at once, and those it has
/// missed are left out.
///
/// # Panics
/// If the period is zero.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// let began = Instant::now();
/// let mut beat = ropewalk::time::interval(Duration::from_millis(2));
/// (0..3).for_each(|_| drop(beat.tick()));
/// assert!(began.elapsed() >= Duration::from_millis(4));
/// ```
pub fn interval(period: Duration) -> Interval {
    assert!(!period.is_zero(), "an interval of zero would tick for ever at once; give it a length");
    Interval { next: Instant::now(), period }
}

impl Interval {
    /// Waits for the next tick, and tells when it was due. A cancellation point.
    pub fn tick(&mut self) -> Instant {
        runtime::sleep_until(self.next);
        let due = self.next;
        let late = due.elapsed();
        // Whole periods that have passed since are missed.
        let missed = u32::try_from(late.as_nanos() / self.period.as_nanos()).unwrap_or(u32::MAX - 1);
        let step = self.period.checked_mul(missed + 1);
        self.next =
            step.and_then(|step| due.checked_add(step)).unwrap_or_else(|| runtime::far::after(Duration::MAX));
        due
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }
}
