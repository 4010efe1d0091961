//! Warnings of the crate: to the program's logger, or to standard error where there is none.
//!
//! `log` drops what comes before a logger is installed, so a hang would leave no trace. Standard error gets at most
//! [`LIMIT`] warnings a process, and none if the environment variable `ROPEWALK_WARNINGS` is `off`.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};
use std::io::Write;
use std::sync::OnceLock;

/// Warnings that standard error gets from one process.
const LIMIT: u32 = 64;

/// Tells whether the program has no logger. The one that `log` starts with has no size and no level; a logger of a
/// program that is switched off has a size, in general.
fn has_no_logger() -> bool {
    log::max_level() == log::LevelFilter::Off && size_of_val(log::logger()) == 0
}

fn is_switched_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var_os("ROPEWALK_WARNINGS").is_none_or(|value| value != "off"))
}

/// Tells whether a warning would reach anybody.
pub(crate) fn is_enabled() -> bool {
    log::log_enabled!(log::Level::Warn) || (has_no_logger() && is_switched_on())
}

/// Warns. The caller must be where foreign code may run: a logger may wait, lock and panic.
pub(crate) fn warn(text: fmt::Arguments<'_>) {
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    if !has_no_logger() {
        log::warn!(target: "ropewalk", "{text}");
        return;
    }
    if !is_switched_on() {
        return;
    }
    // Relaxed: only counted. The update stops at the limit, so the number does not wrap.
    let number = WRITTEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < LIMIT).then_some(n + 1));
    let Ok(number) = number else { return };
    let last =
        if number + 1 == LIMIT { "\nropewalk: further warnings are not shown without a logger" } else { "" };
    // One write, so that lines of other threads do not come in between. A closed descriptor is no reason to panic.
    let _ = std::io::stderr().write_all(format!("ropewalk: {text}{last}\n").as_bytes());
}
