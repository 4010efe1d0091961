//! How a coroutine is ended from outside: by an unwinding with a payload of our own.
#![forbid(unsafe_code)]

use core::any::Any;
use std::panic::{self, AssertUnwindSafe};

use crate::base::notice;

/// The payload that only the root of a coroutine takes.
pub(crate) struct Kill;

/// How a closure has ended.
pub(crate) enum Ended<T> {
    Value(T),
    Panicked(Box<dyn Any + Send>),
    Killed,
}

/// Runs `f` and tells how it has ended.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Ended<T> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Ended::Value(value),
        Err(payload) if payload.is::<Kill>() => Ended::Killed,
        Err(payload) => Ended::Panicked(payload),
    }
}

/// Tells whether a payload is that of a cancellation.
pub(crate) fn is_request(payload: &(dyn Any + Send)) -> bool {
    payload.is::<Kill>()
}

/// Drops the payload of a panic that nobody wants, which is foreign code: if it panics in its turn, that
/// payload is leaked.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        core::mem::forget(again);
    }
}

/// Tells people about a failure where nobody may unwind: a logger is foreign code, and may panic.
pub(crate) fn report(log: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(log)) {
        discard(payload);
    }
}

/// Drops what nobody asks for. A panic of its destructor ends here.
pub(crate) fn drop_quietly<V>(value: V) {
    if let Ended::Panicked(payload) = catch(move || drop(value)) {
        report(|| {
            notice::error!(
                "a result that nobody joined panicked while it was dropped: {}",
                describe(&*payload)
            );
        });
        discard(payload);
    }
}

/// The text of a panic payload, as far as it has one.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a payload that is not text)"
    }
}

/// Unwinds the caller up to the root of its coroutine, without a word of the panic hook.
///
/// # Panics
/// Always.
#[cold]
pub(crate) fn raise_kill() -> ! {
    raise(Box::new(Kill), "a coroutine was cancelled, or dropped while it was suspended")
}

/// Unwinds the caller with a payload, without a word of the panic hook, if there is unwinding.
///
/// # Panics
/// Always.
#[cold]
pub(crate) fn raise(payload: Box<dyn Any + Send>, why: &str) -> ! {
    if cfg!(panic = "abort") {
        eprintln!("ropewalk: {why}, and this program is built with panic = \"abort\": it cannot unwind");
        std::process::abort();
    }
    panic::resume_unwind(payload)
}
