//! Calls that another thread makes, because nothing but a thread can wait for them.
//!
//! The caller's memory is used by that thread, so the wait cannot be cut short: a cancellation, or the deadline of a
//! `timeout`, is held back until the call has returned.
//!
//! The kernel judges a call by the thread that makes it. The signal mask travels with the call. Credentials,
//! namespaces and filters do not: a thread that has its own makes the call itself (`thread_state`).
//!
//! [`offload`] is the only way to a thread for a replaced call. A queue of requests to the kernel, which keeps the
//! caller's credentials, would take its place here.

use core::ptr;
use core::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;

use super::errno::raw;
use super::hook::pass;
use super::symbols::Symbol;
use super::thread_state;
use crate::thread::borrow_blocking;

/// Makes a call on a thread of the pool for blocking calls, and parks until it has returned. On the calling thread, if
/// no other can be started, or if the kernel would treat another thread differently.
pub(super) fn offload(symbol: Symbol, call: impl Fn() -> isize + Sync) -> isize {
    if thread_state::differs() {
        return call();
    }
    symbol.count_offload();
    let mask = Mask::of_this_thread();
    // A signal that the kernel has sent to the pool's thread, and that the caller has blocked.
    let taken = AtomicI32::new(0);
    let answer = borrow_blocking(&|| {
        let before = mask.set();
        let answer = call();
        if let Some(signal) = sent_with(answer)
            && mask.has(signal)
            && take(signal)
        {
            // Relaxed: the end of the call orders the two threads.
            taken.store(signal, Ordering::Relaxed);
        }
        before.set();
        answer
    });
    let signal = taken.into_inner();
    if signal != 0 {
        pass!(SYS_tgkill, pass!(SYS_getpid), pass!(SYS_gettid), signal);
    }
    answer
}

/// The signal that the kernel sends to the thread of a call that fails in this way.
fn sent_with(answer: isize) -> Option<c_int> {
    match answer {
        _ if answer == raw(libc::EFBIG) => Some(libc::SIGXFSZ),
        _ if answer == raw(libc::EPIPE) => Some(libc::SIGPIPE),
        _ => None,
    }
}

/// The signals that a thread has blocked, as the kernel has them.
#[derive(Clone, Copy)]
struct Mask(u64);

impl Mask {
    fn of_this_thread() -> Self {
        let mut mask = 0u64;
        let (null, out) = (ptr::null::<u64>(), &raw mut mask);
        pass!(SYS_rt_sigprocmask, libc::SIG_SETMASK, null, out, size_of::<u64>());
        Self(mask)
    }

    /// Makes it the calling thread's; the one before.
    fn set(self) -> Self {
        let mut before = 0u64;
        pass!(SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const self.0, &raw mut before, size_of::<u64>());
        Self(before)
    }

    fn has(self, signal: c_int) -> bool {
        self.0 >> (signal - 1) & 1 != 0
    }
}

/// Takes a signal that is pending for the calling thread; tells whether there was one.
fn take(signal: c_int) -> bool {
    let set = 1u64 << (signal - 1);
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let (null, now) = (ptr::null::<libc::siginfo_t>(), &raw const now);
    pass!(SYS_rt_sigtimedwait, &raw const set, null, now, size_of::<u64>()) == signal as isize
}
