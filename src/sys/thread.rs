//! The calling thread, as the kernel knows it.

/// The kernel's id of the calling thread.
pub(crate) fn id() -> i32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// Sends a signal to one thread of this process. An id that no thread of it has is an error.
pub(crate) fn signal(thread: u32, signal: libc::c_int) -> std::io::Result<()> {
    // SAFETY: takes no arguments and cannot fail.
    let process = unsafe { libc::getpid() };
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Nanoseconds of the clock that never goes back, the same in every process of the machine.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
