//! Calls of libc's that this crate makes for itself, in the middle of its own work: a short lock is held, or the signal
//! mask of the thread is changed. A coroutine must not wait there, so libc's functions that are replaced (`monkey`) go
//! straight to the kernel meanwhile.
#![forbid(unsafe_code)]

use std::cell::Cell;

thread_local! {
    /// Calls of `plainly` that this thread is in.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f`, whose calls of libc's block the thread as if nothing was replaced. It must not wait for others.
pub(crate) fn plainly<R>(f: impl FnOnce() -> R) -> R {
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _out = Out;
    f()
}

/// Tells whether the calling thread is in a [`plainly`].
#[cfg(feature = "monkey")]
pub(crate) fn is_plain() -> bool {
    DEPTH.get() > 0
}
