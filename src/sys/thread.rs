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

/// The lowest address and the size of the calling thread's stack; `None` where the C library cannot tell.
pub(crate) fn own_stack() -> Option<(usize, usize)> {
    let mut attributes = core::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: takes no arguments and cannot fail.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes in, of a thread that is alive.
    if unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut lowest, mut size) = (core::ptr::null_mut(), 0);
    // SAFETY: attributes that were filled in, and places for the answer.
    let got = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size) };
    // SAFETY: filled in above, and not used after this.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (got == 0).then(|| (lowest.addr(), size))
}

/// Nanoseconds of the clock that never goes back, the same in every process of the machine.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
