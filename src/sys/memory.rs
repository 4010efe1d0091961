//! Address space: reserve, guard, give back.

use core::ffi::CStr;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reserves `len` bytes of readable and writable memory that costs nothing until it is touched.
pub(crate) fn reserve(len: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice touches nothing that exists.
    let place = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

/// Gives a reservation back.
///
/// # Safety
/// * It came from [`reserve`] with this length, and nobody uses it.
pub(crate) unsafe fn release(place: *mut u8, len: usize) {
    // SAFETY: the caller's duty.
    let _ = unsafe { libc::munmap(place.cast(), len) };
}

/// Makes every access to the pages fault, without a mapping of their own (Linux 6.13).
///
/// # Safety
/// * The pages belong to the caller and hold nothing.
pub(crate) unsafe fn install_guard(place: *mut u8, len: usize) -> io::Result<()> {
    const MADV_GUARD_INSTALL: libc::c_int = 102;
    // SAFETY: the caller's duty.
    check(unsafe { libc::madvise(place.cast(), len, MADV_GUARD_INSTALL) })
}

/// Makes every access to the pages fault, as a mapping of its own.
///
/// # Safety
/// * The pages belong to the caller and hold nothing.
pub(crate) unsafe fn protect(place: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's duty.
    check(unsafe { libc::mprotect(place.cast(), len, libc::PROT_NONE) })
}

/// Lets the kernel take the pages back; they read as zeros afterwards.
///
/// # Safety
/// * The pages belong to the caller, who needs nothing in them.
pub(crate) unsafe fn discard(place: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the caller's duty.
    check(unsafe { libc::madvise(place.cast(), len, libc::MADV_DONTNEED) })
}

/// Keeps huge pages out of a reservation: one would give a shallow stack 2 MiB.
///
/// # Safety
/// * The pages belong to the caller.
pub(crate) unsafe fn refuse_huge_pages(place: *mut u8, len: usize) {
    // SAFETY: the caller's duty. A kernel without huge pages says no, which is as good.
    let _ = unsafe { libc::madvise(place.cast(), len, libc::MADV_NOHUGEPAGE) };
}

/// Makes a file in memory without a name in any folder: gone with its last descriptor and mapping.
pub(crate) fn anonymous_file(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name ends with a zero.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
