//! The calling thread, as the kernel knows it.

/// The kernel's id of the calling thread.
pub(crate) fn id() -> i32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::gettid() }
}
