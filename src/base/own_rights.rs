//! Whether a thread has credentials, namespaces or filters of its own: notes of the functions that replace libc's.
//!
//! A thread inherits them from the one that starts it, and so it inherits the notes.
#![forbid(unsafe_code)]

use std::cell::Cell;

thread_local! {
    /// What the calling thread has of its own; zero for nothing.
    static OWN: Cell<u8> = const { Cell::new(0) };
}

/// The notes of the calling thread; zero if it has nothing of its own.
#[inline]
pub(crate) fn get() -> u8 {
    OWN.get()
}

/// Sets the notes of the calling thread.
pub(crate) fn set(notes: u8) {
    OWN.set(notes);
}
