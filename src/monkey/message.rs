//! `recv`, `send` and their kin. `message_call` has how they wait, `message_part` what is left of a message.

use core::cell::Cell;
use core::ffi::c_void;

use libc::{c_int, c_uint, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::errno::raw;
use super::hook::{hook, pass};
use super::message_call::{MessageCall, note_urgent};
use super::message_part::{Receipt, send_part};
use super::rights;
use super::stream::Buffers;
use super::symbols::Symbol;
use super::vectors;
use super::wait::Direction;

const RECV: Direction = Direction::Read;
const SEND: Direction = Direction::Write;

macro_rules! plain {
    ($($symbol:ident: fn $name:ident(*$mutability:tt), $direction:expr, $number:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, buffer: *$mutability c_void, len: size_t, flags: c_int) -> ssize_t;
            kernel {
                note_urgent($direction, flags);
                pass!($number, fd, buffer, len, flags, 0usize, 0usize)
            };
            parking {
                let len = len.min(vectors::MOST);
                MessageCall(Symbol::$symbol, $direction).run((fd, flags), len, |done, flags| {
                    pass!($number, fd, buffer.wrapping_byte_add(done), len - done, flags, 0usize, 0usize)
                })
            }
        })*
    };
}

plain! {
    Recv: fn recv(*mut), RECV, SYS_recvfrom;
    Send: fn send(*const), SEND, SYS_sendto;
}

macro_rules! addressed {
    ($($symbol:ident: fn $name:ident(*$mutability:tt, $len:ty), $direction:expr, $number:ident;)*) => {
        $(hook! {
            $symbol: fn $name(
                fd: c_int,
                buffer: *$mutability c_void,
                len: size_t,
                flags: c_int,
                peer: *$mutability sockaddr,
                peer_len: $len,
            ) -> ssize_t;
            kernel {
                note_urgent($direction, flags);
                pass!($number, fd, buffer, len, flags, peer, peer_len)
            };
            parking {
                let len = len.min(vectors::MOST);
                MessageCall(Symbol::$symbol, $direction).run((fd, flags), len, |done, flags| {
                    pass!($number, fd, buffer.wrapping_byte_add(done), len - done, flags, peer, peer_len)
                })
            }
        })*
    };
}

addressed! {
    Recvfrom: fn recvfrom(*mut, *mut socklen_t), RECV, SYS_recvfrom;
    Sendto: fn sendto(*const, socklen_t), SEND, SYS_sendto;
}

/// The buffers of a message; `None` if the kernel is to say what is wrong with it.
///
/// # Safety
/// * `message` is null or points to a message whose list is valid.
unsafe fn buffers_of(message: *const msghdr) -> Option<Buffers> {
    // SAFETY: the caller's duty.
    let message = unsafe { message.as_ref() }?;
    // SAFETY: as above.
    unsafe { Buffers::of(message.msg_iov, c_int::try_from(message.msg_iovlen).ok()?) }
}

/// Receives one message, with all that comes with it.
///
/// # Safety
/// * `message` is the caller's.
unsafe fn receive(symbol: Symbol, fd: c_int, message: *mut msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's duty.
    let Some(buffers) = (unsafe { buffers_of(message) }) else {
        return pass!(SYS_recvmsg, fd, message, flags);
    };
    let ends = Cell::new(false);
    // SAFETY: the caller's duty; `buffers_of` has refused null.
    let receipt = unsafe { Receipt::new(fd, message) };
    MessageCall(symbol, RECV).run_until((fd, flags), buffers.total, &ends, |done, flags| {
        // SAFETY: as above.
        let part = unsafe { receipt.part(done, flags) };
        ends.set(part > 0 && receipt.ends());
        part
    })
}

/// Sends one message.
///
/// # Safety
/// * `message` is the caller's.
unsafe fn dispatch(symbol: Symbol, fd: c_int, message: *const msghdr, flags: c_int) -> isize {
    // SAFETY: the caller's duty.
    let Some(buffers) = (unsafe { buffers_of(message) }) else {
        return pass!(SYS_sendmsg, fd, message, flags);
    };
    MessageCall(symbol, SEND).run((fd, flags), buffers.total, |done, flags| {
        // SAFETY: the caller's duty.
        unsafe { send_part(fd, message, done, flags) }
    })
}

macro_rules! whole {
    ($($symbol:ident: fn $name:ident(*$mutability:tt), $direction:expr, $number:ident, $one:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, message: *$mutability msghdr, flags: c_int) -> ssize_t;
            kernel {
                note_urgent($direction, flags);
                let call = || pass!($number, fd, message, flags);
                // SAFETY: the caller's message.
                unsafe { rights::around($direction, message, 1, call) }
            };
            parking {
                // SAFETY: the caller's message.
                let call = || unsafe { $one(Symbol::$symbol, fd, message, flags) };
                // SAFETY: as above.
                unsafe { rights::around($direction, message, 1, call) }
            }
        })*
    };
}

whole! {
    Recvmsg: fn recvmsg(*mut), RECV, SYS_recvmsg, receive;
    Sendmsg: fn sendmsg(*const), SEND, SYS_sendmsg, dispatch;
}

/// Does `one` to the message of a list with a number, and notes its length there.
///
/// # Safety
/// * `list` has more than `number` messages of the caller's.
unsafe fn nth(list: *mut mmsghdr, number: c_uint, one: impl FnOnce(*mut msghdr) -> isize) -> isize {
    let entry = list.wrapping_add(number as usize);
    // SAFETY: the caller's duty.
    let message = unsafe { &raw mut (*entry).msg_hdr };
    let answer = one(message);
    if answer >= 0 {
        // SAFETY: as above.
        unsafe { (*entry).msg_len = answer as c_uint };
    }
    answer
}

hook! {
    Recvmmsg: fn recvmmsg(
        fd: c_int,
        list: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        limit: *mut timespec,
    ) -> c_int;
    kernel {
        note_urgent(RECV, flags);
        let call = || pass!(SYS_recvmmsg, fd, list, count, flags, limit);
        // SAFETY: the caller's list.
        unsafe { rights::around(RECV, list, count, call) }
    };
    parking if list.is_null() || count == 0 {
        pass!(SYS_recvmmsg, fd, list, count, flags, limit)
    } else {
        // SAFETY: the caller's duty.
        let until = unsafe { super::poll::deadline(limit) };
        let run = || match until {
            Err(error) => error,
            Ok(until) => {
                let mut left = timespec { tv_sec: 0, tv_nsec: 0 };
                let came = MessageCall(Symbol::Recvmmsg, RECV).batches(
                    (fd, flags),
                    count,
                    (until, &mut left),
                    |number, flags| {
                        // SAFETY: the caller's list.
                        let one = |message| unsafe { receive(Symbol::Recvmmsg, fd, message, flags) };
                        // SAFETY: as above.
                        unsafe { nth(list, number, one) }
                    },
                    |done, flags, left| {
                        let list = list.wrapping_add(done as usize);
                        pass!(SYS_recvmmsg, fd, list, count - done, flags, left)
                    },
                );
                // SAFETY: null, or the caller's. The kernel tells what was left after the last message.
                if let (true, Some(limit)) = (came > 0, unsafe { limit.as_mut() }) {
                    *limit = left;
                }
                came
            }
        };
        // SAFETY: as above.
        unsafe { rights::around(RECV, list, count, run) }
    }
}

hook! {
    Sendmmsg: fn sendmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    kernel {
        let call = || pass!(SYS_sendmmsg, fd, list, count, flags);
        // SAFETY: the caller's list.
        unsafe { rights::around(SEND, list, count, call) }
    };
    parking if list.is_null() || count == 0 {
        pass!(SYS_sendmmsg, fd, list, count, flags)
    } else {
        let run = || {
            let mut no_limit = timespec { tv_sec: 0, tv_nsec: 0 };
            let cut = Cell::new(false);
            MessageCall(Symbol::Sendmmsg, SEND).batches(
                (fd, flags),
                count.min(libc::UIO_MAXIOV as c_uint),
                (None, &mut no_limit),
                |number, flags| {
                    // As with the kernel's own, a message that was not sent whole is the last one.
                    if cut.get() {
                        return raw(libc::EAGAIN);
                    }
                    let one = |message: *mut msghdr| {
                        // SAFETY: the caller's list.
                        let sent = unsafe { dispatch(Symbol::Sendmmsg, fd, message, flags) };
                        // SAFETY: as above.
                        let total = unsafe { buffers_of(message) }.map_or(0, |buffers| buffers.total);
                        cut.set(sent >= 0 && sent.unsigned_abs() < total);
                        sent
                    };
                    // SAFETY: as above.
                    unsafe { nth(list, number, one) }
                },
                |done, flags, _| {
                    pass!(SYS_sendmmsg, fd, list.wrapping_add(done as usize), count - done, flags)
                },
            )
        };
        // SAFETY: as above.
        unsafe { rights::around(SEND, list, count, run) }
    }
}
