//! What a higher layer has to see to on each worker between turns and around its sleep.
//!
//! One set of functions for the process, called on the worker's thread, with nothing borrowed. They may claim and wake;
//! they must not wait.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

/// The functions.
#[derive(Debug)]
pub(crate) struct Guest {
    /// Called every so many turns.
    pub(crate) look: fn(),
    /// Called before the worker sleeps; it stays awake if this has made a coroutine ready.
    pub(crate) lie_down: fn(),
    /// Called after it has slept, or has changed its mind.
    pub(crate) get_up: fn(),
}

static GUEST: OnceLock<Guest> = OnceLock::new();

/// Has the functions called from now on. Only the first guest gets in.
pub(crate) fn install(guest: Guest) {
    let _ = GUEST.set(guest);
}

#[inline]
pub(super) fn look() {
    if let Some(guest) = GUEST.get() {
        (guest.look)();
    }
}

#[inline]
pub(super) fn lie_down() {
    if let Some(guest) = GUEST.get() {
        (guest.lie_down)();
    }
}

#[inline]
pub(super) fn get_up() {
    if let Some(guest) = GUEST.get() {
        (guest.get_up)();
    }
}
