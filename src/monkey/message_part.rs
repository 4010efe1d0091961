//! A message that moves in parts: the rest of its buffers, and what comes beside the bytes.
//!
//! A Unix stream's read with `MSG_WAITALL` goes on after a message without descriptors and stops after one with them
//! (`unix_stream_read_generic` in net/unix/af_unix.c). So each part is received with the caller's place for control data,
//! and a part that fills it with descriptors is the last one. Where credentials come with every part (`SO_PASSCRED`), the
//! kernel stops before those of another sender: the next part is peeked at first.

use core::cell::Cell;
use core::ffi::c_void;
use core::mem;
use core::ptr;

use libc::{c_int, msghdr, ucred};

use super::hook::pass;
use super::rights;
use super::vectors;
use crate::sys::message::size;

/// Nothing beside the bytes.
const NONE: *mut c_void = ptr::null_mut();

/// Gives `message` the buffers that are left after `done` bytes.
///
/// # Safety
/// * The list of `message` holds more than `done` bytes, and the answer outlives the use of the new one.
#[must_use]
unsafe fn cut(message: &mut msghdr, done: usize) -> Vec<libc::iovec> {
    // SAFETY: the caller's duty.
    let mut left = unsafe { vectors::rest(message.msg_iov, size(message.msg_iovlen), done, vectors::MOST) };
    message.msg_iov = left.as_mut_ptr();
    message.msg_iovlen = left.len() as _;
    left
}

/// Sends `message`, or what is left of it after `done` bytes: without control data then, which has gone with the first
/// part.
///
/// # Safety
/// * `message` points to a message whose list holds more than `done` bytes.
pub(super) unsafe fn send_part(fd: c_int, message: *const msghdr, done: usize, flags: c_int) -> isize {
    if done == 0 {
        return pass!(SYS_sendmsg, fd, message, flags);
    }
    // SAFETY: the caller's duty.
    let mut part = unsafe { message.read() };
    // SAFETY: as above; the list lives to the end of this function.
    let _left = unsafe { cut(&mut part, done) };
    (part.msg_control, part.msg_controllen) = (NONE, 0);
    pass!(SYS_sendmsg, fd, &raw const part, flags)
}

/// A message that is being received.
pub(super) struct Receipt {
    fd: c_int,
    message: *mut msghdr,
    /// As the caller gave it: the kernel writes lengths over the original.
    given: msghdr,
    /// The sender of the first part, if the kernel tells.
    sender: Cell<Option<(i32, u32, u32)>>,
}

impl Receipt {
    /// # Safety
    /// * `message` is the caller's.
    pub(super) unsafe fn new(fd: c_int, message: *mut msghdr) -> Self {
        // SAFETY: the caller's duty.
        let given = unsafe { message.read() };
        Self { fd, message, given, sender: Cell::new(None) }
    }

    /// The message as it is now.
    fn now(&self) -> &msghdr {
        // SAFETY: the caller's, by `new`; nothing writes it while this is in use.
        unsafe { &*self.message }
    }

    /// Receives what comes after the first `done` bytes; 0 if nothing more belongs to the message.
    ///
    /// # Safety
    /// * The list of the message holds more than `done` bytes.
    pub(super) unsafe fn part(&self, done: usize, flags: c_int) -> isize {
        if done == 0 {
            // A look that is taken again begins with what the caller gave.
            // SAFETY: the caller's, by `new`.
            unsafe { self.message.write(self.given) };
            let came = pass!(SYS_recvmsg, self.fd, self.message, flags);
            if came > 0 && !self.given.msg_control.is_null() {
                // SAFETY: the kernel has just filled it.
                self.sender.set(unsafe { rights::sender(self.now()) });
            }
            return came;
        }
        if self.sender.get().is_some() && self.sender.get() != self.next_sender() {
            return 0;
        }
        let mut part = self.given;
        // SAFETY: the caller's duty; the list lives to the end of this function.
        let _left = unsafe { cut(&mut part, done) };
        (part.msg_name, part.msg_namelen) = (NONE, 0);
        let came = pass!(SYS_recvmsg, self.fd, &raw mut part, flags);
        if came > 0 {
            // SAFETY: the caller's, by `new`.
            let message = unsafe { &mut *self.message };
            message.msg_flags = part.msg_flags;
            // Control data of an earlier part stays where it is if none came with this one.
            if size(part.msg_controllen) > 0 {
                message.msg_controllen = part.msg_controllen;
            }
        }
        came
    }

    /// Tells whether the message ends with the part that has come: descriptors came with it.
    pub(super) fn ends(&self) -> bool {
        let now = self.now();
        let is_cut = now.msg_flags & libc::MSG_CTRUNC != 0 && self.sender.get().is_none();
        // SAFETY: the kernel has just filled it.
        is_cut || unsafe { rights::has_any(now) }
    }

    /// The sender of what comes next, taking nothing: there is room for credentials only.
    fn next_sender(&self) -> Option<(i32, u32, u32)> {
        #[repr(C, align(8))]
        struct Control([u8; 16 + mem::size_of::<ucred>().next_multiple_of(8)]);
        let (mut byte, mut control) = (0u8, Control([0; _]));
        let mut piece = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        // SAFETY: all zeros is a message without anything.
        let mut message: msghdr = unsafe { mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
        (message.msg_control, message.msg_controllen) =
            ((&raw mut control).cast(), mem::size_of::<Control>() as _);
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // Nothing there yet: whoever waits asks again.
        if pass!(SYS_recvmsg, self.fd, &raw mut message, flags) <= 0 {
            return self.sender.get();
        }
        // SAFETY: the kernel has just filled it.
        unsafe { rights::sender(&message) }
    }
}
