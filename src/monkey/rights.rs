//! Descriptors that travel in messages (`SCM_RIGHTS`): the table learns of them, on coroutines and plain threads.
//!
//! One that is sent is shared from then on, so what was remembered of it for this process alone is forgotten, and a
//! listener is made blocking again, before anybody else can have it. One that comes is a new owner of its number.

use core::ptr;

use libc::{c_int, c_uint, cmsghdr, mmsghdr, msghdr, ucred};

use super::gate;
use super::slot;
use super::wait::Direction;
use crate::sys::message::size;

/// A message, or one of a list with its length behind it.
pub(super) trait Message {
    fn header(&self) -> &msghdr;
}

impl Message for msghdr {
    fn header(&self) -> &msghdr {
        self
    }
}

impl Message for mmsghdr {
    fn header(&self) -> &msghdr {
        &self.msg_hdr
    }
}

/// Makes `call`, which sends or receives the messages: how many bytes, or how many messages, it says.
///
/// # Safety
/// * `list` is null, or points to `count` messages of the caller's.
#[inline]
pub(super) unsafe fn around<M: Message>(
    direction: Direction,
    list: *const M,
    count: c_uint,
    call: impl FnOnce() -> isize,
) -> isize {
    if !gate::is_tracking() {
        return call();
    }
    if direction == Direction::Write {
        // SAFETY: the caller's duty.
        unsafe { each(list, count, slot::share) };
        return call();
    }
    let answer = call();
    // One message of any length, or that many.
    let came = if count == 1 { c_uint::from(answer >= 0) } else { c_uint::try_from(answer).unwrap_or(0) };
    // SAFETY: the caller's duty; the kernel has filled those.
    unsafe { each(list, came.min(count), slot::retire) };
    answer
}

/// Calls `f` with each descriptor in the messages.
///
/// # Safety
/// * As for [`around`].
unsafe fn each<M: Message>(list: *const M, count: c_uint, f: impl Fn(c_int)) {
    if list.is_null() {
        return;
    }
    for index in 0..count as usize {
        // SAFETY: the caller's duty.
        let message = unsafe { &*list.wrapping_add(index) }.header();
        // SAFETY: the caller's duty.
        unsafe { each_in(message, &f) };
    }
}

/// Calls `f` with each descriptor in one message.
///
/// # Safety
/// * As for [`around`].
unsafe fn each_in(message: &msghdr, f: &impl Fn(c_int)) {
    let of_rights = |kind, data: *const u8, len| {
        if kind == libc::SCM_RIGHTS {
            for number in 0..len / size_of::<c_int>() {
                // SAFETY: `each_part` gives data inside of the control data.
                f(unsafe { ptr::read_unaligned(data.cast::<c_int>().wrapping_add(number)) });
            }
        }
    };
    // SAFETY: the caller's duty.
    unsafe { each_part(message, of_rights) };
}

/// Tells whether descriptors came with a message.
///
/// # Safety
/// * As for [`around`].
pub(super) unsafe fn has_any(message: &msghdr) -> bool {
    let mut any = false;
    // SAFETY: the caller's duty.
    unsafe { each_part(message, |kind, _, _| any |= kind == libc::SCM_RIGHTS) };
    any
}

/// The process, user and group that a message comes from, if the kernel tells.
///
/// # Safety
/// * As for [`around`].
pub(super) unsafe fn sender(message: &msghdr) -> Option<(i32, u32, u32)> {
    let mut found = None;
    let of_credentials = |kind, data: *const u8, len| {
        if kind == libc::SCM_CREDENTIALS && len >= size_of::<ucred>() {
            // SAFETY: `each_part` gives data inside of the control data.
            let who = unsafe { ptr::read_unaligned(data.cast::<ucred>()) };
            found = Some((who.pid, who.uid, who.gid));
        }
    };
    // SAFETY: the caller's duty.
    unsafe { each_part(message, of_credentials) };
    found
}

/// Calls `f` with the type, place and length of each piece of the sockets' own control data in a message. The kernel does
/// not mind where control data lies, so it may be unaligned.
///
/// # Safety
/// * As for [`around`].
unsafe fn each_part(message: &msghdr, mut f: impl FnMut(c_int, *const u8, usize)) {
    const HEADER: usize = align(size_of::<cmsghdr>());
    let control = message.msg_control.cast::<u8>();
    let mut left = if control.is_null() { 0 } else { size(message.msg_controllen) };
    let mut at = control;
    while left >= HEADER {
        // SAFETY: inside of the control data.
        let header = unsafe { ptr::read_unaligned(at.cast::<cmsghdr>()) };
        let len = size(header.cmsg_len);
        if len < HEADER {
            return;
        }
        if header.cmsg_level == libc::SOL_SOCKET {
            f(header.cmsg_type, at.wrapping_add(HEADER), len.min(left) - HEADER);
        }
        let step = align(len.min(left));
        at = at.wrapping_add(step);
        left = left.saturating_sub(step);
    }
}

/// As far as the next header.
const fn align(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}
