//! A queue of bytes: the shared object, and how long to wait.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::body::Body;
use super::cursor::{MOST_BYTES, MOST_MESSAGES};
use super::wires::Wires;
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::runtime;
use crate::shm::lock::Held;
use crate::shm::object::{Body as _, Object};
use crate::sys::shared;

/// Looks again before sleeping, on a plain thread: some microseconds together, less than a wake from another
/// process costs.
const LOOKS: usize = 12;
/// Pauses between two looks: long enough for several messages to come, so that the two sides do not pull the
/// same cache line to and fro for each of them. (Streams of 64 bytes.)
const PAUSES: u32 = 24;
/// Bytes that are copied between two looks. For a long message the other side needs as long as the copy, which is
/// less than a sleep and a wake: a stream of a mebibyte each got 0.5 of the speed of a copy without these looks,
/// and 0.9 with them.
const BYTES_A_LOOK: usize = 6 * 1024;
/// Looks of one wait at most: the copy of a mebibyte.
const MOST_LOOKS: usize = 180;
/// How long what never waits waits for a lock that is held for the length of one copy: longer only if its
/// holder is stopped.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// Not for a message or for room.
    Try,
    /// Until then, or for ever.
    Until(Option<Instant>),
}

impl Limit {
    #[inline]
    pub(super) fn is_try(self) -> bool {
        matches!(self, Self::Try)
    }

    #[inline]
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Try => None,
            Self::Until(deadline) => deadline,
        }
    }

    /// Until when to wait for a lock.
    fn for_lock(self) -> Option<Instant> {
        match self {
            Self::Try => Some(Instant::now() + PATIENCE),
            Self::Until(deadline) => deadline,
        }
    }
}

#[derive(Debug)]
pub(in crate::process) struct Core {
    pub(super) object: Arc<Object<Body>>,
    /// Messages; checked once, when the queue was mapped.
    pub(super) capacity: usize,
    pub(super) wires: Wires,
    /// Bytes of the message that this process got last: a hint how long the next one takes.
    pub(super) latest: Latest,
}

/// On a cache line of its own: it is written.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Latest(AtomicUsize);

impl Latest {
    #[inline]
    pub(super) fn note(&self, len: usize) {
        // Relaxed, here and below: a hint.
        if self.0.load(Ordering::Relaxed) != len {
            self.0.store(len, Ordering::Relaxed);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Core {
    pub(super) fn create(capacity: usize, bytes: usize) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        if capacity == 0 || capacity > MOST_MESSAGES {
            let text = format!("a queue holds 1 to {MOST_MESSAGES} messages, not {capacity}");
            return Err(invalid(text));
        }
        if bytes > MOST_BYTES {
            return Err(invalid(format!("a queue's ring has at most {MOST_BYTES} bytes, not {bytes}")));
        }
        let ring = bytes.max(shared::page_len()).next_power_of_two();
        let wires = Wires::new()?;
        let begin = |body: &Body| {
            body.capacity.store(capacity as u64, Ordering::Relaxed);
            for (word, number) in body.wires.iter().zip(wires.numbers()) {
                word.store(number, Ordering::Relaxed);
            }
        };
        Self::with(Object::create(ring, begin)?, wires)
    }

    /// Maps the queue that a descriptor is of, and whose wires the others are.
    pub(super) fn open(file: OwnedFd, putters: OwnedFd, getters: OwnedFd) -> io::Result<Self> {
        Self::with(Object::open(file)?, Wires::open(putters, getters))
    }

    /// The descriptors of the queue, in the order in which [`open`](Self::open) takes them.
    pub(super) fn files(&self) -> [BorrowedFd<'_>; 3] {
        let [putters, getters] = self.wires.ends();
        [self.object.file(), putters, getters]
    }

    fn with(object: Arc<Object<Body>>, wires: Wires) -> io::Result<Self> {
        // Relaxed: written before anybody else could see it.
        let capacity = object.body().capacity.load(Ordering::Relaxed) as usize;
        let ring = object.ring_len();
        if capacity == 0 || capacity > MOST_MESSAGES || !ring.is_power_of_two() || ring > MOST_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the queue's memory is damaged"));
        }
        // Relaxed: as above.
        if !object.body().wires.iter().map(|word| word.load(Ordering::Relaxed)).eq(wires.numbers()) {
            let text = "the sockets that came with a queue's ring are those of another queue";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Self { object, capacity, wires, latest: Latest::default() })
    }

    /// One of the two locks.
    #[inline]
    pub(super) fn lock<'a>(
        &'a self,
        word: &'a RobustWord,
        event: usize,
        limit: Limit,
    ) -> Option<Held<'a, Body>> {
        match self.object.try_lock(word, event) {
            None => self.object.lock(word, event, limit.for_lock()),
            held => held,
        }
    }

    #[inline]
    pub(super) fn event(&self, index: usize) -> &EventWord {
        self.object.body().event(index)
    }

    /// How many messages are there.
    pub(super) fn len(&self) -> usize {
        self.take_from_the_dead();
        // What is shared may be damaged: not more than there can be.
        (self.object.body().len() as usize).min(self.capacity)
    }

    /// Gives another process a moment, which copies some `len` bytes. A coroutine has others to run on its worker.
    #[inline]
    pub(super) fn spin(&self, len: usize, ready: impl Fn() -> bool) {
        if runtime::is_coroutine() {
            return;
        }
        for _ in 0..(LOOKS + len / BYTES_A_LOOK).min(MOST_LOOKS) {
            if ready() {
                return;
            }
            (0..PAUSES).for_each(|_| core::hint::spin_loop());
        }
    }
}
