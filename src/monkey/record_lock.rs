//! Locks on files that a call waits for: `flock`, `fcntl` with `F_SETLKW` and `F_OFD_SETLKW`, `lockf`.
//!
//! Nothing tells when one comes free. Those of an open file (`flock`, OFD) can be held by another coroutine of this
//! process, so they take no thread: they are tried again after growing pauses, and a cancellation ends that.
//!
//! A record lock of the process is never held up by its own coroutines, and the kernel finds a cycle of processes that
//! wait for each other (`EDEADLK`), but only among those that really wait. So another thread waits, once the lock turns
//! out to be taken; a cancellation is held back until it has it.

use libc::{c_int, off_t};

use super::errno::{self, raw};
use super::gate;
use super::hook::{hook, pass};
use super::offload::offload;
use super::symbols::Symbol;
use super::time::retry;
use super::turn;

/// `fcntl` with a command that waits.
pub(super) fn wait(symbol: Symbol, fd: c_int, command: c_int, argument: usize) -> isize {
    match command {
        libc::F_OFD_SETLKW => {
            retry(symbol, raw(libc::EAGAIN), || pass!(SYS_fcntl, fd, libc::F_OFD_SETLK, argument))
        }
        _ => match pass!(SYS_fcntl, fd, libc::F_SETLK, argument) {
            taken if taken == raw(libc::EAGAIN) || taken == raw(libc::EACCES) => {
                offload(symbol, || pass!(SYS_fcntl, fd, command, argument))
            }
            answer => answer,
        },
    }
}

/// The section that `lockf` is about: from the file's own offset.
fn section(kind: c_int, len: off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_CUR as libc::c_short,
        l_start: 0,
        l_len: len,
        l_pid: 0,
    }
}

/// `lockf` in terms of `fcntl`, with `lock` to wait for the lock.
fn locked(fd: c_int, operation: c_int, len: off_t, lock: impl Fn(usize) -> isize) -> isize {
    let kind = match operation {
        libc::F_ULOCK => libc::F_UNLCK,
        libc::F_TEST => libc::F_RDLCK,
        libc::F_LOCK | libc::F_TLOCK => libc::F_WRLCK,
        _ => return raw(libc::EINVAL),
    };
    let mut section = section(kind, len);
    let place = (&raw mut section).expose_provenance();
    match operation {
        libc::F_LOCK => lock(place),
        libc::F_TEST => {
            let answer = pass!(SYS_fcntl, fd, libc::F_GETLK, place);
            let own = section.l_pid as isize == pass!(SYS_getpid);
            let free = section.l_type == libc::F_UNLCK as libc::c_short || own;
            if answer < 0 || free { answer } else { raw(libc::EACCES) }
        }
        _ => pass!(SYS_fcntl, fd, libc::F_SETLK, place),
    }
}

macro_rules! lockf {
    ($($symbol:ident: $name:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, operation: c_int, len: off_t) -> c_int;
            kernel locked(fd, operation, len, |place| pass!(SYS_fcntl, fd, libc::F_SETLKW, place));
            parking locked(fd, operation, len, |place| wait(Symbol::$symbol, fd, libc::F_SETLKW, place))
        })*
    };
}

lockf! { Lockf: lockf; Lockf64: lockf64; }

/// libc's `flock`.
///
/// # Safety
/// * None; it takes numbers.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn flock(fd: c_int, operation: c_int) -> c_int {
    let answer = if gate::open(Symbol::Flock) {
        let before = errno::get();
        let tries = || pass!(SYS_flock, fd, operation | libc::LOCK_NB);
        let answer = if operation & libc::LOCK_NB == 0 {
            retry(Symbol::Flock, raw(libc::EWOULDBLOCK), tries)
        } else {
            turn::after(Symbol::Flock, tries())
        };
        errno::set(before);
        answer
    } else {
        pass!(SYS_flock, fd, operation)
    };
    errno::result(answer) as c_int
}
