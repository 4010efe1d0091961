//! `accept`, which has no flag to only try: the flags of `accept4` are the new socket's.
//!
//! A listener that this process alone has (made by a replaced function, never duplicated, closed on exec) is made
//! non-blocking underneath when a coroutine first waits on it: `FORCED`. The user goes on seeing it as blocking: `fcntl`
//! hides the flag, and `accept` on a plain thread waits in `poll`. Before the listener is duplicated, made to survive an
//! exec, sent, or shared with a child (`fork`), the flag is taken off again and the listener is another one's as well, so
//! that nobody else meets the flag, or takes it off while a worker relies on it.
//!
//! `shared_listener` has all others.

use libc::{c_int, sockaddr, sockaddr_storage, socklen_t};

use super::errno::{self, raw};
use super::gate;
use super::hook::pass;
use super::shared_listener;
use super::slot::{self, FORCED, Known, LINGERS, LOW_WATER, SOLE, known};
use super::symbols::Symbol;
use super::turn;
use super::wait::{Attempt, Direction, is_nonblocking, timeout};

/// The caller's place for the peer's address.
#[derive(Clone, Copy)]
pub(super) struct Peer(*mut sockaddr, *mut socklen_t);

impl Peer {
    pub(super) fn accept(&self, fd: c_int, flags: c_int) -> isize {
        pass!(SYS_accept4, fd, self.0, self.1, flags)
    }

    /// Tells whether the kernel takes the place.
    pub(super) fn is_valid(&self) -> bool {
        // SAFETY: null, or the caller's.
        self.0.is_null() || unsafe { self.1.as_ref() }.is_some_and(|len| len.cast_signed() >= 0)
    }

    /// Writes an address there as the kernel does, cut to the room there is; gives `answer`.
    pub(super) fn fill(&self, answer: isize, address: &sockaddr_storage, len: socklen_t) -> isize {
        if answer >= 0 && !self.0.is_null() {
            // SAFETY: the caller's, as `is_valid` has found.
            let room = unsafe { &mut *self.1 };
            let count = len.min(*room) as usize;
            let from = core::ptr::from_ref(address).cast::<u8>();
            // SAFETY: the caller's place has room for that many, and the storage holds as many.
            unsafe { from.copy_to_nonoverlapping(self.0.cast::<u8>(), count) };
            *room = len;
        }
        answer
    }
}

/// Makes a listener that is this process's alone non-blocking; false if it is not.
fn force(known: Known) -> bool {
    if known.flags() & FORCED != 0 {
        return true;
    }
    if known.flags() & SOLE == 0 || pass!(SYS_fcntl, known.fd(), libc::F_GETFD) & 1 == 0 {
        return false;
    }
    let flags = pass!(SYS_fcntl, known.fd(), libc::F_GETFL);
    if flags < 0 || pass!(SYS_fcntl, known.fd(), libc::F_SETFL, flags | libc::O_NONBLOCK as isize) < 0 {
        return false;
    }
    known.update(0, FORCED);
    true
}

/// Makes the listener blocking again, because others will see it. Not in a signal handler, whose thread may hold the
/// lock: a listener that is duplicated there is non-blocking to whoever else has it.
pub(super) fn release(known: Known) {
    if gate::in_handler() {
        return;
    }
    let _held = known.slot.force.lock();
    if known.flags() & FORCED != 0 {
        let flags = pass!(SYS_fcntl, known.fd(), libc::F_GETFL);
        pass!(SYS_fcntl, known.fd(), libc::F_SETFL, flags & !(libc::O_NONBLOCK as isize));
        known.update(FORCED, 0);
    }
}

fn accept_parking(symbol: Symbol, fd: c_int, peer: Peer, flags: c_int) -> isize {
    let Some(known) = known(fd).filter(|known| known.kind().is_socket()) else {
        return peer.accept(fd, flags);
    };
    if is_nonblocking(known) != Ok(false) {
        return peer.accept(fd, flags);
    }
    let mut attempt = Attempt::new(symbol, known, Direction::Read);
    loop {
        // The lock keeps the flag while the call relies on it, which never waits.
        let held = known.slot.force.lock();
        let answer = if force(known) { Some(try_once(known, peer, flags)) } else { None };
        drop(held);
        match answer {
            Some(Some(answer)) => return answer,
            Some(None) => {
                if let Err(error) = attempt.wait() {
                    return error;
                }
            }
            None => return shared_listener::accept_parking(symbol, known, peer, flags),
        }
    }
}

/// Takes a connection that is there; `None` if there is none.
fn try_once(known: Known, peer: Peer, flags: c_int) -> Option<isize> {
    let source = &known.slot.source;
    let seen = source.ready(Direction::Read)?;
    match peer.accept(known.fd(), flags) {
        answer if answer == raw(libc::EAGAIN) => {
            source.exhausted(Direction::Read, seen);
            None
        }
        answer => Some(answer),
    }
}

/// On a plain thread: as the kernel, but for a listener that is non-blocking for the coroutines' sake.
fn accept_plain(fd: c_int, peer: Peer, flags: c_int) -> isize {
    loop {
        let answer = peer.accept(fd, flags);
        let forced = |known: &Known| known.flags() & FORCED != 0;
        if answer != raw(libc::EAGAIN) {
            return answer;
        }
        let Some(known) = slot::known_already(fd).filter(forced) else { return answer };
        let limit = timeout(known, Direction::Read).map(super::time::timespec_of);
        let limit = limit.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        let mut place = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        match pass!(SYS_ppoll, &raw mut place, 1usize, limit, core::ptr::null::<libc::sigset_t>(), 8usize) {
            0 => return raw(libc::EAGAIN),
            error if error < 0 => return error,
            _ => {}
        }
    }
}

/// What a listener accepts is of its own kind, and lingers as it does; to be looked at, unless it is still the one that
/// has accepted, and nobody else's.
fn flags_of_accepted(listener: Option<Known>) -> u64 {
    let known = listener.map(|listener| (listener, listener.kind(), listener.flags()));
    match known.filter(|(listener, kind, _)| kind.is_socket() && listener.is_current()) {
        Some((_, kind, flags)) if flags & SOLE != 0 => kind as u64 | flags & (LINGERS | LOW_WATER),
        // What others may have set is looked up when it matters.
        Some(_) | None => LINGERS,
    }
}

fn accept_either(symbol: Symbol, fd: c_int, peer: Peer, flags: c_int) -> c_int {
    let before = errno::get();
    let (listener, answer) = match gate::open(symbol) {
        true => (known(fd), turn::after(symbol, accept_parking(symbol, fd, peer, flags))),
        false => (None, accept_plain(fd, peer, flags)),
    };
    if let Ok(new @ 0..) = c_int::try_from(answer)
        && gate::is_tracking()
    {
        slot::adopt(new, SOLE | flags_of_accepted(listener));
    }
    errno::set(before);
    errno::result(answer) as c_int
}

/// libc's `accept4`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn accept4(
    fd: c_int,
    address: *mut sockaddr,
    len: *mut socklen_t,
    flags: c_int,
) -> c_int {
    accept_either(Symbol::Accept4, fd, Peer(address, len), flags)
}

/// libc's `accept`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn accept(fd: c_int, address: *mut sockaddr, len: *mut socklen_t) -> c_int {
    accept_either(Symbol::Accept, fd, Peer(address, len), 0)
}
