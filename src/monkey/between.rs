//! Data moved between two descriptors inside the kernel: `sendfile`, `splice`, `tee`, `copy_file_range`; `vmsplice`, where
//! one side is the caller's memory.
//!
//! No flag makes them only try on both sides, so another thread makes the call; before that, the coroutine waits
//! until the side that sockets and pipes are written on has room, so that the thread is not kept by a slow peer alone.

use libc::{c_int, c_uint, iovec, off_t, size_t, ssize_t};

use super::errno::raw;
use super::hook::{hook, pass};
use super::kind::identity;
use super::lent::Lent;
use super::offload::offload;
use super::slot::{Kind, known, known_any};
use super::symbols::Symbol;
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

macro_rules! sendfile {
    ($($symbol:ident: $name:ident;)*) => {
        $(hook! {
            $symbol: fn $name(to: c_int, from: c_int, offset: *mut off_t, count: size_t) -> ssize_t;
            kernel Offsets(offset, core::ptr::null_mut()).sendfile(to, from, count);
            parking {
                let offsets = Offsets(offset, core::ptr::null_mut());
                match wait_for(Symbol::$symbol, to, Direction::Write) {
                    Ok(()) => offload(Symbol::$symbol, || offsets.sendfile(to, from, count)),
                    Err(answer) => answer,
                }
            }
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

/// Waits until both pipes are ready for a call that may wait for them, and has another thread make it.
fn through_pipes(
    symbol: Symbol,
    (from, to): (c_int, c_int),
    is_refused: bool,
    call: impl Fn() -> isize + Sync,
) -> isize {
    // What does not wait is not waited for.
    let ready = if is_refused {
        Ok(())
    } else {
        wait_for(symbol, from, Direction::Read).and_then(|()| wait_for(symbol, to, Direction::Write))
    };
    match ready {
        Ok(()) => offload(symbol, call),
        Err(answer) => answer,
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
        through_pipes(Symbol::Splice, (from, to), is_refused, || offsets.splice(from, to, len, flags))
    }
}

hook! {
    Tee: fn tee(from: c_int, to: c_int, len: size_t, flags: c_uint) -> ssize_t;
    kernel pass!(SYS_tee, from, to, len, flags);
    parking {
        let pipes = [is_pipe(from), is_pipe(to)];
        let is_refused = pipes != [true; 2] || len == 0 || flags & libc::SPLICE_F_NONBLOCK != 0;
        let is_refused = is_refused || is_same(pipes, from, to);
        through_pipes(Symbol::Tee, (from, to), is_refused, || pass!(SYS_tee, from, to, len, flags))
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
