//! Waiting for descriptors on a plain thread.

use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One descriptor, and what is waited for.
pub(crate) fn want(fd: BorrowedFd<'_>, events: i16) -> libc::pollfd {
    libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 }
}

/// Waits for one of them, at most `timeout`; `None` for ever. False if nothing has come.
pub(crate) fn wait(wanted: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<bool> {
    let limit = timeout.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX / 2),
        tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()),
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let count = wanted.len() as libc::nfds_t;
    // SAFETY: the list has `count` entries; `limit` is null or a timespec on this frame.
    let ready = unsafe { libc::ppoll(wanted.as_mut_ptr(), count, limit, core::ptr::null()) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(ready > 0) }
}
