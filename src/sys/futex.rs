//! The kernel's futex: private to the process, or on memory shared with others.

use core::sync::atomic::AtomicU32;
use core::time::Duration;
use std::io;

use super::raw::{self, words};

/// Sleeps while `*word == expected`, for at most `timeout`. Wakes may be spurious.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()) as _,
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` is a live, aligned u32 for the whole call and `limit` is null or points to a
    // timespec on this frame.
    unsafe { raw::call(libc::SYS_futex, words![word.as_ptr(), operation, expected, limit]) };
}

/// Wakes at most `count` threads that sleep on `word`, and tells how many.
///
/// The address is only a key: the kernel does not read the word, so it may be gone already.
pub(crate) fn wake(word: *const AtomicU32, count: u32) -> u32 {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: FUTEX_WAKE uses the address as a key and dereferences nothing.
    let woken = unsafe { raw::call(libc::SYS_futex, words![word, operation, count]) };
    u32::try_from(woken).unwrap_or(0)
}

/// As [`wait`], for a word in memory that is shared with other processes. True if a wake has ended it.
pub(crate) fn wait_shared(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> bool {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: i64::from(t.subsec_nanos()) as _,
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `word` is a live, aligned u32 for the whole call and `limit` is null or points to a
    // timespec on this frame.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit) == 0 }
}

/// As [`wake`], for a word in memory that is shared with other processes.
pub(crate) fn wake_shared(word: &AtomicU32, count: u32) -> u32 {
    // SAFETY: `word` is live and mapped; the kernel looks up what it is mapped to.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    u32::try_from(woken).unwrap_or(0)
}

/// One word of a wait for any of several, as the kernel wants it (`struct futex_waitv`, Linux 5.16).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waitv {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// The most words of one [`wait_any`].
pub(crate) const WAITV_MAX: usize = 128;

impl Waitv {
    /// A word that is shared with other processes, or is not.
    pub(crate) fn new(word: *const AtomicU32, expected: u32, shared: bool) -> Self {
        const SIZE_U32: u32 = 2;
        let private = if shared { 0 } else { libc::FUTEX_PRIVATE_FLAG.cast_unsigned() };
        let address = word.expose_provenance() as u64;
        Self { expected: expected.into(), address, flags: SIZE_U32 | private, reserved: 0 }
    }
}

/// Sleeps until one of the words is woken, or returns at once if one has another value than expected.
/// Wakes may be spurious.
///
/// # Safety
/// * Each word is live until the call returns.
pub(crate) unsafe fn wait_any(words: &[Waitv]) -> io::Result<()> {
    const SYS_FUTEX_WAITV: libc::c_long = 449;
    let no_limit: *const libc::timespec = core::ptr::null();
    // SAFETY: the list lives through the call; the caller vouches for the words.
    let result = unsafe {
        libc::syscall(SYS_FUTEX_WAITV, words.as_ptr(), words.len(), 0, no_limit, libc::CLOCK_MONOTONIC)
    };
    if result >= 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => Ok(()),
        error => Err(error),
    }
}
