//! Waiting for a descriptor: try, conclude, wait, try again.
//!
//! Errors are the kernel's numbers, negated, as everywhere behind the hooks.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::io;
use std::time::Instant;

use super::errno::raw;
use super::hook::pass;
use super::kind;
use super::slot::{FLAGS_KNOWN, FORCED, Known, NO_TIMEOUT, NONBLOCKING, SOLE};
use super::symbols::Symbol;
use crate::runtime::cancel;
use crate::runtime::far;
use crate::runtime::park::Outcome;
pub(super) use crate::runtime::source::Direction;

const WOULD_BLOCK: isize = -(libc::EAGAIN as isize);

/// Tells whether the user wants calls to fail rather than to wait. Asks the kernel unless that is known.
pub(super) fn is_nonblocking(known: Known) -> Result<bool, isize> {
    let flags = known.flags();
    if flags & FORCED != 0 {
        return Ok(false);
    }
    if flags & FLAGS_KNOWN != 0 {
        return Ok(flags & NONBLOCKING != 0);
    }
    let answer = pass!(SYS_fcntl, known.fd(), libc::F_GETFL);
    if answer < 0 {
        return Err(answer);
    }
    let nonblocking = answer as i32 & libc::O_NONBLOCK != 0;
    if flags & SOLE != 0 {
        known.update(NONBLOCKING, FLAGS_KNOWN | if nonblocking { NONBLOCKING } else { 0 });
    }
    Ok(nonblocking)
}

/// Tells whether the descriptor was opened for a direction. If not, it is never ready, and the kernel's call says so.
pub(super) fn is_open_for(known: Known, direction: Direction) -> bool {
    let flags = pass!(SYS_fcntl, known.fd(), libc::F_GETFL);
    let only = if direction == Direction::Read { libc::O_RDONLY } else { libc::O_WRONLY };
    flags < 0 || [only, libc::O_RDWR].contains(&(flags as i32 & libc::O_ACCMODE))
}

/// The socket's timeout for a direction, if it has one.
pub(super) fn timeout(known: Known, direction: Direction) -> Option<Duration> {
    let none = NO_TIMEOUT[direction as usize];
    if known.flags() & none != 0 || !known.kind().is_socket() {
        return None;
    }
    let name = if direction == Direction::Read { libc::SO_RCVTIMEO } else { libc::SO_SNDTIMEO };
    let mut value = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut len = size_of::<libc::timeval>() as libc::socklen_t;
    let answer = pass!(SYS_getsockopt, known.fd(), libc::SOL_SOCKET, name, &raw mut value, &raw mut len);
    let micros = u64::try_from(value.tv_usec).unwrap_or(0);
    let limit = Duration::from_secs(u64::try_from(value.tv_sec).unwrap_or(0)) + Duration::from_micros(micros);
    if answer == 0 && !limit.is_zero() {
        return Some(limit);
    }
    if known.flags() & SOLE != 0 {
        known.update(0, none);
    }
    None
}

/// A call that may wait, and until when.
pub(super) struct Attempt {
    symbol: Symbol,
    known: Known,
    direction: Direction,
    /// Set when it first waits.
    deadline: Option<Option<Instant>>,
}

impl Attempt {
    pub(super) fn new(symbol: Symbol, known: Known, direction: Direction) -> Self {
        Self { symbol, known, direction, deadline: None }
    }

    /// One with a deadline of the call's own.
    pub(super) fn until(
        symbol: Symbol,
        known: Known,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> Self {
        Self { symbol, known, direction, deadline: Some(deadline) }
    }

    /// Repeats `call`, which never waits, until it says something other than that it would block.
    ///
    /// `room` is how much a stream could move at most; a call that moves less has emptied (or filled) the kernel's
    /// side, if that is how the descriptor is.
    #[inline]
    pub(super) fn run(&mut self, room: Option<usize>, mut call: impl FnMut() -> isize) -> isize {
        let source = &self.known.slot.source;
        loop {
            if !self.known.is_current() {
                return raw(libc::EBADF);
            }
            if let Some(seen) = source.ready(self.direction) {
                let answer = call();
                if answer != WOULD_BLOCK {
                    if room.is_some_and(|room| answer > 0 && answer.unsigned_abs() < room) {
                        source.ran_short(self.direction, seen);
                    }
                    return answer;
                }
                source.exhausted(self.direction, seen);
            }
            match is_nonblocking(self.known) {
                Err(error) => return error,
                // Asked once more: the user polls, and what was known may be old.
                Ok(true) => return call(),
                Ok(false) => {}
            }
            if let Err(error) = self.wait() {
                return error;
            }
        }
    }

    /// Waits until poll says that the direction is ready.
    pub(super) fn wait_ready(&mut self) -> Result<(), isize> {
        let source = &self.known.slot.source;
        loop {
            if !self.known.is_current() {
                return Err(raw(libc::EBADF));
            }
            if let Some(seen) = source.ready(self.direction) {
                match poll_now(self.known.fd(), self.direction) {
                    0 => source.exhausted(self.direction, seen),
                    answer if answer < 0 => return Err(answer),
                    _ => return Ok(()),
                }
            }
            self.wait()?;
        }
    }

    /// Waits for the next event of the direction, or for the socket's timeout.
    pub(super) fn wait(&mut self) -> Result<(), isize> {
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => *self.deadline.insert(timeout(self.known, self.direction).map(far::after)),
        };
        wait(self.symbol, self.known, self.direction, deadline)
    }
}

/// Waits until the direction may be ready.
pub(super) fn wait(
    symbol: Symbol,
    known: Known,
    direction: Direction,
    deadline: Option<Instant>,
) -> Result<(), isize> {
    check_identity(known);
    symbol.count_park();
    let ended = known.slot.source.wait_quietly(direction, deadline);
    if !known.is_current() {
        return Err(raw(libc::EBADF));
    }
    match ended {
        Ok(Outcome::Notified) => Ok(()),
        Ok(Outcome::TimedOut) => Err(WOULD_BLOCK),
        Ok(Outcome::Cancelled) => Err(cancelled()),
        Err(error) => Err(number(&error)),
    }
}

/// The answer of a call whose wait was cancelled.
pub(super) fn cancelled() -> isize {
    cancel::tell();
    raw(libc::ECANCELED)
}

/// Tells whether a direction is ready now, an error included.
fn poll_now(fd: libc::c_int, direction: Direction) -> isize {
    let events = if direction == Direction::Read { libc::POLLIN } else { libc::POLLOUT };
    let mut place = libc::pollfd { fd, events, revents: 0 };
    let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let no_mask = core::ptr::null::<libc::sigset_t>();
    pass!(SYS_ppoll, &raw mut place, 1usize, &raw const no_time, no_mask, 8usize)
}

/// The error number behind an error of the reactor.
pub(super) fn number(error: &io::Error) -> isize {
    raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Registers anew if the number stands for another thing than the one that was registered: it was closed, and another
/// made, by code that does not call libc.
pub(super) fn check_identity(known: Known) {
    if known.flags() & SOLE != 0 {
        return;
    }
    let now = kind::identity(known.fd());
    // Relaxed: compared only; two that come at the same time both register anew.
    if known.slot.identity.swap(now, Ordering::Relaxed) != now {
        known.slot.source.leave();
    }
}
