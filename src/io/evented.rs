//! A descriptor that waits by parking: try the system call, wait when it would block, try again.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

pub(crate) use crate::runtime::source::Direction;
use crate::runtime::source::Source;
use crate::runtime::{self, far};

/// Pauses of calls that nothing wakes.
const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// A non-blocking descriptor and its source.
///
/// The source is declared first: it leaves the reactor before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Evented<T: AsFd> {
    source: Source,
    pub(crate) inner: T,
    closed: AtomicBool,
    nonblocking: AtomicBool,
    /// A TCP socket that nobody else has had in hand: a short read means that it is empty.
    short_is_empty: AtomicBool,
    /// Nanoseconds, one for each direction; zero for none.
    timeouts: [AtomicU64; 2],
}

impl<T: AsFd> Evented<T> {
    /// Registers a descriptor that is non-blocking already.
    pub(crate) fn new(inner: T) -> io::Result<Self> {
        let source = Source::new(inner.as_fd().as_raw_fd())?;
        Ok(Self::with(source, inner))
    }

    /// Takes a descriptor over that is non-blocking already; it is registered when it first has to wait.
    pub(crate) fn adopt(inner: T) -> Self {
        let source = Source::unsettled(inner.as_fd().as_raw_fd());
        Self::with(source, inner)
    }

    fn with(source: Source, inner: T) -> Self {
        let flag = || AtomicBool::new(false);
        let timeouts = [AtomicU64::new(0), AtomicU64::new(0)];
        Self { source, inner, closed: flag(), nonblocking: flag(), short_is_empty: flag(), timeouts }
    }

    /// Says that the descriptor is a TCP socket, of the kernel's own making and in nobody else's hands.
    pub(crate) fn trust_short_reads(&self) {
        // Relaxed, here and below: a setting, made by whoever has the handle.
        self.short_is_empty.store(true, Ordering::Relaxed);
    }

    /// Says that somebody gets at the descriptor itself, and may read urgent data or put a layer on it.
    pub(crate) fn lend(&self) {
        if self.short_is_empty.load(Ordering::Relaxed) {
            self.short_is_empty.store(false, Ordering::Relaxed);
        }
    }

    /// Tells whether a short read means that the socket is empty.
    pub(crate) fn trusts_short_reads(&self) -> bool {
        self.short_is_empty.load(Ordering::Relaxed)
    }

    /// Runs `call` until it does not want to wait any more. `room` is the length of the buffer of a stream's read; see
    /// `runtime::source` for what a short one means. A cancellation point.
    #[inline]
    pub(crate) fn run<R: Moved>(
        &self,
        direction: Direction,
        room: Option<usize>,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let mut deadline = None;
        loop {
            if self.is_closed() {
                return Err(closed());
            }
            if let Some(seen) = self.source.ready(direction) {
                match call(&self.inner) {
                    Ok(result) => {
                        let moved = result.moved();
                        if room.is_some_and(|room| moved > 0 && moved < room) && self.trusts_short_reads() {
                            self.source.ran_short(seen);
                        }
                        return Ok(result);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.source.exhausted(direction, seen);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            // Relaxed: a setting.
            if self.nonblocking.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if deadline.is_none() {
                deadline = self.timeout(direction).map(far::after);
            }
            self.wait(direction, deadline)?;
        }
    }

    /// As [`run`](Self::run), for a call that may have to wait for something of which the kernel tells nobody:
    /// it is tried again after growing pauses. A cancellation point.
    pub(crate) fn run_paced<R>(
        &self,
        direction: Direction,
        mut call: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        let (mut pause, mut deadline) = (FIRST_PAUSE, None);
        loop {
            if self.is_closed() {
                return Err(closed());
            }
            match call(&self.inner) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Relaxed: a setting.
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && !self.nonblocking.load(Ordering::Relaxed) => {}
                other => return other,
            }
            if deadline.is_none() {
                deadline = self.timeout(direction).map(far::after);
            }
            let left = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(timed_out(direction));
            }
            runtime::sleep(left.map_or(pause, |left| left.min(pause)));
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Waits until the direction may be ready. A cancellation point.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        if self.source.wait(direction, deadline)? {
            return Ok(());
        }
        Err(timed_out(direction))
    }

    /// Says that the kernel has nothing for the direction now; the next wait waits for an event.
    pub(crate) fn expect_event(&self, direction: Direction, check: impl FnOnce() -> bool) -> bool {
        let seen = self.source.ready(direction);
        let done = check();
        if let (Some(seen), false) = (seen, done) {
            self.source.exhausted(direction, seen);
        }
        done
    }

    /// Ends all waits with an error, now and from now on.
    pub(crate) fn close(&self) {
        // Release: whoever is woken sees it.
        self.closed.store(true, Ordering::Release);
        self.source.wake_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) {
        // Relaxed: a setting.
        self.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    pub(crate) fn timeout(&self, direction: Direction) -> Option<Duration> {
        // Relaxed: a setting.
        let nanos = self.timeouts[direction as usize].load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    pub(crate) fn set_timeout(&self, direction: Direction, limit: Option<Duration>) -> io::Result<()> {
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a timeout of zero would never let anything happen; use None for no timeout",
            ));
        }
        let nanos = limit.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        // Relaxed: a setting.
        self.timeouts[direction as usize].store(nanos, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the descriptor out of the reactor.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }
}

/// How much a call has moved.
pub(crate) trait Moved {
    fn moved(&self) -> usize {
        0
    }
}

impl Moved for usize {
    #[inline]
    fn moved(&self) -> usize {
        *self
    }
}

impl<A, B> Moved for (A, B) {}

fn timed_out(direction: Direction) -> io::Error {
    let what = if direction == Direction::Read { "nothing came" } else { "nothing could be sent" };
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} before the timeout"))
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was closed while in use, by a call of close()")
}
