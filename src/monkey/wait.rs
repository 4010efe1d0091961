//! Waiting for a descriptor: try, conclude, wait, try again.
//!
//! Errors are the kernel's numbers, negated, as everywhere behind the hooks.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::io;
use std::time::Instant;

use super::errno::raw;
use super::hook::pass;
use super::kind;
use super::slot::{FLAGS_KNOWN, FORCED, Kind, Known, LOW_WATER, NO_TIMEOUT, NONBLOCKING, SOLE};
use super::symbols::Symbol;
use super::time::wait as sleep;
use crate::runtime::cancel;
use crate::runtime::far;
use crate::runtime::park::Outcome;
pub(super) use crate::runtime::source::Direction;

const WOULD_BLOCK: isize = -(libc::EAGAIN as isize);

/// Pauses of a datagram whose receiver is full.
const FIRST_PAUSE: Duration = Duration::from_micros(250);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// Tells whether the user wants calls to fail rather than to wait. Asks the kernel unless the descriptor is known to block:
/// one that was closed and made anew by code that does not call libc would otherwise fail for ever, while one that waits is
/// looked at in `wait`.
pub(super) fn is_nonblocking(known: Known) -> Result<bool, isize> {
    let flags = known.flags();
    if flags & FORCED != 0 {
        return Ok(false);
    }
    if flags & FLAGS_KNOWN != 0 && flags & NONBLOCKING == 0 {
        return Ok(false);
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

/// How many bytes a read of `total` waits for, beyond the first: with `MSG_WAITALL` all of them, else what `SO_RCVLOWAT`
/// says. 0 where the first that come are enough. For streams only.
pub(super) fn enough(known: Known, all: bool, total: usize) -> usize {
    if !all && !may_have_low_water(known) || !known.kind().is_stream_socket() {
        return 0;
    }
    if all { total } else { kind::low_water(known.fd()).min(total) }
}

/// Tells whether `SO_RCVLOWAT` may be more than 1.
#[inline]
fn may_have_low_water(known: Known) -> bool {
    let flags = known.flags();
    // Relaxed: a setting.
    flags & LOW_WATER != 0 || flags & SOLE == 0 && SHARED_LOW_WATER.load(Ordering::Relaxed)
}

/// `SO_RCVLOWAT` was set for a socket that other descriptors may stand for as well.
static SHARED_LOW_WATER: AtomicBool = AtomicBool::new(false);

/// Notes that `SO_RCVLOWAT` was set.
pub(super) fn note_low_water(known: Known) {
    let is_set = kind::low_water(known.fd()) > 1;
    known.update(LOW_WATER, if is_set { LOW_WATER } else { 0 });
    if is_set && known.flags() & SOLE == 0 {
        // Relaxed: a setting.
        SHARED_LOW_WATER.store(true, Ordering::Relaxed);
    }
}

/// Tells whether the next byte to be read is the urgent one, or the one after it.
fn is_at_mark(fd: libc::c_int) -> bool {
    const SIOCATMARK: libc::c_int = 0x8905;
    let mut at: libc::c_int = 0;
    pass!(SYS_ioctl, fd, SIOCATMARK, &raw mut at) == 0 && at != 0
}

/// A call that may wait, and until when.
pub(super) struct Attempt {
    symbol: Symbol,
    known: Known,
    direction: Direction,
    /// Set when it first waits.
    deadline: Option<Option<Instant>>,
    /// The next pause of a call that no event ends.
    pause: Duration,
}

impl Attempt {
    pub(super) fn new(symbol: Symbol, known: Known, direction: Direction) -> Self {
        Self { symbol, known, direction, deadline: None, pause: FIRST_PAUSE }
    }

    /// One with a deadline of the call's own.
    pub(super) fn until(
        symbol: Symbol,
        known: Known,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> Self {
        Self { symbol, known, direction, deadline: Some(deadline), pause: FIRST_PAUSE }
    }

    /// Repeats `call`, which never waits, until it says something other than that it would block.
    ///
    /// `room` is the length of a read of plain TCP: one that moves less has emptied the kernel's side, but for the
    /// exceptions in `runtime::source`.
    ///
    /// A datagram may find its receiver full although this socket can be written to: no event tells of room there, so
    /// the call is made again after pauses.
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
                        source.ran_short(seen);
                    }
                    return answer;
                }
                if !self.is_held_up_elsewhere() {
                    source.exhausted(self.direction, seen);
                }
            }
            match is_nonblocking(self.known) {
                Err(error) => return error,
                // Asked once more: the user polls, and what was known may be old.
                Ok(true) => return call(),
                Ok(false) => {}
            }
            let waited = if source.ready(self.direction).is_some() { self.pause() } else { self.wait() };
            if let Err(error) = waited {
                return error;
            }
        }
    }

    /// As [`run`](Self::run), for what comes after a part: 0 at the urgent mark, where the kernel's own call stops.
    pub(super) fn run_on(&mut self, room: Option<usize>, mut call: impl FnMut() -> isize) -> isize {
        let (known, direction) = (self.known, self.direction);
        let stops = || {
            direction == Direction::Read && known.slot.source.is_unsure(direction) && is_at_mark(known.fd())
        };
        self.run(room, || if stops() { 0 } else { call() })
    }

    /// Waits until the connection is there that the first data was to begin (`MSG_FASTOPEN`, `TCP_FASTOPEN_CONNECT`), if
    /// that is what `answer` says, and sends again.
    pub(super) fn finish_connect(&mut self, answer: isize, call: impl FnMut() -> isize) -> isize {
        if answer != raw(libc::EINPROGRESS) || is_nonblocking(self.known) != Ok(false) {
            return answer;
        }
        match self.wait_ready() {
            Ok(()) => self.run(None, call),
            // The socket's timeout: the kernel says that it still tries.
            Err(error) if error == WOULD_BLOCK => answer,
            Err(error) => error,
        }
    }

    /// Tells whether a send would block although the socket itself can be written to.
    fn is_held_up_elsewhere(&self) -> bool {
        self.direction == Direction::Write
            && self.known.kind() == Kind::Messages
            && poll_now(self.known.fd(), Direction::Write) > 0
    }

    /// Waits for a pause, which grows, or for the socket's timeout.
    fn pause(&mut self) -> Result<(), isize> {
        // An event has come since: there is no need to wait.
        if !self.is_held_up_elsewhere() {
            return Ok(());
        }
        let left = self.deadline().map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(WOULD_BLOCK);
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        sleep(self.symbol, left.map_or(pause, |left| left.min(pause))).map_err(|_| raw(libc::ECANCELED))
    }

    pub(super) fn fd(&self) -> libc::c_int {
        self.known.fd()
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
        let deadline = self.deadline();
        wait(self.symbol, self.known, self.direction, deadline)
    }

    /// When the call is over: by the socket's timeout, or the call's own limit.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        match self.deadline {
            Some(deadline) => deadline,
            None => *self.deadline.insert(timeout(self.known, self.direction).map(far::after)),
        }
    }
}

/// Waits until the direction may be ready.
pub(super) fn wait(
    symbol: Symbol,
    known: Known,
    direction: Direction,
    deadline: Option<Instant>,
) -> Result<(), isize> {
    let checks_later = !check_identity(known);
    symbol.count_park();
    let look = checks_later
        .then(|| Instant::now() + CHECK_AFTER)
        .filter(|look| deadline.is_none_or(|end| *look < end));
    let mut ended = known.slot.source.wait_quietly(direction, look.or(deadline));
    if look.is_some() && matches!(ended, Ok(Outcome::TimedOut)) {
        if check_identity_later(known) {
            return Ok(());
        }
        ended = known.slot.source.wait_quietly(direction, deadline);
    }
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

/// How long a wait lasts before a descriptor that was made by a replaced function is looked at.
pub(super) const CHECK_AFTER: Duration = Duration::from_millis(10);

/// Registers anew if the number stands for another thing than the one that was registered: it was closed, and another
/// made, by code that does not call libc. False if that is to be looked at later: a descriptor that was made by a
/// replaced function is hardly ever closed by other means, and most waits are short.
pub(super) fn check_identity(known: Known) -> bool {
    if known.flags() & SOLE != 0 {
        if !known.slot.source.is_registered() {
            // Relaxed, here and below: compared only; two that come at the same time both register anew.
            known.slot.identity.store(kind::identity(known.fd()), Ordering::Relaxed);
        }
        return false;
    }
    let now = kind::identity(known.fd());
    let before = known.slot.identity.swap(now, Ordering::Relaxed);
    if before != now {
        forget(known, before);
    }
    true
}

/// As [`check_identity`], for a descriptor that was made by a replaced function; true if it stands for another thing now.
pub(super) fn check_identity_later(known: Known) -> bool {
    let now = kind::identity(known.fd());
    let before = known.slot.identity.swap(now, Ordering::Relaxed);
    if before != now {
        forget(known, before);
    }
    before != now
}

/// Leaves the reactor, and forgets what was known of another owner of the number.
fn forget(known: Known, before: u64) {
    if before != 0 {
        known.update(u64::from(u32::MAX), 0);
    }
    known.slot.source.leave();
}
