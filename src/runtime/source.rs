//! A source: one descriptor in a reactor, and who waits for it to become readable or writable.
//!
//! Each direction has a word, `tick << 3 | WAITED | UNSURE | DRY`:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | any | next tick, not `DRY`, not `WAITED` | the poller | an event |
//! | any | the same, `UNSURE` | the poller | the peer has hung up, or urgent data has come |
//! | the word before the call | same tick, `DRY` | a caller, by CAS | the kernel said that it would block |
//! | the word before the call, not `UNSURE` | same tick, `DRY` | a reader of TCP, by CAS | the read came up short |
//! | `DRY` | the same, `WAITED` | whoever is going to wait, with the list locked | before it is listed |
//!
//! The CAS makes an event that comes between the kernel's answer and the caller's conclusion win. While
//! the word is `DRY` nobody asks the kernel: a read after a short read waits at once.
//!
//! # When a short read means that the socket is empty
//! The rule holds for TCP alone. The kernel's `tcp_recvmsg_locked` (net/ipv4/tcp.c) copies from the receive queue until
//! the buffer is full or the queue is empty, with these exceptions:
//! * The end of the stream is read by a call of its own, and no edge tells of it after the last bytes. `EPOLLRDHUP` comes
//!   with that end, and sets `UNSURE`.
//! * A read stops at TCP's urgent mark. `EPOLLPRI` comes with the urgent byte, and sets `UNSURE`. If the byte was read
//!   (`MSG_OOB`) before the poller saw it, the event lacks `EPOLLPRI` but the mark is still there. So the first such
//!   read ends all conclusions: [`doubt_short_reads`].
//! * A layer on the socket (`TCP_ULP`, kTLS) reads by records. So does the first one of the process end them.
//!
//! An event that the poller has not taken yet clears `DRY` when it does, so what came before the read is covered.
//!
//! Elsewhere a short read means nothing. A Unix stream's read stops after a message with descriptors, at a change of
//! credentials and at the urgent mark (`unix_stream_read_generic`); SCTP's and datagrams' after a message; MPTCP's when
//! its subflows have more that was not moved. A short write may be short of memory rather than of space, and then no
//! event follows. epoll(7) promises more than that in its question 9, but for streams of plain bytes.
//!
//! Waiters set `WAITED` and are listed under one hold of a lock; the poller changes the word first, and takes
//! the lock only if `WAITED` was set. So either it finds the waiter, or the waiter finds that it is not `DRY`.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use super::park::{Claimed, Outcome, Reason, Waiter, park, raise_cancelled};
use super::reactor::{self, Reactor};
use crate::base::lock::Lock;

const DRY: u32 = 1;
/// A short read is no sign that the direction is empty.
const UNSURE: u32 = 2;
/// Somebody may be in the list. Set only together with `DRY`.
const WAITED: u32 = 4;
const TICK: u32 = 8;

/// The process does what the events of a TCP socket do not tell of: see the head of the file.
static DOUBTED: AtomicBool = AtomicBool::new(false);

/// Ends all conclusions from short reads: urgent data is about to be read, or a layer put on a socket.
#[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "the replaced functions see it"))]
#[cold]
pub(crate) fn doubt_short_reads() {
    // Relaxed: a setting, which the calling thread has made before it acts on the socket.
    DOUBTED.store(true, Ordering::Relaxed);
}

/// A way in which a descriptor can be ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read = 0,
    Write = 1,
}

/// The word as it was before a system call; see [`Source::exhausted`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u32);

#[derive(Debug)]
struct Lane {
    word: AtomicU32,
    waiters: Lock<Vec<Waiter>>,
}

impl Lane {
    /// Lists a waiter, unless the direction may be ready.
    fn enlist(&self, waiter: impl FnOnce() -> Waiter) -> Option<Waiter> {
        let mut waiters = self.waiters.lock();
        let announce = |word: u32| (word & DRY != 0).then_some(word | WAITED);
        // Release pairs with the Acquire of an event; Acquire on failure: as in `ready`.
        self.word.fetch_update(Ordering::Release, Ordering::Acquire, announce).ok()?;
        let waiter = waiter();
        waiters.push(waiter);
        Some(waiter)
    }

    fn event(&self, unsure: bool, woken: &mut impl FnMut(Claimed)) {
        let sticky = if unsure { UNSURE } else { 0 };
        let next = |word: u32| Some((word & !(DRY | WAITED)).wrapping_add(TICK) | sticky);
        // Release: pairs with the Acquire of whoever looks; what the kernel has is the kernel's to order.
        // Acquire: `WAITED` comes from whoever holds the lock now, or has held it.
        let before = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
        if before.is_ok_and(|word| word & WAITED == 0) {
            return;
        }
        let mut waiters = self.waiters.lock();
        for waiter in waiters.drain(..) {
            // SAFETY: a waiter takes itself out under this lock before it returns, so it is alive.
            if let Some(claimed) = unsafe { waiter.claim() } {
                woken(claimed);
            }
        }
    }
}

/// What the poller and the users of a descriptor share.
#[derive(Debug)]
pub(crate) struct Readiness {
    lanes: [Lane; 2],
    /// There is no reactor, or it has ended; the next wait finds one.
    orphaned: AtomicBool,
}

impl Readiness {
    /// Says that the reactor has ended, and wakes everybody, to find another.
    pub(super) fn orphan(&self) {
        // Release: whoever is woken sees it.
        self.orphaned.store(true, Ordering::Release);
        self.event(libc::EPOLLIN | libc::EPOLLOUT, &mut Claimed::wake);
    }

    /// Takes in what epoll says, and wakes who waits for it.
    pub(super) fn event(&self, events: i32, woken: &mut impl FnMut(Claimed)) {
        let dead = events & (libc::EPOLLHUP | libc::EPOLLERR) != 0;
        let unsure = dead || events & (libc::EPOLLRDHUP | libc::EPOLLPRI) != 0;
        if events & libc::EPOLLIN != 0 || unsure {
            self.lanes[0].event(unsure, woken);
        }
        if events & libc::EPOLLOUT != 0 || dead {
            self.lanes[1].event(dead, woken);
        }
    }
}

/// A descriptor registered with a reactor.
#[derive(Debug)]
pub(crate) struct Source {
    fd: RawFd,
    readiness: Arc<Readiness>,
    /// `None` until the first wait of one that was made without a reactor.
    home: Lock<Option<(Arc<Reactor>, u32)>>,
}

impl Source {
    pub(super) fn with(reactor: Arc<Reactor>, fd: RawFd) -> io::Result<Self> {
        let source = Self::unsettled(fd);
        *source.home.lock() = Some(settle(reactor, fd, &source.readiness)?);
        // Relaxed: nobody else has it yet.
        source.readiness.orphaned.store(false, Ordering::Relaxed);
        Ok(source)
    }

    /// A source that finds its reactor at its first wait.
    pub(crate) fn unsettled(fd: RawFd) -> Self {
        let lane = || Lane { word: AtomicU32::new(0), waiters: Lock::new(Vec::new()) };
        let readiness = Arc::new(Readiness { lanes: [lane(), lane()], orphaned: AtomicBool::new(true) });
        Self { fd, readiness, home: Lock::new(None) }
    }

    /// The word before a system call, or `None` if the kernel is known to have nothing.
    #[inline]
    pub(crate) fn ready(&self, direction: Direction) -> Option<Seen> {
        // Acquire pairs with the Release of an event.
        let word = self.readiness.lanes[direction as usize].word.load(Ordering::Acquire);
        (word & DRY == 0).then_some(Seen(word))
    }

    /// Says that the kernel would have blocked after the word was `seen`.
    #[inline]
    pub(crate) fn exhausted(&self, direction: Direction, seen: Seen) {
        let word = &self.lane(direction).word;
        // Relaxed: nothing rides on it; if an event has come since, the CAS fails, as it should.
        let _ = word.compare_exchange(seen.0, seen.0 | DRY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Says that a read of plain TCP came up short after the word was `seen`. The head of the file has the exceptions.
    #[inline]
    pub(crate) fn ran_short(&self, seen: Seen) {
        // Relaxed: a setting. Whoever set it did so before the data that it is about was read.
        if seen.0 & UNSURE == 0 && !DOUBTED.load(Ordering::Relaxed) {
            self.exhausted(Direction::Read, seen);
        }
    }

    /// Tells whether a reactor tells of its events.
    #[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "numbers that change owners need it"))]
    pub(crate) fn is_registered(&self) -> bool {
        // Relaxed: whoever registers it meanwhile has looked at the same descriptor.
        !self.readiness.orphaned.load(Ordering::Relaxed)
    }

    /// Tells whether a short read of the direction says nothing: the stream has ended, or urgent data has come.
    #[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "reads that go on need it"))]
    pub(crate) fn is_unsure(&self, direction: Direction) -> bool {
        // Acquire: as in `ready`. Relaxed: as in `ran_short`.
        self.lane(direction).word.load(Ordering::Acquire) & UNSURE != 0 || DOUBTED.load(Ordering::Relaxed)
    }

    /// Waits until the direction may be ready. A cancellation point.
    ///
    /// Returns false if the deadline came first.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<bool> {
        match self.wait_quietly(direction, deadline)? {
            Outcome::Cancelled => raise_cancelled(),
            outcome => Ok(outcome == Outcome::Notified),
        }
    }

    /// As [`wait`](Self::wait), but tells of a cancellation instead of unwinding.
    pub(crate) fn wait_quietly(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> io::Result<Outcome> {
        self.stay_registered()?;
        let Some(waiter) = self.lane(direction).enlist(Waiter::open) else { return Ok(Outcome::Notified) };
        let outcome = park(waiter, Reason::Io, self.fd.cast_unsigned() as usize, deadline);
        if outcome != Outcome::Notified {
            self.delist(direction, waiter);
        }
        Ok(outcome)
    }

    /// Lists a wait that the caller has opened, to be ended by the next event; false if the direction may be
    /// ready already. Whoever lists it calls [`delist`](Self::delist) before it goes on.
    #[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "poll and select need it"))]
    pub(crate) fn enlist(&self, direction: Direction, waiter: Waiter) -> io::Result<bool> {
        self.stay_registered()?;
        Ok(self.lane(direction).enlist(|| waiter).is_some())
    }

    /// Takes a wait off the list again, if it is still there.
    pub(crate) fn delist(&self, direction: Direction, waiter: Waiter) {
        self.lane(direction).waiters.lock().retain(|other| *other != waiter);
    }

    /// Leaves the reactor, because the descriptor is about to be closed; whoever waits is woken.
    #[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "native sockets leave when dropped"))]
    pub(crate) fn leave(&self) {
        let mut home = self.home.lock();
        if let Some((reactor, key)) = home.take() {
            reactor.deregister(self.fd, key);
        }
        // Release: as in `orphan`. Under the lock, so that whoever settles anew comes before it or sees it.
        self.readiness.orphaned.store(true, Ordering::Release);
        drop(home);
        for lane in &self.readiness.lanes {
            // Relaxed: an event of the descriptor that goes, if it comes late, costs the next one a look.
            lane.word.fetch_and(!UNSURE, Ordering::Relaxed);
            lane.event(false, &mut Claimed::wake);
        }
    }

    fn lane(&self, direction: Direction) -> &Lane {
        &self.readiness.lanes[direction as usize]
    }

    /// Wakes everybody who waits, in both directions; they look again, and find what has changed.
    pub(crate) fn wake_all(&self) {
        for lane in &self.readiness.lanes {
            lane.event(true, &mut Claimed::wake);
        }
    }

    /// Moves to a living reactor if this one's runtime has ended.
    fn stay_registered(&self) -> io::Result<()> {
        // Acquire pairs with the Release in `orphan`.
        if !self.readiness.orphaned.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut home = self.home.lock();
        // AcqRel: reads what the last `orphan` has written, so that `is_closed` is as new as that.
        self.readiness.orphaned.swap(false, Ordering::AcqRel);
        if home.as_ref().is_none_or(|home| home.0.is_closed()) {
            match settle(reactor::current(), self.fd, &self.readiness) {
                Ok(settled) => *home = Some(settled),
                Err(error) => {
                    // Release: as in `orphan`.
                    self.readiness.orphaned.store(true, Ordering::Release);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Waits until one of the directions may be ready. A cancellation point.
///
/// Returns false if the deadline came first.
pub(crate) fn wait_any(wanted: &[(&Source, Direction)], deadline: Option<Instant>) -> io::Result<bool> {
    wanted.iter().try_for_each(|(source, _)| source.stay_registered())?;
    let waiter = Waiter::open();
    let list =
        |(source, direction): &(&Source, Direction)| source.lane(*direction).enlist(|| waiter).is_some();
    let all_dry = wanted.iter().all(list);
    let outcome = if !all_dry && waiter.retract() {
        Outcome::Notified
    } else {
        park(waiter, Reason::Io, wanted.first().map_or(0, |(source, _)| source.fd as usize), deadline)
    };
    // Out of every list before this returns, under its lock: whoever finds a waiter there finds it alive.
    for (source, direction) in wanted {
        source.lane(*direction).waiters.lock().retain(|other| *other != waiter);
    }
    if outcome == Outcome::Cancelled {
        raise_cancelled();
    }
    Ok(outcome == Outcome::Notified)
}

fn settle(
    mut reactor: Arc<Reactor>,
    fd: RawFd,
    readiness: &Arc<Readiness>,
) -> io::Result<(Arc<Reactor>, u32)> {
    loop {
        if let Some(key) = reactor.register(fd, readiness)? {
            return Ok((reactor, key));
        }
        // The caller's own worker is ending: the global runtime never does.
        reactor = reactor::of_global();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some((reactor, key)) = &*self.home.lock() {
            reactor.deregister(self.fd, *key);
        }
    }
}
