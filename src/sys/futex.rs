//! The kernel's futex, private to the process.

use core::sync::atomic::AtomicU32;
use core::time::Duration;

/// Sleeps while `*word == expected`, for at most `timeout`. Wakes may be spurious.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: i64::from(t.subsec_nanos()) as _,
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    // SAFETY: `word` is a live, aligned u32 for the whole call and `limit` is null or points to a
    // timespec on this frame.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
            expected,
            limit,
        );
    }
}

/// Wakes at most `count` threads that sleep on `word`, and tells how many.
///
/// The address is only a key: the kernel does not read the word, so it may be gone already.
pub(crate) fn wake(word: *const AtomicU32, count: u32) -> u32 {
    // SAFETY: FUTEX_WAKE uses the address as a key and dereferences nothing.
    let woken =
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count) };
    u32::try_from(woken).unwrap_or(0)
}
