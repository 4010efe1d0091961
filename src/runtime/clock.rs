//! Instants as nanoseconds since the worker began, as the timer wheel counts them.
#![forbid(unsafe_code)]

use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    begin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { begin: Instant::now() }
    }

    /// Nanoseconds now.
    #[inline]
    pub(crate) fn now(self) -> u64 {
        self.nanos(Instant::now())
    }

    /// Nanoseconds at `at`; zero for what lies before, the largest for what lies too far ahead.
    #[inline]
    pub(crate) fn nanos(self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begin);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }
}
