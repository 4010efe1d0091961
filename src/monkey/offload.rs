//! Calls that another thread makes, because nothing but a thread can wait for them.
//!
//! The caller's memory is used by that thread, so the wait cannot be cut short: a cancellation, or the deadline of a
//! `timeout`, is held back until the call has returned.
#![forbid(unsafe_code)]

use super::symbols::Symbol;
use crate::thread::borrow_blocking;

/// Makes a call on a thread of the pool for blocking calls, and parks until it has returned. On the calling thread, if
/// no other can be started.
pub(super) fn offload(symbol: Symbol, call: impl Fn() -> isize + Sync) -> isize {
    symbol.count_offload();
    borrow_blocking(&call)
}
