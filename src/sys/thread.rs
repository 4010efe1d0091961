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
