//! Ending a child that nobody has a handle of.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::{pidfd_open, pidfd_signal};

/// Tells whether an id names a child of this process whose end nobody has taken in.
fn is_child(kind: libc::idtype_t, id: u32) -> bool {
    // SAFETY: all zeros is a siginfo.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    let look = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes one siginfo.
    unsafe { libc::waitid(kind, id, &raw mut info, look) == 0 }
}

/// Takes the end of a child in. Waits for that.
fn await_child(kind: libc::idtype_t, id: u32) {
    // SAFETY: all zeros is a siginfo.
    let mut info: libc::siginfo_t = unsafe { core::mem::zeroed() };
    // SAFETY: the kernel writes one siginfo.
    while unsafe { libc::waitid(kind, id, &raw mut info, libc::WEXITED) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Ends a child, and takes its end in, unless that was done. Waits for that.
pub(crate) fn end_by_pidfd(pidfd: BorrowedFd<'_>, pid: u32) {
    let _ = pidfd_signal(pidfd, pid, libc::SIGKILL);
    await_child(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned());
}

/// As [`end_by_pidfd`], for a child that has just been started and whose pidfd is lost. Nothing happens to a
/// process that is no child of this one: the program may have taken the end of the child in, and the number may
/// be another process's.
pub(crate) fn end_child(pid: u32) {
    if !is_child(libc::P_PID, pid) {
        return;
    }
    match pidfd_open(pid) {
        Ok(pidfd) if is_child(libc::P_PIDFD, pidfd.as_raw_fd().cast_unsigned()) => {
            end_by_pidfd(pidfd.as_fd(), pid)
        }
        Ok(_) => {}
        // No descriptor is to be had. The number was a child's a moment ago, and stays so until its end is taken in.
        Err(_) => {
            // SAFETY: takes numbers only.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
            await_child(libc::P_PID, pid);
        }
    }
}

#[cfg(test)]
mod tests;
