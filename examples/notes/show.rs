//! What the sections share: stopwatches and numbers for people.

use std::time::{Duration, Instant};

/// Runs `f`, and tells how long that took.
pub(crate) fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = f();
    (value, began.elapsed())
}

/// Nanoseconds for one of `count`.
pub(crate) fn each(total: Duration, count: u32) -> String {
    let nanos = total.as_nanos() as f64 / f64::from(count);
    if nanos < 10_000.0 { format!("{nanos:.1} ns") } else { format!("{:.1} µs", nanos / 1000.0) }
}

/// A figure of this process in the kernel's status file, such as `VmRSS` (in KiB).
pub(crate) fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(key));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Data that no two runs lay out the same: keeps a loop from being computed ahead.
pub(crate) fn opaque<T>(value: T) -> T {
    std::hint::black_box(value)
}
