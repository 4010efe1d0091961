//! `recv`, `send` and their kin: sockets, tried with `MSG_DONTWAIT`.

use core::ffi::c_void;
use core::ptr;
use std::time::Instant;

use libc::{c_int, c_uint, mmsghdr, msghdr, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::errno::raw;
use super::hook::{hook, pass};
use super::slot::{Kind, Known, known};
use super::stream::Buffers;
use super::symbols::Symbol;
use super::vectors;
use super::wait::{Attempt, Direction, is_nonblocking};

/// The descriptor, if a call with these flags may wait.
fn may_wait(fd: c_int, flags: c_int) -> Option<Known> {
    if flags & (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | libc::MSG_OOB) != 0 { None } else { known(fd) }
}

/// How much a short answer is measured against: on TCP alone it says that there is no more.
fn room(known: Known, flags: c_int, total: usize) -> Option<usize> {
    (flags & libc::MSG_PEEK == 0 && known.kind() == Kind::Tcp).then_some(total)
}

/// Receives with `call`, which is given how much came before, and the flags. With `MSG_WAITALL` it goes on until there
/// is no more room.
fn receive(
    symbol: Symbol,
    (fd, flags): (c_int, c_int),
    total: usize,
    call: impl Fn(usize, c_int) -> isize,
) -> isize {
    let Some(known) = may_wait(fd, flags) else { return call(0, flags) };
    let tried = flags | libc::MSG_DONTWAIT;
    let mut attempt = Attempt::new(symbol, known, Direction::Read);
    let fills = flags & libc::MSG_WAITALL != 0 && matches!(known.kind(), Kind::Tcp | Kind::Stream);
    if fills && flags & libc::MSG_PEEK != 0 {
        return peek_all(&mut attempt, total, || call(0, tried));
    }
    let mut done = attempt.run(room(known, flags, total), || call(0, tried));
    while fills && done > 0 && done.unsigned_abs() < total && is_nonblocking(known) == Ok(false) {
        let before = done.unsigned_abs();
        match attempt.run(room(known, flags, total - before), || call(before, tried)) {
            more if more > 0 => done += more,
            _ => break,
        }
    }
    done
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

/// Sends with `call`, which is given how much went before, and the flags. On a stream it goes on until all is sent.
fn send_all(
    symbol: Symbol,
    (fd, flags): (c_int, c_int),
    total: usize,
    call: impl Fn(usize, c_int) -> isize,
) -> isize {
    let Some(known) = may_wait(fd, flags & !libc::MSG_OOB) else { return call(0, flags) };
    let tried = flags | libc::MSG_DONTWAIT;
    let mut attempt = Attempt::new(symbol, known, Direction::Write);
    let mut done = attempt.run(room(known, flags, total), || call(0, tried));
    // Only streams send a part.
    while done > 0 && done.unsigned_abs() < total && is_nonblocking(known) == Ok(false) {
        let before = done.unsigned_abs();
        // A broken pipe after a part was sent is told by the next call.
        let again = tried | libc::MSG_NOSIGNAL;
        match attempt.run(room(known, flags, total - before), || call(before, again)) {
            more if more > 0 => done += more,
            _ => break,
        }
    }
    done
}

hook! {
    Recv: fn recv(fd: c_int, buffer: *mut c_void, len: size_t, flags: c_int) -> ssize_t;
    kernel pass!(SYS_recvfrom, fd, buffer, len, flags, 0usize, 0usize);
    parking receive(Symbol::Recv, (fd, flags), len, |done, flags| {
        pass!(SYS_recvfrom, fd, buffer.wrapping_byte_add(done), len - done, flags, 0usize, 0usize)
    })
}

hook! {
    Recvfrom: fn recvfrom(
        fd: c_int,
        buffer: *mut c_void,
        len: size_t,
        flags: c_int,
        from: *mut sockaddr,
        from_len: *mut socklen_t,
    ) -> ssize_t;
    kernel pass!(SYS_recvfrom, fd, buffer, len, flags, from, from_len);
    parking receive(Symbol::Recvfrom, (fd, flags), len, |done, flags| {
        pass!(SYS_recvfrom, fd, buffer.wrapping_byte_add(done), len - done, flags, from, from_len)
    })
}

hook! {
    Send: fn send(fd: c_int, buffer: *const c_void, len: size_t, flags: c_int) -> ssize_t;
    kernel pass!(SYS_sendto, fd, buffer, len, flags, 0usize, 0usize);
    parking send_all(Symbol::Send, (fd, flags), len, |done, flags| {
        pass!(SYS_sendto, fd, buffer.wrapping_byte_add(done), len - done, flags, 0usize, 0usize)
    })
}

hook! {
    Sendto: fn sendto(
        fd: c_int,
        buffer: *const c_void,
        len: size_t,
        flags: c_int,
        to: *const sockaddr,
        to_len: socklen_t,
    ) -> ssize_t;
    kernel pass!(SYS_sendto, fd, buffer, len, flags, to, to_len);
    parking send_all(Symbol::Sendto, (fd, flags), len, |done, flags| {
        pass!(SYS_sendto, fd, buffer.wrapping_byte_add(done), len - done, flags, to, to_len)
    })
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
    let mut left = unsafe { vectors::rest(part.msg_iov, part.msg_iovlen, done) };
    part.msg_iov = left.as_mut_ptr();
    part.msg_iovlen = left.len() as _;
    part.msg_control = ptr::null_mut();
    part.msg_controllen = 0;
    let args = crate::sys::raw::words![fd, &raw mut part, flags];
    // SAFETY: as above.
    unsafe { crate::sys::raw::call(number, args) }
}

hook! {
    Recvmsg: fn recvmsg(fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t;
    kernel pass!(SYS_recvmsg, fd, message, flags);
    // SAFETY: the caller's duty.
    parking match unsafe { buffers_of(message) } {
        Some(buffers) => receive(Symbol::Recvmsg, (fd, flags), buffers.total, |done, flags| {
            // SAFETY: the caller's duty.
            unsafe { from_part(libc::SYS_recvmsg, fd, message, done, flags) }
        }),
        None => pass!(SYS_recvmsg, fd, message, flags),
    }
}

hook! {
    Sendmsg: fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> ssize_t;
    kernel pass!(SYS_sendmsg, fd, message, flags);
    // SAFETY: the caller's duty.
    parking match unsafe { buffers_of(message) } {
        Some(buffers) => send_all(Symbol::Sendmsg, (fd, flags), buffers.total, |done, flags| {
            // SAFETY: the caller's duty.
            unsafe { from_part(libc::SYS_sendmsg, fd, message, done, flags) }
        }),
        None => pass!(SYS_sendmsg, fd, message, flags),
    }
}

/// Moves messages one batch after another until all have gone, or, with `MSG_WAITFORONE`, the first has.
///
/// As in the kernel, the time limit is looked at between messages only.
fn batches(
    symbol: Symbol,
    (fd, flags): (c_int, c_int),
    direction: Direction,
    count: c_uint,
    until: Option<Instant>,
    call: impl Fn(c_uint, c_int) -> isize,
) -> isize {
    let Some(known) = may_wait(fd, flags) else { return call(0, flags) };
    let mut attempt = Attempt::new(symbol, known, direction);
    let mut done: c_uint = 0;
    loop {
        match attempt.run(None, || call(done, flags | libc::MSG_DONTWAIT)) {
            more if more > 0 => done += more as c_uint,
            answer => return if done > 0 { done as isize } else { answer },
        }
        let over = until.is_some_and(|until| Instant::now() >= until);
        if done >= count || flags & libc::MSG_WAITFORONE != 0 || over || is_nonblocking(known) != Ok(false) {
            return done as isize;
        }
    }
}

hook! {
    Recvmmsg: fn recvmmsg(
        fd: c_int,
        list: *mut mmsghdr,
        count: c_uint,
        flags: c_int,
        limit: *mut timespec,
    ) -> c_int;
    kernel pass!(SYS_recvmmsg, fd, list, count, flags, limit);
    parking {
        // SAFETY: the caller's duty.
        let until = unsafe { limit.as_ref() }.and_then(|limit| super::time::instant_after(*limit));
        batches(Symbol::Recvmmsg, (fd, flags), Direction::Read, count, until, |done, flags| {
            let list = list.wrapping_add(done as usize);
            pass!(SYS_recvmmsg, fd, list, count - done, flags, ptr::null_mut::<timespec>())
        })
    }
}

hook! {
    Sendmmsg: fn sendmmsg(fd: c_int, list: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int;
    kernel pass!(SYS_sendmmsg, fd, list, count, flags);
    parking batches(Symbol::Sendmmsg, (fd, flags), Direction::Write, count, None, |done, flags| {
        pass!(SYS_sendmmsg, fd, list.wrapping_add(done as usize), count - done, flags)
    })
}
