//! The handle: what all queues can do, whatever their messages are.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::core::Core;
use crate::io::passing::{self, Kind};
use crate::runtime::far;

/// Bytes of the ring where nothing else is said: three messages of a mebibyte, so that one is written while another
/// is read.
const RING: usize = 1 << 22;

/// First in, first out, between processes: a bounded queue in shared memory.
///
/// Any number of processes, threads and coroutines put and get. A message is any value that serde can
/// encode; `Queue<[u8]>`, or a slice of another [`Pod`](crate::shm::Pod) type, takes slices, and copies them
/// once on each side. A clone is another handle of the same queue; a handle travels to other processes in
/// arguments and messages. The memory is gone with the last handle.
///
/// A process that is killed takes at most the message with it that it was putting or getting; nobody else
/// hangs.
///
/// # Examples
/// ```
/// use ropewalk::process::Queue;
///
/// let queue = Queue::<(u32, String)>::bounded(16)?;
/// queue.put((7, "seven".to_owned()))?;
/// assert_eq!(queue.len(), 1);
/// assert_eq!(queue.get()?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Queue<T: ?Sized> {
    pub(in crate::process) core: Arc<Core>,
    marker: PhantomData<fn(&T) -> Box<T>>,
}

impl<T: ?Sized> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), marker: PhantomData }
    }
}

impl<T: ?Sized> Queue<T> {
    /// Makes a queue for at most `capacity` messages, which together have up to four
    /// mebibytes. So much memory is taken at once; see [`with_ring`](Self::with_ring) for less.
    ///
    /// # Errors
    /// `InvalidInput` for a capacity of zero or above 2^23; or what the kernel says: no descriptor left, or
    /// not enough memory.
    pub fn bounded(capacity: usize) -> io::Result<Self> {
        Self::with_ring(capacity, RING)
    }

    /// Makes a queue for at most `capacity` messages, in a ring of at least `bytes` bytes: a message may be as
    /// long as the ring, less 8 bytes. The length is rounded up to a power of two, and taken at once.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::<Vec<u8>>::with_ring(4, 64 * 1024)?;
    /// assert!(queue.longest_message() >= 64 * 1024 - 8);
    /// assert!(queue.put(vec![0; 100_000]).is_err(), "longer than the ring");
    /// assert_eq!(queue.users(), [std::process::id()]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bounded`](Self::bounded); `InvalidInput` for more than 64 GiB.
    pub fn with_ring(capacity: usize, bytes: usize) -> io::Result<Self> {
        Ok(Self::with(Core::create(capacity, bytes)?))
    }

    pub(super) fn with(core: Core) -> Self {
        Self { core: Arc::new(core), marker: PhantomData }
    }

    /// How many messages wait. Exact when nobody is putting or getting.
    pub fn len(&self) -> usize {
        self.core.len()
    }

    /// Tells whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether a put of even the shortest message would have to wait.
    pub fn is_full(&self) -> bool {
        self.core.take_from_the_dead();
        !self.core.has_room(2)
    }

    /// How many messages fit, if they are short enough.
    pub fn capacity(&self) -> usize {
        self.core.capacity
    }

    /// The most bytes of one message, encoded.
    pub fn longest_message(&self) -> usize {
        self.core.longest()
    }

    /// Lets nothing more in: what is there can still be got, then `get` says `Closed`.
    pub fn close(&self) {
        self.core.close();
    }

    /// Tells whether the queue is closed.
    pub fn is_closed(&self) -> bool {
        self.core.object.body().is_closed()
    }

    /// Says that a message which this process got has been worked on. Never waits.
    ///
    /// # Panics
    /// If that was said more often than messages were put.
    pub fn task_done(&self) {
        assert!(
            self.unfinished_tasks() > 0,
            "process::Queue::task_done was called more often than messages were put"
        );
        self.core.task_done();
    }

    /// How many messages were put and not yet said to be done.
    pub fn unfinished_tasks(&self) -> usize {
        usize::try_from(self.core.object.body().unfinished()).unwrap_or(usize::MAX)
    }

    /// Waits until every message that was put has been said to be done. A cancellation point.
    ///
    /// Messages that were in the hands of a process which has died, or has dropped its last handle, count as
    /// done.
    pub fn join(&self) {
        self.core.join(None);
    }

    /// As [`join`](Self::join), but waits no longer than `limit`. False if that came first.
    pub fn join_timeout(&self, limit: Duration) -> bool {
        self.join_deadline(far::after(limit))
    }

    /// As [`join`](Self::join), but waits no longer than until `deadline`. False if that came first.
    pub fn join_deadline(&self, deadline: Instant) -> bool {
        self.core.join(Some(deadline))
    }

    /// Where the ring's next message will be got from and put to, as offsets in bytes, and the ring's length:
    /// for pictures.
    pub fn ring_ends(&self) -> (usize, usize, usize) {
        let (body, len) = (self.core.object.body(), self.core.object.ring_len());
        (body.head().offset(len), body.tail().offset(len), len)
    }

    /// The processes that have a handle now.
    pub fn users(&self) -> Vec<u32> {
        self.core.object.member_pids()
    }
}

impl<T: ?Sized> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Queue");
        debug.field("len", &self.len()).field("capacity", &self.capacity());
        debug.field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<T: ?Sized> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let [ring, putters, getters] = self.core.files();
        let ring = passing::pass(ring, Kind::Ring);
        let putters = passing::pass(putters, Kind::PuttersWire);
        let getters = passing::pass(getters, Kind::GettersWire);
        let index = |passed: io::Result<u32>| passed.map_err(S::Error::custom);
        (index(ring)?, index(putters)?, index(getters)?).serialize(serializer)
    }
}

impl<'de, T: ?Sized> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (ring, putters, getters) = <(u32, u32, u32)>::deserialize(deserializer)?;
        let file = |index, kind| passing::take(index, kind).map_err(D::Error::custom);
        let (ring, putters) = (file(ring, Kind::Ring)?, file(putters, Kind::PuttersWire)?);
        let core = Core::open(ring, putters, file(getters, Kind::GettersWire)?);
        let core = core.map_err(passing::blame).map_err(D::Error::custom)?;
        Ok(Self::with(core))
    }
}
