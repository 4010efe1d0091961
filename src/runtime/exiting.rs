//! `exit` in a coroutine: from then on its worker runs no other.
//!
//! `exit` destroys the locals of the calling thread, on the coroutine that calls it, and then calls the handlers of
//! `atexit`. All coroutines of the worker share those locals, and may have borrowed them. A destructor or a
//! handler may wait; were another coroutine to run meanwhile, it would go on among destroyed locals. So such a wait
//! keeps the worker (`unwinding`), however long it lasts, and neither a cancellation nor a deadline of
//! [`timeout`](super::timeout) ends it: the destructor of a local must not unwind.
//!
//! A wait for another coroutine of the same worker never ends, and a warning says so. Other workers go on.
//!
//! Invariant I1: the call of `begin` comes before any destructor of a thread-local (`sys::thread_exit`), and so
//! before the handlers.
#![forbid(unsafe_code)]

use super::party;
use crate::coroutine::lingering;
use crate::coroutine::stack::nest;
use crate::sys::thread_exit;

/// Sees to it that `begin` is called at the end of the calling thread, which is a worker's.
pub(super) fn arm() {
    thread_exit::arm(begin);
}

/// The end of a worker's thread, or of the process in a coroutine of that thread.
fn begin() {
    if party::is_coroutine() {
        nest::raise_for_exit();
    }
    lingering::end_all();
}

/// Tells whether the calling coroutine, or another one of its worker, has called `exit`.
#[inline]
pub(super) fn is_here() -> bool {
    nest::is_exiting()
}
