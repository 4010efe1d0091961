//! `recv`, `send` and their kin: sockets, tried with `MSG_DONTWAIT`.
//!
//! Both directions move data in the same way: one try, and, where the kernel's own call would go on (a stream that is
//! written to, or read with `MSG_WAITALL`), more of them until all has gone. What was moved counts; an error after that
//! is told by the next call.

use core::ffi::c_void;
use core::ptr;
use std::time::Instant;

use libc::{c_int, c_uint, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::errno::raw;
use super::hook::{hook, pass};
use super::rights;
use super::slot::{Kind, Known, known};
use super::stream::Buffers;
use super::symbols::Symbol;
use super::vectors;
use super::wait::{Attempt, Direction, is_nonblocking};
use crate::sys::message::size;

/// A call on messages: what it counts as, and which way data goes.
#[derive(Clone, Copy)]
struct Way(Symbol, Direction);

impl Way {
    /// The descriptor, if a call with these flags may wait.
    fn may_wait(self, fd: c_int, flags: c_int) -> Option<Known> {
        // A byte out of band is there or not; one that is sent may have to wait.
        let urgent = if self.1 == Direction::Read { libc::MSG_OOB } else { 0 };
        if flags & (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | urgent) != 0 { None } else { known(fd) }
    }

    /// Moves data with `call`, which is given how much went before, and the flags.
    fn run(self, (fd, flags): (c_int, c_int), total: usize, call: impl Fn(usize, c_int) -> isize) -> isize {
        let Some(known) = self.may_wait(fd, flags) else { return call(0, flags) };
        let Self(symbol, direction) = self;
        let mut attempt = Attempt::new(symbol, known, direction);
        let peeks = flags & libc::MSG_PEEK != 0;
        let waits_for_all = match direction {
            Direction::Read => {
                flags & libc::MSG_WAITALL != 0 && matches!(known.kind(), Kind::Tcp | Kind::Stream)
            }
            // Only streams send a part.
            Direction::Write => true,
        };
        let tried = flags | libc::MSG_DONTWAIT;
        if waits_for_all && peeks {
            return peek_all(&mut attempt, total, || call(0, tried));
        }
        // On TCP alone a short answer says that there is no more.
        let room = |left: usize| (!peeks && known.kind() == Kind::Tcp).then_some(left);
        let mut done = attempt.run(room(total), || call(0, tried));
        // The signal of a broken pipe is the next call's, as the error is.
        let again = if direction == Direction::Write { tried | libc::MSG_NOSIGNAL } else { tried };
        while waits_for_all && done > 0 && done.unsigned_abs() < total && is_nonblocking(known) == Ok(false) {
            let before = done.unsigned_abs();
            match attempt.run(room(total - before), || call(before, again)) {
                more if more > 0 => done += more,
                _ => break,
            }
        }
        done
    }

    /// Moves messages one batch after another until all have gone, or, with `MSG_WAITFORONE`, the first has. As with
    /// the kernel's own, the time limit is looked at between messages only.
    fn batches(
        self,
        (fd, flags): (c_int, c_int),
        count: c_uint,
        until: Option<Instant>,
        call: impl Fn(c_uint, c_int) -> isize,
    ) -> isize {
        let Some(known) = self.may_wait(fd, flags) else { return call(0, flags) };
        let mut attempt = Attempt::new(self.0, known, self.1);
        let mut done: c_uint = 0;
        loop {
            match attempt.run(None, || call(done, flags | libc::MSG_DONTWAIT)) {
                more if more > 0 => done += more as c_uint,
                answer => return if done > 0 { done as isize } else { answer },
            }
            let over = until.is_some_and(|until| Instant::now() >= until);
            let one = flags & libc::MSG_WAITFORONE != 0;
            if done >= count || one || over || is_nonblocking(known) != Ok(false) {
                return done as isize;
            }
        }
    }
}

/// Peeks until as much is there as was asked for: nothing is taken, so each look begins anew.
fn peek_all(attempt: &mut Attempt, total: usize, look: impl Fn() -> isize) -> isize {
    let mut seen = 0;
    let answer = attempt.run(None, || match look() {
        part if part > seen && part.unsigned_abs() < total => {
            seen = part;
            raw(libc::EAGAIN)
        }
        // Nothing came since: the peer has ended, or there is an error.
        answer => answer,
    });
    if answer < 0 && seen > 0 { seen } else { answer }
}

const RECV: Direction = Direction::Read;
const SEND: Direction = Direction::Write;

macro_rules! plain {
    ($($symbol:ident: fn $name:ident(*$mutability:tt), $direction:expr, $number:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, buffer: *$mutability c_void, len: size_t, flags: c_int) -> ssize_t;
            kernel pass!($number, fd, buffer, len, flags, 0usize, 0usize);
            parking {
                let len = len.min(vectors::MOST);
                Way(Symbol::$symbol, $direction).run((fd, flags), len, |done, flags| {
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
            kernel pass!($number, fd, buffer, len, flags, peer, peer_len);
            parking {
                let len = len.min(vectors::MOST);
                Way(Symbol::$symbol, $direction).run((fd, flags), len, |done, flags| {
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

/// Calls `number` with `message`, or with what is left of it after `done` bytes: without control data then, which
/// has gone with the first part.
///
/// # Safety
/// * `message` points to a message whose list holds more than `done` bytes.
unsafe fn from_part(
    number: libc::c_long,
    fd: c_int,
    message: *const msghdr,
    done: usize,
    flags: c_int,
) -> isize {
    if done == 0 {
        let args = crate::sys::raw::words![fd, message, flags];
        // SAFETY: the caller of the replaced function answers for its message.
        return unsafe { crate::sys::raw::call(number, args) };
    }
    // SAFETY: the caller's duty.
    let mut part = unsafe { message.read() };
    // SAFETY: as above.
    let mut left = unsafe { vectors::rest(part.msg_iov, size(part.msg_iovlen), done, vectors::MOST) };
    part.msg_iov = left.as_mut_ptr();
    part.msg_iovlen = left.len() as _;
    part.msg_control = ptr::null_mut();
    part.msg_controllen = 0;
    let args = crate::sys::raw::words![fd, &raw mut part, flags];
    // SAFETY: as above.
    unsafe { crate::sys::raw::call(number, args) }
}

macro_rules! whole {
    ($($symbol:ident: fn $name:ident(*$mutability:tt), $direction:expr, $number:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, message: *$mutability msghdr, flags: c_int) -> ssize_t;
            kernel {
                let call = || pass!($number, fd, message, flags);
                // SAFETY: the caller's message.
                unsafe { rights::around($direction, message, 1, call) }
            };
            // SAFETY: the caller's duty.
            parking match unsafe { buffers_of(message) } {
                Some(buffers) => {
                    let run = || {
                        Way(Symbol::$symbol, $direction).run((fd, flags), buffers.total, |done, flags| {
                            // SAFETY: the caller's duty.
                            unsafe { from_part(libc::$number, fd, message, done, flags) }
                        })
                    };
                    // SAFETY: as above.
                    unsafe { rights::around($direction, message, 1, run) }
                }
                None => pass!($number, fd, message, flags),
            }
        })*
    };
}

whole! {
    Recvmsg: fn recvmsg(*mut), RECV, SYS_recvmsg;
    Sendmsg: fn sendmsg(*const), SEND, SYS_sendmsg;
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
        let call = || pass!(SYS_recvmmsg, fd, list, count, flags, limit);
        // SAFETY: the caller's list.
        unsafe { rights::around(RECV, list, count, call) }
    };
    parking {
        // SAFETY: the caller's duty.
        let until = unsafe { super::poll::deadline(limit) };
        let run = || match until {
            Err(error) => error,
            Ok(until) => Way(Symbol::Recvmmsg, RECV).batches((fd, flags), count, until, |done, flags| {
                let list = list.wrapping_add(done as usize);
                pass!(SYS_recvmmsg, fd, list, count - done, flags, ptr::null_mut::<timespec>())
            }),
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
    parking {
        let run = || {
            Way(Symbol::Sendmmsg, SEND).batches((fd, flags), count, None, |done, flags| {
                pass!(SYS_sendmmsg, fd, list.wrapping_add(done as usize), count - done, flags)
            })
        };
        // SAFETY: as above.
        unsafe { rights::around(SEND, list, count, run) }
    }
}
