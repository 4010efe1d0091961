//! epoll and eventfd.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

pub(crate) use libc::epoll_event as Event;

use super::raw::is_refused;
use super::raw::{self, words};

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes an epoll instance.
pub(crate) fn create() -> io::Result<OwnedFd> {
    // SAFETY: takes flags only.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Makes an eventfd.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes flags only.
    owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
}

/// Adds one to an eventfd.
pub(crate) fn signal(eventfd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: the buffer is 8 bytes long. A counter that is full (EAGAIN) is as good as a signal.
    let _ = unsafe { raw::call(libc::SYS_write, words![eventfd.as_raw_fd(), one.as_ptr(), one.len()]) };
}

/// Takes what was added to an eventfd; nothing if there is nothing.
pub(crate) fn take_signal(eventfd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: the buffer is 8 bytes long. An empty counter (EAGAIN) is as good.
    let _ =
        unsafe { raw::call(libc::SYS_read, words![eventfd.as_raw_fd(), count.as_mut_ptr(), count.len()]) };
}

/// Registers `fd` with edge-triggered `events`.
pub(crate) fn add(epoll: &OwnedFd, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
    let mut event = Event { events: (events | libc::EPOLLET).cast_unsigned(), u64: key };
    // SAFETY: the event lives through the call, which copies it.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Registers `fd`, reported as long as it is ready.
pub(crate) fn add_level(epoll: &impl AsRawFd, fd: RawFd, events: i32, key: u64) -> io::Result<()> {
    let mut event = Event { events: events.cast_unsigned(), u64: key };
    // SAFETY: the event lives through the call, which copies it.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Changes what a registered `fd` is reported for; nothing for no events.
pub(crate) fn modify(epoll: &OwnedFd, fd: RawFd, events: i32, key: u64) {
    let mut event = Event { events: events.cast_unsigned(), u64: key };
    // SAFETY: the event lives through the call, which copies it. It is registered, so this cannot fail.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, fd, &raw mut event) };
}

/// Takes `fd` out again; a descriptor that is gone already is as good.
pub(crate) fn remove(epoll: &impl AsRawFd, fd: RawFd) {
    // SAFETY: the kernel ignores the event for a removal.
    unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, core::ptr::null_mut()) };
}

/// Waits for events, at most `timeout`; `None` for ever. An interruption gives no events.
pub(crate) fn wait<'a>(
    epoll: &impl AsRawFd,
    events: &'a mut [MaybeUninit<Event>],
    timeout: Option<Duration>,
) -> io::Result<&'a [Event]> {
    let most = libc::c_int::try_from(events.len()).unwrap_or(libc::c_int::MAX);
    let limit = timeout.map(|limit| libc::timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX / 2),
        tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()),
    });
    let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
    let place = events.as_mut_ptr().cast::<Event>();
    let no_mask: *const libc::sigset_t = core::ptr::null();
    let args = words![epoll.as_raw_fd(), place, most, limit, no_mask, 8usize];
    // Relaxed, here and below: who does not see it yet asks in vain once more.
    let count = if REFUSED.load(Ordering::Relaxed) {
        wait_millis(epoll, place, most, timeout)
    } else {
        // SAFETY: the buffer has room for `most` events, and `limit` is null or a timespec on this frame.
        match unsafe { raw::call(libc::SYS_epoll_pwait2, args) } {
            answer if is_refused(answer) => {
                REFUSED.store(true, Ordering::Relaxed);
                wait_millis(epoll, place, most, timeout)
            }
            answer => answer,
        }
    };
    let count = match raw::result(count) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
        other => other?,
    };
    // SAFETY: the kernel has written the first `count`.
    Ok(unsafe { core::slice::from_raw_parts(place, count) })
}

/// Whether the kernel, or a filter, has refused `epoll_pwait2`.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// For kernels before 5.11, and containers that do not know the newer call: whole milliseconds, rounded up.
fn wait_millis(
    epoll: &impl AsRawFd,
    place: *mut Event,
    most: libc::c_int,
    timeout: Option<Duration>,
) -> isize {
    let millis = timeout.map_or(-1, |limit| {
        libc::c_int::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
    });
    let no_mask: *const libc::sigset_t = core::ptr::null();
    let args = words![epoll.as_raw_fd(), place, most, millis, no_mask, 8usize];
    // SAFETY: the caller gives room for `most` events.
    unsafe { raw::call(libc::SYS_epoll_pwait, args) }
}
