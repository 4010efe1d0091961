//! Waiting for child processes: a pidfd becomes readable when the child ends.
//!
//! No pidfd tells of any child, nor of one that stops: then the call is made again after pauses.

use core::mem;
use core::ptr;

use libc::{c_int, id_t, idtype_t, pid_t, rusage, siginfo_t};

use super::errno::raw;
use super::hook::{hook, pass};
use super::slot::{self, SOLE};
use super::symbols::Symbol;
use super::time::retry;
use super::wait::{Attempt, Direction};

/// Where the answer goes.
#[derive(Clone, Copy)]
struct Place(*mut c_int, *mut rusage);

impl Place {
    fn wait(&self, pid: pid_t, options: c_int) -> isize {
        pass!(SYS_wait4, pid, self.0, options, self.1)
    }
}

/// Waits until the process `pid` has ended, or is not there.
fn wait_for(symbol: Symbol, pid: pid_t) -> Result<(), isize> {
    let fd = pass!(SYS_pidfd_open, pid, 0);
    if fd < 0 {
        return Err(fd);
    }
    let fd = fd as c_int;
    slot::adopt(fd, SOLE);
    let ended = match slot::known(fd) {
        Some(known) => Attempt::new(symbol, known, Direction::Read).wait_ready(),
        None => Err(raw(libc::EMFILE)),
    };
    slot::retire(fd);
    pass!(SYS_close, fd);
    ended
}

fn wait_parking(symbol: Symbol, pid: pid_t, place: Place, options: c_int) -> isize {
    if options & libc::WNOHANG != 0 {
        return place.wait(pid, options);
    }
    if pid <= 0 || options != 0 {
        return retry(symbol, 0, || place.wait(pid, options | libc::WNOHANG));
    }
    loop {
        match place.wait(pid, libc::WNOHANG) {
            0 => {}
            answer => return answer,
        }
        match wait_for(symbol, pid) {
            Ok(()) => {}
            // Gone meanwhile: the next look tells.
            Err(error) if error == raw(libc::ESRCH) => {}
            Err(error) if error == raw(libc::ECANCELED) => return error,
            // No pidfd to be had.
            Err(_) => return retry(symbol, 0, || place.wait(pid, libc::WNOHANG)),
        }
    }
}

hook! {
    Waitpid: fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t;
    kernel Place(status, ptr::null_mut()).wait(pid, options);
    parking wait_parking(Symbol::Waitpid, pid, Place(status, ptr::null_mut()), options)
}

hook! {
    Wait: fn wait(status: *mut c_int) -> pid_t;
    kernel Place(status, ptr::null_mut()).wait(-1, 0);
    parking wait_parking(Symbol::Wait, -1, Place(status, ptr::null_mut()), 0)
}

hook! {
    Wait3: fn wait3(status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t;
    kernel Place(status, usage).wait(-1, options);
    parking wait_parking(Symbol::Wait3, -1, Place(status, usage), options)
}

hook! {
    Wait4: fn wait4(pid: pid_t, status: *mut c_int, options: c_int, usage: *mut rusage) -> pid_t;
    kernel Place(status, usage).wait(pid, options);
    parking wait_parking(Symbol::Wait4, pid, Place(status, usage), options)
}

/// Where the answer of `waitid` goes.
#[derive(Clone, Copy)]
struct Info(*mut siginfo_t);

impl Info {
    fn wait(&self, kind: idtype_t, id: id_t, options: c_int) -> isize {
        pass!(SYS_waitid, kind, id, self.0, options, ptr::null_mut::<rusage>())
    }
}

/// No child has what is asked for. The kernel answers this with 0, and a process number of 0.
const NOTHING: isize = isize::MIN;

/// The kernel's `waitid`, without waiting.
fn look(kind: idtype_t, id: id_t, place: Info, options: c_int) -> isize {
    // SAFETY: all zeros is a siginfo; with nothing to tell, the kernel leaves or makes the process number 0.
    let mut own: siginfo_t = unsafe { mem::zeroed() };
    let answer = Info(&raw mut own).wait(kind, id, options | libc::WNOHANG);
    if answer != 0 {
        return answer;
    }
    // SAFETY: it is the siginfo of a child, or all zeros.
    if unsafe { own.si_pid() } == 0 {
        return NOTHING;
    }
    if !place.0.is_null() {
        // SAFETY: the caller's place.
        unsafe { place.0.write(own) };
    }
    0
}

fn waitid_parking(kind: idtype_t, id: id_t, place: Info, options: c_int) -> isize {
    let symbol = Symbol::Waitid;
    if options & libc::WNOHANG != 0 {
        return place.wait(kind, id, options);
    }
    let retried = || retry(symbol, NOTHING, || look(kind, id, place, options));
    let told =
        matches!(kind, libc::P_PID | libc::P_PIDFD) && options & (libc::WSTOPPED | libc::WCONTINUED) == 0;
    if !told {
        return retried();
    }
    loop {
        match look(kind, id, place, options) {
            NOTHING => {}
            answer => return answer,
        }
        let ended = match (kind, slot::known(id as c_int)) {
            (libc::P_PIDFD, Some(known)) => Attempt::new(symbol, known, Direction::Read).wait_ready(),
            (libc::P_PID, _) => wait_for(symbol, id as pid_t),
            _ => Err(raw(libc::EBADF)),
        };
        match ended {
            Ok(()) => {}
            Err(error) if error == raw(libc::ESRCH) => {}
            Err(error) if error == raw(libc::ECANCELED) => return error,
            Err(_) => return retried(),
        }
    }
}

hook! {
    Waitid: fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int;
    kernel Info(info).wait(kind, id, options);
    parking waitid_parking(kind, id, Info(info), options)
}

/// libc's `vfork`, which is `fork` here. A child that shares the parent's memory would close and duplicate descriptors in
/// the parent's table, and wake coroutines that wait for them.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn vfork() -> pid_t {
    // SAFETY: the caller's duty, which is more than that of `fork`.
    unsafe { libc::fork() }
}
