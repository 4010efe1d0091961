//! errno: what libc's functions leave behind.

/// The calling thread's errno.
#[inline]
pub(super) fn get() -> i32 {
    // SAFETY: takes no arguments, and gives the address of the thread's own errno.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: a coroutine stays on its thread, so the place is still the caller's.
    unsafe { *place }
}

/// Sets the calling thread's errno.
#[inline]
pub(super) fn set(error: i32) {
    // SAFETY: as in `get`.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as in `get`.
    unsafe { *place = error };
}

/// Turns the kernel's answer into libc's: -1 and errno for an error.
#[inline]
pub(super) fn result(answer: isize) -> isize {
    // The kernel's error numbers are below 4096; an address is not taken for one.
    if (-4095..0).contains(&answer) { failed(-answer as i32) } else { answer }
}

/// Apart, so that a call which goes well has no registers to save for it.
#[cold]
#[inline(never)]
fn failed(error: i32) -> isize {
    set(error);
    -1
}

/// An error as the kernel would answer it.
#[inline]
pub(super) fn raw(error: i32) -> isize {
    -(error as isize)
}
