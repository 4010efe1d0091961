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

/// Tells whether a short write is sure to be taken now, as far as the kernel can say: by a terminal, or by a pipe or
/// a socket that somebody reads and that has room. Never blocks.
pub(crate) fn takes_a_line(fd: BorrowedFd<'_>) -> bool {
    let mut found = core::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one `stat`.
    if unsafe { libc::fstat(fd.as_raw_fd(), found.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: filled in above.
    let kind = unsafe { found.assume_init() }.st_mode & libc::S_IFMT;
    let may_be = match kind {
        libc::S_IFIFO | libc::S_IFSOCK => true,
        // SAFETY: takes numbers only.
        libc::S_IFCHR => unsafe { libc::isatty(fd.as_raw_fd()) == 1 },
        _ => false,
    };
    let mut wanted = want(fd, libc::POLLOUT);
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let (place, limit) = (core::ptr::from_mut(&mut wanted), core::ptr::from_ref(&now));
    let args = [place.expose_provenance(), 1, limit.expose_provenance(), 0, 0, 0];
    // SAFETY: one entry and one timespec, both on this frame; no mask.
    may_be && unsafe { super::raw::call(libc::SYS_ppoll, args) } == 1 && wanted.revents == libc::POLLOUT
}
