//! Descriptors that travel in messages (`SCM_RIGHTS`): the table learns of them, on coroutines and plain threads.
//!
//! One that is sent is shared from then on, so what was remembered of it for this process alone is forgotten, and a
//! listener is made blocking again, before anybody else can have it. One that comes is a new owner of its number.

use core::ptr;

use libc::{c_int, c_uint, cmsghdr, mmsghdr, msghdr};

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
        if message.msg_controllen == 0 || message.msg_control.is_null() {
            continue;
        }
        // SAFETY: a message with control data.
        let mut at: *mut cmsghdr = unsafe { libc::CMSG_FIRSTHDR(message) };
        // SAFETY: null, or a header inside of the control data.
        while let Some(header) = unsafe { at.as_ref() } {
            if header.cmsg_level == libc::SOL_SOCKET && header.cmsg_type == libc::SCM_RIGHTS {
                // SAFETY: as above.
                let data = unsafe { libc::CMSG_DATA(at) };
                let said = size(header.cmsg_len).saturating_sub(data.addr() - at.addr());
                let end = message.msg_control.addr() + size(message.msg_controllen);
                let bytes = said.min(end.saturating_sub(data.addr()));
                for number in 0..bytes / size_of::<c_int>() {
                    let place = data.cast::<c_int>().wrapping_add(number);
                    // SAFETY: inside of the control data; it may lie unaligned.
                    f(unsafe { ptr::read_unaligned(place) });
                }
            }
            // SAFETY: as above.
            at = unsafe { libc::CMSG_NXTHDR(message, at) };
        }
    }
}
