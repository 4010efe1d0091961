//! Deadlines from durations, without overflow.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::time::Instant;

/// Longer than any process lives: about a century.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The instant `limit` from now; a century from now if that lies too far ahead to be told.
pub(crate) fn after(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + CENTURY)
}
