//! `connect`, which takes time and has no flag to only begin.
//!
//! So O_NONBLOCK is set while the system call begins it, and taken off again before anything waits.
//! The same call, made again, tells how it has ended, and only it: the kernel takes a socket for connected, or for
//! free to be connected anew, once `connect` has said so. It is first made again at once, before O_NONBLOCK goes: a
//! peer on the same machine has answered by then.

use libc::{c_int, sockaddr, socklen_t};

use super::errno::raw;
use super::hook::{hook, pass};
use super::slot::{FORCED, Known, known};
use super::symbols::Symbol;
use super::time::retry_until;
use super::wait::{Attempt, Direction, is_nonblocking, timeout};
use crate::runtime::far;

/// An address of the caller's.
#[derive(Clone, Copy)]
struct Address(*const sockaddr, socklen_t);

impl Address {
    fn connect(&self, fd: c_int) -> isize {
        pass!(SYS_connect, fd, self.0, self.1)
    }
}

fn connect_parking(known: Known, address: Address) -> isize {
    let fd = known.fd();
    match is_nonblocking(known) {
        Ok(false) if known.kind().is_socket() => {}
        _ => return address.connect(fd),
    }
    let mut attempt = Attempt::new(Symbol::Connect, known, Direction::Write);
    let mut waited = false;
    loop {
        match try_once(known, address) {
            error if error == raw(libc::EINPROGRESS) || error == raw(libc::EALREADY) => {}
            // Another has been told of the connection that this one has waited for as well.
            error if error == raw(libc::EISCONN) && waited => return 0,
            // A Unix listener whose queue is full: nothing tells when there is room.
            error if error == raw(libc::EAGAIN) => return when_there_is_room(known, address),
            answer => return answer,
        }
        waited = true;
        match attempt.wait_ready() {
            Ok(()) => {}
            // The socket's timeout for sending: the kernel says that it still tries.
            Err(error) if error == raw(libc::EAGAIN) => return raw(libc::EINPROGRESS),
            Err(error) => return error,
        }
    }
}

/// Connects once the queue of a Unix listener has room. Who makes the room may be a coroutine of this process, so it is
/// tried again, and takes no thread.
fn when_there_is_room(known: Known, address: Address) -> isize {
    let until = timeout(known, Direction::Write).map(far::after);
    retry_until(Symbol::Connect, raw(libc::EAGAIN), until, || {
        if known.is_current() { try_once(known, address) } else { raw(libc::EBADF) }
    })
}

/// Begins to connect, or asks how that has ended.
fn try_once(known: Known, address: Address) -> isize {
    let fd = known.fd();
    // The user's own O_NONBLOCK is set under this lock.
    let _held = known.slot.force.lock();
    let set = |value: c_int| pass!(SYS_ioctl, fd, libc::FIONBIO, &raw const value);
    match is_nonblocking(known) {
        Ok(false) if known.flags() & FORCED == 0 => {}
        // It never waits: a listener, on which this fails, or the user has set it while this waited.
        _ => return address.connect(fd),
    }
    let set_up = set(1);
    if set_up < 0 {
        return set_up;
    }
    let answer = match address.connect(fd) {
        begun if begun == raw(libc::EINPROGRESS) => address.connect(fd),
        answer => answer,
    };
    set(0);
    answer
}

hook! {
    Connect: fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int;
    kernel pass!(SYS_connect, fd, address, len);
    parking match known(fd) {
        Some(known) => connect_parking(known, Address(address, len)),
        None => pass!(SYS_connect, fd, address, len),
    }
}
