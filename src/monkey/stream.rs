//! `read`, `write` and their vectored forms, on whatever the descriptor is.
//!
//! Each kind has a way to try without waiting: sockets `MSG_DONTWAIT`, pipes and files `RWF_NOWAIT`. What has none (a
//! terminal) is waited for with epoll and then read by another thread, since somebody else may be quicker.

use core::ffi::c_void;
use core::ptr;

use libc::{c_int, iovec, size_t, ssize_t};

use super::errno::raw;
use super::gate::is_patched;
use super::hook::{hook, pass};
use super::offload::offload;
use super::patch::group::{FILES, PIPES, SOCKETS};
use super::slot::{self, Kind, Known, known};
use super::symbols::Symbol;
use super::wait::{Attempt, Direction, enough, is_nonblocking, is_open_for};
use super::{file, position, vectors};

/// The buffers of one call, as the caller gave them.
#[derive(Clone, Copy)]
pub(super) struct Buffers {
    pub(super) list: *const iovec,
    pub(super) count: usize,
    /// The bytes in all of them, but no more than one call moves.
    pub(super) total: usize,
}

// SAFETY: the caller of the replaced function waits until the call is over, wherever it is made.
unsafe impl Sync for Buffers {}
// SAFETY: as for Sync.
unsafe impl Send for Buffers {}

impl Buffers {
    /// A list of one.
    pub(super) fn one(single: &iovec) -> Self {
        Self { list: ptr::from_ref(single), count: 1, total: single.iov_len.min(vectors::MOST) }
    }

    /// `None` if the list is not valid: the kernel is to say so.
    ///
    /// # Safety
    /// * `list` is null or points to `count` vectors.
    pub(super) unsafe fn of(list: *const iovec, count: c_int) -> Option<Self> {
        let count = usize::try_from(count).ok()?;
        // SAFETY: the caller's duty.
        let total = unsafe { vectors::total(list, count) }?.min(vectors::MOST);
        Some(Self { list, count, total })
    }
}

/// The kind, if calls on it are to park.
fn parking_kind(known: Known) -> Option<Kind> {
    let kind = known.kind();
    let group = match kind {
        Kind::Tcp | Kind::InetStream | Kind::Stream | Kind::Messages => SOCKETS,
        Kind::Pipe | Kind::Device => PIPES,
        Kind::File => FILES,
        Kind::Unknown | Kind::Instant => return None,
    };
    is_patched(group).then_some(kind)
}

/// A call on data in one direction: what it is in the end, and how it is tried.
#[derive(Clone, Copy)]
pub(super) struct Way {
    symbol: Symbol,
    direction: Direction,
    /// `readv` or `writev`.
    plain: libc::c_long,
    /// `preadv2` or `pwritev2`.
    trying: libc::c_long,
    /// `recvmsg` or `sendmsg`.
    message: libc::c_long,
}

impl Way {
    pub(super) const fn read(symbol: Symbol) -> Self {
        let (plain, trying, message) = (libc::SYS_readv, libc::SYS_preadv2, libc::SYS_recvmsg);
        Self { symbol, direction: Direction::Read, plain, trying, message }
    }

    pub(super) const fn write(symbol: Symbol) -> Self {
        let (plain, trying, message) = (libc::SYS_writev, libc::SYS_pwritev2, libc::SYS_sendmsg);
        Self { symbol, direction: Direction::Write, plain, trying, message }
    }

    /// The call that may wait.
    fn block(self, fd: c_int, buffers: Buffers) -> isize {
        let args = crate::sys::raw::words![fd, buffers.list, buffers.count];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { crate::sys::raw::call(self.plain, args) }
    }

    /// Tries without waiting, on anything but a socket.
    fn attempt(self, fd: c_int, buffers: Buffers) -> isize {
        // The offset -1 is the file's own.
        let args =
            crate::sys::raw::words![fd, buffers.list, buffers.count, -1isize, -1isize, libc::RWF_NOWAIT];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { crate::sys::raw::call(self.trying, args) }
    }

    /// Tries without waiting, on a socket.
    fn attempt_socket(self, fd: c_int, buffers: Buffers, again: bool) -> isize {
        // A broken pipe after a part was sent is told by the next call.
        let flags = libc::MSG_DONTWAIT | if again { libc::MSG_NOSIGNAL } else { 0 };
        if buffers.count == 1 {
            // SAFETY: a list of one.
            let single = unsafe { *buffers.list };
            let null = ptr::null::<c_void>();
            return match self.direction {
                Direction::Read => {
                    pass!(SYS_recvfrom, fd, single.iov_base, single.iov_len, flags, null, null)
                }
                Direction::Write => {
                    pass!(SYS_sendto, fd, single.iov_base, single.iov_len, flags, null, 0usize)
                }
            };
        }
        // SAFETY: all zeros is a message without address, data and control.
        let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
        message.msg_iov = buffers.list.cast_mut();
        message.msg_iovlen = buffers.count as _;
        let args = crate::sys::raw::words![fd, &raw mut message, flags];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { crate::sys::raw::call(self.message, args) }
    }

    pub(super) fn run(self, fd: c_int, buffers: Buffers) -> isize {
        let Some((known, kind)) = known(fd).and_then(|known| Some((known, parking_kind(known)?))) else {
            return self.block(fd, buffers);
        };
        // Reading nothing never waits, and says what is wrong with the descriptor.
        if buffers.total == 0 && self.direction == Direction::Read {
            return self.block(fd, buffers);
        }
        match kind {
            Kind::File
                if self.direction == Direction::Write && file::writes_in_place(known, buffers.total) =>
            {
                file::timed(known, || self.block(fd, buffers))
            }
            // In one piece: what others append may not come in between.
            Kind::File if self.direction == Direction::Write => {
                offload(self.symbol, || self.block(fd, buffers))
            }
            Kind::File => {
                let _held = position::hold(known);
                file::transfer(
                    self.symbol,
                    buffers,
                    |buffers, _| self.attempt(fd, buffers),
                    |buffers, _| self.block(fd, buffers),
                )
            }
            Kind::Device => self.on_device(known, buffers),
            _ => self.on_stream(known, kind, buffers),
        }
    }

    /// Sockets and pipes. A blocking write goes on until everything is written, a read until there is enough.
    fn on_stream(self, known: Known, kind: Kind, buffers: Buffers) -> isize {
        let mut attempt = Attempt::new(self.symbol, known, self.direction);
        let concludes = kind == Kind::Tcp && self.direction == Direction::Read;
        let room = |buffers: Buffers| concludes.then_some(buffers.total);
        let try_once = |buffers, again| match kind {
            Kind::Pipe => self.attempt(known.fd(), buffers),
            _ => self.attempt_socket(known.fd(), buffers, again),
        };
        let answer = attempt.run(room(buffers), || try_once(buffers, false));
        if answer == raw(libc::ENOTSOCK) && kind != Kind::Pipe {
            // Closed, and made anew as something else, by code that does not call libc: all that was known is wrong.
            slot::retire(known.fd());
            return self.run(known.fd(), buffers);
        }
        if kind == Kind::Pipe && file::cannot_try(answer) {
            known.set_kind(Kind::Device);
            return self.on_device(known, buffers);
        }
        let wanted = match self.direction {
            Direction::Write if kind == Kind::Messages => 0,
            Direction::Write => buffers.total,
            Direction::Read => enough(known, false, buffers.total),
        };
        let mut done = match self.direction {
            Direction::Read => answer,
            Direction::Write => attempt.finish_connect(answer, || try_once(buffers, false)),
        };
        while done > 0 && done.unsigned_abs() < wanted {
            if is_nonblocking(known) != Ok(false) {
                break;
            }
            // SAFETY: the list holds more than `done` bytes.
            let left =
                unsafe { vectors::rest(buffers.list, buffers.count, done.unsigned_abs(), buffers.total) };
            let total = buffers.total - done.unsigned_abs();
            let left = Buffers { list: left.as_ptr(), count: left.len(), total };
            match attempt.run_on(room(left), || try_once(left, true)) {
                more if more > 0 => done += more,
                // What was written counts; the error is told by the next call.
                _ => break,
            }
        }
        done
    }

    /// What has no call that only tries.
    fn on_device(self, known: Known, buffers: Buffers) -> isize {
        let (fd, symbol) = (known.fd(), self.symbol);
        match is_nonblocking(known) {
            Err(error) => return error,
            Ok(true) => return self.block(fd, buffers),
            Ok(false) if !is_open_for(known, self.direction) => return self.block(fd, buffers),
            Ok(false) => {}
        }
        let mut attempt = Attempt::new(symbol, known, self.direction);
        match attempt.wait_ready() {
            Ok(()) => offload(symbol, || self.block(fd, buffers)),
            // epoll has no word for it: it is always ready.
            Err(error) if error == raw(libc::EPERM) => {
                known.set_kind(Kind::Instant);
                self.block(fd, buffers)
            }
            Err(error) => error,
        }
    }
}

/// Tells whether the kernel is to say what comes of a length: nothing, or more than any address space has.
pub(super) fn is_odd(len: size_t) -> bool {
    len == 0 || len >> (usize::BITS - 8) != 0
}

hook! {
    Read: fn read(fd: c_int, buffer: *mut c_void, count: size_t) -> ssize_t;
    kernel pass!(SYS_read, fd, buffer, count);
    parking if is_odd(count) {
        // None of these waits.
        pass!(SYS_read, fd, buffer, count)
    } else {
        Way::read(Symbol::Read).run(fd, Buffers::one(&iovec { iov_base: buffer, iov_len: count }))
    }
}

hook! {
    Write: fn write(fd: c_int, buffer: *const c_void, count: size_t) -> ssize_t;
    kernel pass!(SYS_write, fd, buffer, count);
    parking if count > 0 && is_odd(count) {
        pass!(SYS_write, fd, buffer, count)
    } else {
        let single = iovec { iov_base: buffer.cast_mut(), iov_len: count };
        Way::write(Symbol::Write).run(fd, Buffers::one(&single))
    }
}

hook! {
    Readv: fn readv(fd: c_int, list: *const iovec, count: c_int) -> ssize_t;
    kernel pass!(SYS_readv, fd, list, count);
    // SAFETY: the caller's duty.
    parking match unsafe { Buffers::of(list, count) } {
        Some(buffers) => Way::read(Symbol::Readv).run(fd, buffers),
        None => pass!(SYS_readv, fd, list, count),
    }
}

hook! {
    Writev: fn writev(fd: c_int, list: *const iovec, count: c_int) -> ssize_t;
    kernel pass!(SYS_writev, fd, list, count);
    // SAFETY: the caller's duty.
    parking match unsafe { Buffers::of(list, count) } {
        Some(buffers) => Way::write(Symbol::Writev).run(fd, buffers),
        None => pass!(SYS_writev, fd, list, count),
    }
}
