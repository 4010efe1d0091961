//! Warnings and errors for people: the program's logger gets them, or stderr if there is no logger.
//!
//! A logger counts as absent while [`log::max_level`] is `Off` and [`log::logger`] does not want errors of this crate.
//! On stderr the number of lines is bounded, because a fault that repeats must not fill a disk.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io::Write;

use log::{Level, LevelFilter, Metadata};

/// Lines on stderr in the life of a process, unless somebody sets another number.
const MOST: u32 = 100;
/// The variable is not read yet.
const UNREAD: u32 = u32::MAX;

/// Lines that may still be written.
static LEFT: AtomicU32 = AtomicU32::new(UNREAD);
/// The number that was set; `UNREAD` until then.
static SET: AtomicU32 = AtomicU32::new(UNREAD);

/// Gives a record to the logger, or a line to stderr.
macro_rules! tell {
    ($level:expr, $($text:tt)+) => {
        if $crate::base::notice::has_logger() {
            log::log!($level, $($text)+)
        } else {
            $crate::base::notice::to_stderr($level, format_args!($($text)+))
        }
    };
}

macro_rules! warn_ {
    ($($text:tt)+) => { $crate::base::notice::tell!(log::Level::Warn, $($text)+) };
}

macro_rules! error_ {
    ($($text:tt)+) => { $crate::base::notice::tell!(log::Level::Error, $($text)+) };
}

pub(crate) use {error_ as error, tell, warn_ as warn};

/// Sets how many warnings and errors the crate may still write to stderr; 0: none.
///
/// They go there while the program has no logger of the `log` crate. The default is 100 lines in the life of
/// the process. The environment variable `ROPEWALK_WARNINGS` sets another number, or `off`; a call of this function
/// takes precedence over it. With 0, the line that names the coroutine of a panic is left out as well.
///
/// # Examples
/// ```
/// // Before anything else of the crate: nothing of it appears on stderr.
/// ropewalk::runtime::set_stderr_warnings(0);
/// ```
pub fn set_stderr_warnings(most: u32) {
    let most = most.min(UNREAD - 1);
    // Relaxed, here and below: numbers on which nothing else rides.
    SET.store(most, Ordering::Relaxed);
    LEFT.store(most, Ordering::Relaxed);
}

/// Reads the variable, unless that has been done or a number is set.
fn set_from_environment() {
    if SET.load(Ordering::Relaxed) != UNREAD {
        return;
    }
    let most = match std::env::var("ROPEWALK_WARNINGS") {
        Ok(text) if matches!(text.as_str(), "off" | "none" | "false") => 0,
        Ok(text) => text.parse().unwrap_or(MOST).min(UNREAD - 1),
        Err(_) => MOST,
    };
    if SET.compare_exchange(UNREAD, most, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        let _ = LEFT.compare_exchange(UNREAD, most, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Tells whether the program wants nothing of this crate on stderr.
pub(crate) fn is_silenced() -> bool {
    set_from_environment();
    SET.load(Ordering::Relaxed) == 0
}

/// Tells whether the program has a logger. This may call it.
pub(crate) fn has_logger() -> bool {
    let metadata = || Metadata::builder().level(Level::Error).target("ropewalk").build();
    log::max_level() != LevelFilter::Off || log::logger().enabled(&metadata())
}

/// Tells whether a warning would reach anybody. This may call the logger.
pub(crate) fn wants_warnings() -> bool {
    if has_logger() {
        return log::log_enabled!(Level::Warn);
    }
    set_from_environment();
    LEFT.load(Ordering::Relaxed) != 0
}

/// Writes a line to stderr, if it is a warning or an error and the bound allows it.
pub(crate) fn to_stderr(level: Level, text: fmt::Arguments<'_>) {
    if level > Level::Warn {
        return;
    }
    set_from_environment();
    let left = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    let Ok(left) = left else { return };
    let kind = if level == Level::Error { "error" } else { "warning" };
    let mut line = format!("ropewalk: {kind}: {text}\n");
    if left == 1 {
        line +=
            "ropewalk: no more warnings are shown (ROPEWALK_WARNINGS sets their number; a logger gets all)\n";
    }
    // A line at once, so that lines of several threads do not mix. Nobody can be told that stderr is closed.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
