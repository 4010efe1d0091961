//! A reactor: one epoll instance, one worker that polls it, and the sources registered with it.
//!
//! Edge-triggered: each descriptor is registered once, for both directions. See `source` for what an
//! event does.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use slab::Slab;

use super::park::Claimed;
use super::source::{Readiness, Source};
use crate::base::lock::Lock;
use crate::sys::blocked::Call;
use crate::sys::epoll::{self, Event};

/// Key of the eventfd that wakes the poller.
const NOTIFY: u64 = u64::MAX;
/// Events taken from the kernel at once.
const BATCH: usize = 128;

#[derive(Debug)]
pub(crate) struct Reactor {
    epoll: OwnedFd,
    eventfd: OwnedFd,
    sources: Lock<Slab<(u32, Arc<Readiness>)>>,
    /// How many sources there are, so that a worker without any makes no kernel call.
    count: AtomicUsize,
    /// Tells a source registered anew at the same key from the one before.
    generation: AtomicUsize,
    closed: AtomicBool,
}

impl Reactor {
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        let (epoll, eventfd) = (epoll::create()?, epoll::eventfd()?);
        epoll::add(&epoll, eventfd.as_raw_fd(), libc::EPOLLIN, NOTIFY)?;
        Ok(Arc::new(Self {
            epoll,
            eventfd,
            sources: Lock::new(Slab::new()),
            count: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }))
    }

    /// Waits for events, at most `timeout` (`None`: until one comes), and gives `woken` every party
    /// whose wait an event has ended. Called by the worker that polls.
    pub(crate) fn poll(&self, timeout: Option<Duration>, mut woken: impl FnMut(Claimed)) -> io::Result<()> {
        let mut buffer = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let events = epoll::wait(&self.epoll, &mut buffer, timeout)?;
        if events.is_empty() {
            return Ok(());
        }
        // One hold for all: what is done under it is a store or a CAS a waiter, and a wake of this worker's.
        let sources = self.sources.lock();
        for event in events {
            let (events, key) = (event.events.cast_signed(), event.u64);
            // The eventfd is edge-triggered too: each write is an event, and nobody need read it.
            if key == NOTIFY {
                continue;
            }
            let found = sources.get(key as u32 as usize);
            if let Some((generation, readiness)) = found
                && u64::from(*generation) == key >> 32
            {
                readiness.event(events, &mut woken);
            }
        }
        Ok(())
    }

    /// Tells whether a call that waits is the one of `poll`.
    pub(super) fn is_polled_by(&self, call: &Call) -> bool {
        // `wait` and `wait_millis` of `sys::epoll` use these two.
        matches!(call.number, libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2)
            && u64::try_from(self.epoll.as_raw_fd()).is_ok_and(|fd| fd == call.args[0])
    }

    /// Makes `poll` return, now or the next time. From any thread; one kernel call.
    pub(crate) fn notify(&self) {
        epoll::signal(&self.eventfd);
    }

    /// Tells whether events of descriptors may come.
    #[inline]
    pub(crate) fn has_sources(&self) -> bool {
        // Relaxed: a source registered just now is seen at the next look.
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Registers a descriptor; the key deregisters it. `None` if the reactor has ended.
    pub(super) fn register(&self, fd: RawFd, readiness: &Arc<Readiness>) -> io::Result<Option<u32>> {
        // Relaxed: only the difference from others at the same key matters.
        let generation = self.generation.fetch_add(1, Ordering::Relaxed) as u32 & 0x7fff_ffff;
        let mut sources = self.sources.lock();
        // Relaxed: written under the lock.
        if self.closed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let key = sources.insert((generation, Arc::clone(readiness)));
        let number = u32::try_from(key).map_err(|_| io::Error::other("too many sources in one reactor"))?;
        // Urgent data is something to read, too: `poll` may ask for it.
        let interest = libc::EPOLLIN | libc::EPOLLPRI | libc::EPOLLOUT | libc::EPOLLRDHUP;
        let tag = u64::from(generation) << 32 | u64::from(number);
        if let Err(error) = epoll::add(&self.epoll, fd, interest, tag) {
            sources.remove(key);
            return Err(error);
        }
        // Relaxed: see `has_sources`.
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Some(number))
    }

    /// Takes a descriptor out. Called before it is closed.
    pub(super) fn deregister(&self, fd: RawFd, key: u32) {
        epoll::remove(&self.epoll, fd);
        let gone = self.sources.lock().try_remove(key as usize);
        if gone.is_some() {
            // Relaxed: see `has_sources`.
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Ends the reactor: every waiter is woken, and its source moves to another reactor.
    pub(crate) fn shutdown(&self) {
        let sources = {
            let mut sources = self.sources.lock();
            // Relaxed: read under the lock.
            self.closed.store(true, Ordering::Relaxed);
            core::mem::take(&mut *sources)
        };
        for (_, (_, readiness)) in sources {
            readiness.orphan();
        }
    }

    /// Tells whether [`shutdown`](Self::shutdown) has been called.
    pub(super) fn is_closed(&self) -> bool {
        // Relaxed: whoever was woken by `shutdown` sees it through the locks in between.
        self.closed.load(Ordering::Relaxed)
    }
}

/// The reactor that a source made now belongs to: the caller's worker's, or one of the global runtime.
pub(crate) fn current() -> Arc<Reactor> {
    match super::worker::current() {
        Some(worker) => Arc::clone(&worker.reactor),
        None => of_global(),
    }
}

/// A reactor of the global runtime, which never ends.
pub(super) fn of_global() -> Arc<Reactor> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let workers = super::global::global().core.workers();
    // Relaxed: only a rough spread over the workers matters.
    let worker = &workers[NEXT.fetch_add(1, Ordering::Relaxed) % workers.len()];
    Arc::clone(&worker.reactor)
}

impl Source {
    /// Registers a descriptor with the caller's reactor.
    pub(crate) fn new(fd: RawFd) -> io::Result<Self> {
        Self::with(current(), fd)
    }
}
