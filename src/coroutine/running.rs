//! Which hand-resumed coroutine runs: the innermost one of the thread, or of the scheduled coroutine.
//!
//! The scheduler keeps one such value for each of its coroutines: it puts the right one here for every
//! turn, so that two of them on one worker do not mix theirs up.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ptr;

thread_local! {
    static RUNNING: Cell<*const ()> = const { Cell::new(ptr::null()) };
}

/// The innermost one; null for none.
#[inline]
pub(crate) fn get() -> *const () {
    RUNNING.get()
}

/// Says that another one runs now, and gives the one before.
#[inline]
pub(crate) fn replace(other: *const ()) -> *const () {
    RUNNING.replace(other)
}
