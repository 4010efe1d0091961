//! `accept` on a listener that others may accept on as well: clones of it, plain threads, other processes.
//!
//! No call takes a connection only if there is one, and O_NONBLOCK would be seen by the others. So another thread makes
//! the blocking call once poll says that there is a connection, and blocks if somebody else was quicker. The caller must
//! not block with it:
//! * One coroutine of the process has the *turn* at a listener. It alone waits for connections, and the others wait for
//!   the turn, so coroutines never lose a connection to each other.
//! * The call is an object of its own. If its caller leaves, because it is cancelled or out of time, the call goes on, and
//!   whoever has the turn next waits for it rather than for epoll. A connection that comes when nobody accepts any more
//!   stays with it.

use core::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use libc::{c_int, sockaddr_storage, socklen_t};

use super::accept::Peer;
use super::errno::raw;
use super::hook::pass;
use super::kind;
use super::slot::{self, Known};
use super::symbols::Symbol;
use super::wait::{Attempt, Direction, cancelled};
use crate::base::lock::Lock;
use crate::runtime::park::{Outcome, Reason};
use crate::runtime::wait_queue::{How, WaitQueue};
use crate::thread::spawn_blocking;

/// What a call has given: the kernel's answer, and the peer's address.
#[derive(Clone, Copy)]
struct Accepted {
    answer: isize,
    address: sockaddr_storage,
    len: socklen_t,
}

/// A call that a thread makes; `None` while it lasts.
struct Call {
    done: WaitQueue<Option<Accepted>>,
    flags: c_int,
}

impl Call {
    /// Has a thread make the call, on a descriptor of its own: the caller's may be closed meanwhile.
    fn start(symbol: Symbol, fd: c_int, flags: c_int) -> Result<Arc<Self>, isize> {
        let own = pass!(SYS_fcntl, fd, libc::F_DUPFD_CLOEXEC, 3);
        let own = c_int::try_from(own).ok().filter(|own| *own >= 0).ok_or(own)?;
        slot::retire(own);
        let call = Arc::new(Self { done: WaitQueue::new(None), flags });
        let running = Arc::clone(&call);
        symbol.count_offload();
        let run = move || {
            let accepted = accept(own, flags);
            pass!(SYS_close, own);
            let waiter = running.done.with(|done, list| {
                *done = Some(accepted);
                list.claim_first()
            });
            waiter.into_iter().for_each(|claimed| claimed.wake());
        };
        // It panics if no thread can be started.
        match panic::catch_unwind(AssertUnwindSafe(|| spawn_blocking(run))) {
            Ok(_) => Ok(call),
            Err(_) => {
                pass!(SYS_close, own);
                Err(raw(libc::EAGAIN))
            }
        }
    }
}

/// The blocking call.
fn accept(fd: c_int, flags: c_int) -> Accepted {
    // SAFETY: all zeros is an address of no family.
    let mut address: sockaddr_storage = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<sockaddr_storage>() as socklen_t;
    let answer = pass!(SYS_accept4, fd, &raw mut address, &raw mut len, flags);
    Accepted { answer, address, len }
}

#[derive(Default)]
struct State {
    is_taken: bool,
    /// The call that the last one in turn has left behind, or waits for.
    call: Option<Arc<Call>>,
}

/// What the coroutines of this process share of one listener.
struct Listener {
    identity: u64,
    state: WaitQueue<State>,
}

static LISTENERS: Lock<Vec<Arc<Listener>>> = Lock::new(Vec::new());

impl Listener {
    fn of(identity: u64) -> Arc<Self> {
        let mut all = LISTENERS.lock();
        if let Some(found) = all.iter().find(|listener| listener.identity == identity) {
            return Arc::clone(found);
        }
        let new = Arc::new(Self { identity, state: WaitQueue::new(State::default()) });
        all.push(Arc::clone(&new));
        new
    }

    /// Waits for the turn.
    fn take_turn(&self, until: Option<Instant>) -> Result<(), isize> {
        let must_wait = |state: &mut State| mem::replace(&mut state.is_taken, true);
        match self.state.wait_if(How::new(Reason::Io, until), |state, _| must_wait(state)) {
            None | Some(Outcome::Notified) => Ok(()),
            Some(Outcome::TimedOut) => Err(raw(libc::EAGAIN)),
            Some(Outcome::Cancelled) => Err(cancelled()),
        }
    }
}

/// The listener of one call, which is forgotten with the last one.
struct Visit(Arc<Listener>);

impl Drop for Visit {
    fn drop(&mut self) {
        LISTENERS.lock().retain(|listener| {
            let is_last = Arc::ptr_eq(listener, &self.0) && Arc::strong_count(listener) == 2;
            !is_last || listener.state.with(|state, _| state.call.is_some())
        });
    }
}

/// The turn at a listener, which goes to the next when this is dropped.
struct Turn<'a>(&'a Listener);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let next = self.0.state.with(|state, list| {
            let next = list.claim_first();
            state.is_taken = next.is_some();
            next
        });
        next.into_iter().for_each(|claimed| claimed.wake());
    }
}

/// Accepts a connection on a blocking listener that is not this descriptor's alone.
pub(super) fn accept_parking(symbol: Symbol, known: Known, peer: Peer, flags: c_int) -> isize {
    let fd = known.fd();
    // On anything else the kernel's call does not wait.
    if !kind::is_listener(fd) || !peer.is_valid() {
        return peer.accept(fd, flags);
    }
    let mut attempt = Attempt::new(symbol, known, Direction::Read);
    let until = attempt.deadline();
    let visit = Visit(Listener::of(kind::identity(fd)));
    if let Err(error) = visit.0.take_turn(until) {
        return error;
    }
    let turn = Turn(&visit.0);
    match accept_in_turn(symbol, turn.0, (&mut attempt, until), flags) {
        Ok(accepted) => peer.fill(accepted.answer, &accepted.address, accepted.len),
        Err(error) => error,
    }
}

fn accept_in_turn(
    symbol: Symbol,
    listener: &Listener,
    (attempt, until): (&mut Attempt, Option<Instant>),
    flags: c_int,
) -> Result<Accepted, isize> {
    let left = listener.state.with(|state, _| state.call.clone());
    let call = match left {
        Some(call) => call,
        None => {
            attempt.wait_ready()?;
            let call = Call::start(symbol, attempt.fd(), flags)?;
            listener.state.with(|state, _| state.call = Some(Arc::clone(&call)));
            call
        }
    };
    let must_wait = |done: &mut Option<Accepted>| done.is_none();
    match call.done.wait_if(How::new(Reason::Io, until), |done, _| must_wait(done)) {
        None | Some(Outcome::Notified) => {}
        Some(Outcome::TimedOut) => return Err(raw(libc::EAGAIN)),
        Some(Outcome::Cancelled) => return Err(cancelled()),
    }
    listener.state.with(|state, _| state.call = None);
    let accepted = call.done.with(|done, _| *done).ok_or(raw(libc::EAGAIN))?;
    if let (Ok(new @ 0..), true) = (c_int::try_from(accepted.answer), call.flags != flags) {
        set_flags(new, flags);
    }
    Ok(accepted)
}

/// Gives a new socket the flags that its owner asks for, rather than those of the one who began the call.
fn set_flags(fd: c_int, flags: c_int) {
    let close_on_exec = if flags & libc::SOCK_CLOEXEC != 0 { libc::FD_CLOEXEC } else { 0 };
    pass!(SYS_fcntl, fd, libc::F_SETFD, close_on_exec);
    let nonblocking = c_int::from(flags & libc::SOCK_NONBLOCK != 0);
    pass!(SYS_ioctl, fd, libc::FIONBIO, &raw const nonblocking);
}
