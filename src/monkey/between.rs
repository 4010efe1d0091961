//! Data moved between two descriptors inside the kernel: `sendfile`, `splice`, `tee`, `copy_file_range`; `vmsplice`, where
//! one side is the caller's memory.
//!
//! No flag makes them only try on both sides. Pipes alone have one (`SPLICE_F_NONBLOCK`), so what lies between pipes is
//! tried here. Otherwise another thread makes the call, once the side that sockets and pipes are written on has room, and
//! with no more than fits: so the thread is not kept by a slow peer, and the caller waits where it can be cancelled.

use core::time::Duration;

use libc::{c_int, c_uint, iovec, off_t, size_t, ssize_t};

use super::errno::raw;
use super::hook::{hook, pass};
use super::kind::{identity, send_buffer};
use super::lent::Lent;
use super::offload::offload;
use super::slot::{Kind, known, known_any};
use super::symbols::Symbol;
use super::time::wait as pause;
use super::wait::{Attempt, Direction, is_nonblocking, is_open_for};

/// Offsets of the caller's, for a thread of the pool.
#[derive(Clone, Copy)]
struct Offsets(*mut off_t, *mut off_t);

// SAFETY: the caller of the replaced function waits until the call is over, wherever it is made.
unsafe impl Sync for Offsets {}

impl Offsets {
    fn sendfile(&self, to: c_int, from: c_int, count: size_t) -> isize {
        pass!(SYS_sendfile, to, from, self.0, count)
    }

    fn splice(&self, from: c_int, to: c_int, len: size_t, flags: c_uint) -> isize {
        pass!(SYS_splice, from, self.0, to, self.1, len, flags)
    }

    fn copy(&self, from: c_int, to: c_int, len: size_t, flags: c_uint) -> isize {
        pass!(SYS_copy_file_range, from, self.0, to, self.1, len, flags)
    }
}

/// Waits until one side is ready, if it is one that can be waited for; `Err` with the answer if it is over already.
fn wait_for(symbol: Symbol, fd: c_int, direction: Direction) -> Result<(), isize> {
    let Some(known) = known(fd) else { return Ok(()) };
    let kind = known.kind();
    let waits = kind.is_socket() || matches!(kind, Kind::Pipe | Kind::Device);
    if !waits || !is_open_for(known, direction) || is_nonblocking(known)? {
        return Ok(());
    }
    match Attempt::new(symbol, known, direction).wait_ready() {
        // epoll has no word for it: it is always ready.
        Err(error) if error == raw(libc::EPERM) => Ok(()),
        other => other,
    }
}

/// How much may go to a blocking socket that poll calls writable, so that the thread which sends it need not wait: a
/// third of the buffer is free then (`sk_stream_is_writable`). As much as is wanted elsewhere.
fn portion(to: c_int) -> usize {
    match known(to).filter(|known| known.kind().is_socket() && is_nonblocking(*known) == Ok(false)) {
        Some(known) => (send_buffer(known.fd()) / 4).max(4096),
        None => usize::MAX,
    }
}

/// Sends a file in portions, and waits before each where it can be cancelled.
fn send_file(symbol: Symbol, to: c_int, from: c_int, offsets: Offsets, count: size_t) -> isize {
    let (portion, mut done) = (portion(to), 0usize);
    loop {
        let next = portion.min(count - done);
        let answer = match wait_for(symbol, to, Direction::Write) {
            Ok(()) => offload(symbol, || offsets.sendfile(to, from, next)),
            Err(error) => error,
        };
        match usize::try_from(answer) {
            Ok(sent @ 1..) => done += sent,
            _ if done > 0 => return done as isize,
            _ => return answer,
        }
        if done >= count || portion == usize::MAX {
            return done as isize;
        }
    }
}

macro_rules! sendfile {
    ($($symbol:ident: $name:ident;)*) => {
        $(hook! {
            $symbol: fn $name(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
            kernel Offsets(offset, core::ptr::null_mut()).sendfile(to, from, count);
            parking send_file(Symbol::$symbol, to, from, Offsets(offset, core::ptr::null_mut()), count)
        })*
    };
}

sendfile! { Sendfile: sendfile; Sendfile64: sendfile64; }

/// Tells whether it may be a pipe, one with a name included.
fn is_pipe(fd: c_int) -> bool {
    known_any(fd).is_some_and(|known| matches!(known.kind(), Kind::Pipe | Kind::Device))
}

/// Tells whether both are ends of one pipe, which the kernel refuses.
fn is_same(pipes: [bool; 2], from: c_int, to: c_int) -> bool {
    pipes == [true; 2] && identity(from) == identity(to)
}

/// Waits until both ends are ready for a call that is told not to wait for pipes, and makes it, until it has not had to
/// wait. Another thread makes it if it may wait for something else. A call that is refused, or asked not to wait, is made
/// as it is.
fn through_pipes(
    symbol: Symbol,
    (from, to): (c_int, c_int),
    (flags, is_refused, elsewhere): (c_uint, bool, bool),
    call: impl Fn(c_uint) -> isize + Sync,
) -> isize {
    if is_refused {
        return offload(symbol, || call(flags));
    }
    let mut tries = 0u32;
    loop {
        let ready =
            wait_for(symbol, from, Direction::Read).and_then(|()| wait_for(symbol, to, Direction::Write));
        if let Err(answer) = ready {
            return answer;
        }
        let tried = flags | libc::SPLICE_F_NONBLOCK;
        let answer = if elsewhere { offload(symbol, || call(tried)) } else { call(tried) };
        let polls = |fd| known(fd).is_some_and(|known| is_nonblocking(known) == Ok(true));
        if answer != raw(libc::EAGAIN) || polls(from) || polls(to) {
            return answer;
        }
        // Somebody was quicker, or poll has another idea of what is ready.
        tries += 1;
        if tries > 1 && pause(symbol, Duration::from_micros(250)).is_err() {
            return raw(libc::ECANCELED);
        }
    }
}

hook! {
    Splice: fn splice(
        from: c_int,
        from_offset: *mut off_t,
        to: c_int,
        to_offset: *mut off_t,
        len: size_t,
        flags: c_uint,
    ) -> ssize_t;
    kernel Offsets(from_offset, to_offset).splice(from, to, len, flags);
    parking {
        let offsets = Offsets(from_offset, to_offset);
        let (pipes, given) = ([is_pipe(from), is_pipe(to)], [!from_offset.is_null(), !to_offset.is_null()]);
        let is_refused = pipes == [false; 2] || (0..2).any(|side| pipes[side] && given[side]);
        let is_refused = is_refused || len == 0 || flags & libc::SPLICE_F_NONBLOCK != 0 || is_same(pipes, from, to);
        let len = if is_refused { len } else { len.min(portion(to)) };
        let how = (flags, is_refused, pipes != [true; 2]);
        through_pipes(Symbol::Splice, (from, to), how, |flags| offsets.splice(from, to, len, flags))
    }
}

hook! {
    Tee: fn tee(from: c_int, to: c_int, len: size_t, flags: c_uint) -> ssize_t;
    kernel pass!(SYS_tee, from, to, len, flags);
    parking {
        let pipes = [is_pipe(from), is_pipe(to)];
        let is_refused = pipes != [true; 2] || len == 0 || flags & libc::SPLICE_F_NONBLOCK != 0;
        let is_refused = is_refused || is_same(pipes, from, to);
        let how = (flags, is_refused, false);
        through_pipes(Symbol::Tee, (from, to), how, |flags| pass!(SYS_tee, from, to, len, flags))
    }
}

hook! {
    Vmsplice: fn vmsplice(fd: c_int, list: *const iovec, count: size_t, flags: c_uint) -> ssize_t;
    kernel pass!(SYS_vmsplice, fd, list, count, flags);
    parking {
        let lent = Lent(list);
        let call = || pass!(SYS_vmsplice, fd, lent.get(), count, flags);
        // From the end that is written to, or into memory from the other.
        let direction =
            known(fd).filter(|known| is_open_for(*known, Direction::Write)).map_or(Direction::Read, |_| Direction::Write);
        let waits = is_pipe(fd) && count > 0 && flags & libc::SPLICE_F_NONBLOCK == 0;
        match if waits { wait_for(Symbol::Vmsplice, fd, direction) } else { Ok(()) } {
            Ok(()) => offload(Symbol::Vmsplice, call),
            Err(answer) => answer,
        }
    }
}

hook! {
    CopyFileRange: fn copy_file_range(
        from: c_int,
        from_offset: *mut off_t,
        to: c_int,
        to_offset: *mut off_t,
        len: size_t,
        flags: c_uint,
    ) -> ssize_t;
    kernel Offsets(from_offset, to_offset).copy(from, to, len, flags);
    parking {
        let offsets = Offsets(from_offset, to_offset);
        offload(Symbol::CopyFileRange, || offsets.copy(from, to, len, flags))
    }
}
