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
        self.next = next(due, due.elapsed(), self.period);
        due
    }

    /// The period.
    pub fn period(&self) -> Duration {
        self.period
    }
}

/// The first point on the grid of `due` that comes after `late`; whole periods that have passed are missed.
fn next(due: Instant, late: Duration, period: Duration) -> Instant {
    const SECOND: u128 = 1_000_000_000;
    let since = late.as_nanos() % period.as_nanos();
    // No more than `late`, so its seconds fit.
    let missed = late - Duration::new((since / SECOND) as u64, (since % SECOND) as u32);
    let step = missed.checked_add(period);
    step.and_then(|step| due.checked_add(step)).unwrap_or_else(|| runtime::far::after(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_after_any_number_of_missed_ones_is_the_first_on_the_grid_that_is_still_to_come() {
        let due = Instant::now();
        for missed in [0, 1, u64::from(u32::MAX) - 1, u64::from(u32::MAX), u64::from(u32::MAX) + 1, 1 << 40] {
            for (nanos, past) in [(1, 0), (3, 2)] {
                let late = Duration::from_nanos(missed * nanos + past);
                let expected = due + Duration::from_nanos((missed + 1) * nanos);
                assert_eq!(next(due, late, Duration::from_nanos(nanos)), expected, "{missed}");
            }
        }
        let far = next(due, Duration::from_secs(1), Duration::MAX);
        assert!(far > due + Duration::from_secs(1 << 20));
    }
}
