//! Messages that are written and read where they lie in the ring, without a copy.
//!
//! A guard holds the lock of its side: nobody else puts, or gets, until it is dropped. What a kill leaves behind
//! is what it leaves in the middle of a put or a get: a message that was not committed is not there, one that
//! was handed out is gone with the one who had it (Q2 in `body`).

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::time::Duration;
use std::time::Instant;

use super::core::Limit;
use super::error::{GetError, PutError};
use super::get::Found;
use super::handle::Queue;
use super::put::Claim;
use super::record::{self, PLAIN, UNIT};
use super::slices::{not_got, not_put, not_values};
use crate::runtime::far;
use crate::shm::pod::{self, Pod};

/// Records are aligned to a unit, so values must not ask for more.
const fn check<P: Pod>() {
    const { assert!(align_of::<P>() <= UNIT, "values that lie in a ring are aligned to 8 bytes at most") };
}

/// Room for a message in the ring, to be filled in place; see [`Queue::reserve`].
///
/// It is put by [`commit`](Self::commit); dropped without, nothing was put. While it lives, other putters wait, in
/// all processes.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let queue = ropewalk::process::Queue::<[u32]>::bounded(1)?;
/// let mut room = queue.try_reserve(2)?;
/// room.copy_from_slice(&[20, 22]);
/// room.commit();
/// assert!(queue.reserve_timeout(1, Duration::from_millis(1)).is_err(), "it is full");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reserved<'a, P: Pod> {
    queue: &'a Queue<[P]>,
    /// `None` only while it is dropped.
    claim: Option<Claim<'a>>,
    place: NonNull<P>,
    count: usize,
}

/// A message that is read where it lies in the ring; see [`Queue::get_in_place`].
///
/// It is gone when this is dropped. While it lives, other getters wait, in all processes.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let queue = ropewalk::process::Queue::<[u32]>::bounded(1)?;
/// queue.put_slice(&[20, 22])?;
/// assert_eq!(queue.try_get_in_place()?.iter().sum::<u32>(), 42);
/// assert!(queue.get_in_place_timeout(Duration::from_millis(1)).is_err(), "it is empty");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Message<'a, P: Pod> {
    queue: &'a Queue<[P]>,
    /// `None` only while it is dropped.
    found: Option<Found<'a>>,
    place: NonNull<P>,
    count: usize,
    values: PhantomData<&'a [P]>,
}

// SAFETY: the pointer forbids it; it stands for values that are Send, in memory that the guard alone has until
// it is dropped. The lock names the process, not the thread.
unsafe impl<P: Pod> Send for Reserved<'_, P> {}
// SAFETY: as a `&[P]`, and P is Sync.
unsafe impl<P: Pod> Sync for Reserved<'_, P> {}
// SAFETY: as for `Reserved`.
unsafe impl<P: Pod> Send for Message<'_, P> {}
// SAFETY: as for `Reserved`.
unsafe impl<P: Pod> Sync for Message<'_, P> {}

impl<P: Pod> Queue<[P]> {
    /// Reserves room for a message of `count` values, to be filled in place; waits while there is none. What
    /// lies there is left over from earlier messages. A cancellation point if it has to wait.
    ///
    /// Until the guard is dropped, other putters wait, and so does [`close`](Self::close): keep it no longer than
    /// it takes to fill it, and ask for no second one meanwhile on the same thread, which would wait for itself.
    ///
    /// # Errors
    /// If that is too large, or the queue is closed.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::<[u32]>::bounded(4)?;
    /// let mut message = queue.reserve(3)?;
    /// message.copy_from_slice(&[1, 2, 3]);
    /// message.commit();
    /// drop(queue.reserve(1)?); // not committed: nothing was put
    /// assert_eq!(queue.get_in_place()?.iter().sum::<u32>(), 6);
    /// assert!(queue.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(&self, count: usize) -> Result<Reserved<'_, P>, PutError<()>> {
        self.reserve_limited(count, Limit::Until(None))
    }

    /// As [`reserve`](Self::reserve), but never waits for room.
    ///
    /// # Errors
    /// As for [`reserve`](Self::reserve), and if there is no room.
    pub fn try_reserve(&self, count: usize) -> Result<Reserved<'_, P>, PutError<()>> {
        self.reserve_limited(count, Limit::Try)
    }

    /// As [`reserve`](Self::reserve), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`reserve`](Self::reserve), and if there is no room in time.
    pub fn reserve_timeout(&self, count: usize, limit: Duration) -> Result<Reserved<'_, P>, PutError<()>> {
        self.reserve_deadline(count, far::after(limit))
    }

    /// As [`reserve`](Self::reserve), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let queue = ropewalk::process::Queue::<[u32]>::bounded(1)?;
    /// let mut room = queue.reserve_deadline(1, Instant::now())?;
    /// room[0] = 7;
    /// room.commit();
    /// assert_eq!(queue.get_in_place_deadline(Instant::now())?[0], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`reserve`](Self::reserve), and if there is no room in time.
    pub fn reserve_deadline(&self, count: usize, deadline: Instant) -> Result<Reserved<'_, P>, PutError<()>> {
        self.reserve_limited(count, Limit::Until(Some(deadline)))
    }

    fn reserve_limited(&self, count: usize, limit: Limit) -> Result<Reserved<'_, P>, PutError<()>> {
        check::<P>();
        let len = count.saturating_mul(pod::size::<P>());
        let claim = self.core.reserve(len, limit).map_err(|error| not_put(&self.core, error, len))?;
        let place = record::payload(&self.core.object, claim.tail, len).cast();
        Ok(Reserved { queue: self, claim: Some(claim), place, count })
    }

    /// Gets the next message, to be read where it lies; waits while there is none. A cancellation point if it has
    /// to wait.
    ///
    /// Until the guard is dropped, other getters wait, and so do [`join`](Self::join) and processes that are just
    /// given the queue. A second one on the same thread would wait for itself. A process that is killed while it
    /// has the guard takes the message along, as with `get`.
    ///
    /// # Errors
    /// `Closed`, if the queue is closed and drained; `Decode`, if the message is not made of such values.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::<[u8]>::bounded(4)?;
    /// queue.put_slice(b"whole")?;
    /// let message = queue.get_in_place()?;
    /// assert_eq!(&message[..], b"whole");
    /// drop(message);
    /// assert_eq!(queue.len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_in_place(&self) -> Result<Message<'_, P>, GetError> {
        self.get_in_place_limited(Limit::Until(None))
    }

    /// As [`get_in_place`](Self::get_in_place), but never waits for a message.
    ///
    /// # Errors
    /// As for [`get_in_place`](Self::get_in_place), and `Empty`.
    pub fn try_get_in_place(&self) -> Result<Message<'_, P>, GetError> {
        self.get_in_place_limited(Limit::Try)
    }

    /// As [`get_in_place`](Self::get_in_place), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`get_in_place`](Self::get_in_place), and `Empty` if nothing comes in time.
    pub fn get_in_place_timeout(&self, limit: Duration) -> Result<Message<'_, P>, GetError> {
        self.get_in_place_deadline(far::after(limit))
    }

    /// As [`get_in_place`](Self::get_in_place), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`get_in_place`](Self::get_in_place), and `Empty` if nothing comes in time.
    pub fn get_in_place_deadline(&self, deadline: Instant) -> Result<Message<'_, P>, GetError> {
        self.get_in_place_limited(Limit::Until(Some(deadline)))
    }

    fn get_in_place_limited(&self, limit: Limit) -> Result<Message<'_, P>, GetError> {
        check::<P>();
        let found = self.core.look(limit).map_err(not_got::<P>)?;
        let (kind, len) = (found.header.kind, found.header.len);
        let place = record::payload(&self.core.object, found.head, len).cast();
        self.core.hand_out(&found);
        let count = len / pod::size::<P>();
        // From here on dropping it gives the record up.
        let message = Message { queue: self, found: Some(found), place, count, values: PhantomData };
        if kind == PLAIN && len.is_multiple_of(pod::size::<P>()) {
            Ok(message)
        } else {
            Err(not_values::<P>(kind, len))
        }
    }
}

impl<P: Pod> Reserved<'_, P> {
    /// Puts the message. Never waits.
    pub fn commit(mut self) {
        let Some(claim) = self.claim.take() else { return };
        // A copy in the child of a fork: the room is the parent's.
        if !self.queue.core.object.is_own() {
            return;
        }
        let len = self.count * pod::size::<P>();
        // SAFETY: the claim holds the lock, and the record fits.
        unsafe { record::write_header(&self.queue.core.object, claim.tail, PLAIN, len) };
        self.queue.core.publish(claim, len);
    }
}

impl<P: Pod> Drop for Reserved<'_, P> {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            self.queue.core.give_up(claim);
        }
    }
}

impl<P: Pod> Drop for Message<'_, P> {
    fn drop(&mut self) {
        if let Some(found) = self.found.take()
            && self.queue.core.object.is_own()
        {
            self.queue.core.take_in(found);
        }
    }
}

impl<P: Pod> Deref for Reserved<'_, P> {
    type Target = [P];

    fn deref(&self) -> &[P] {
        // SAFETY: mapped as long as the queue, aligned (`check`), any bytes are values, and nobody else's: the
        // claim holds the putters' lock, and getters stop at the tail (Q1).
        unsafe { core::slice::from_raw_parts(self.place.as_ptr(), self.count) }
    }
}

impl<P: Pod> DerefMut for Reserved<'_, P> {
    fn deref_mut(&mut self) -> &mut [P] {
        // SAFETY: as in `deref`, and this guard is borrowed alone.
        unsafe { core::slice::from_raw_parts_mut(self.place.as_ptr(), self.count) }
    }
}

impl<P: Pod> Deref for Message<'_, P> {
    type Target = [P];

    fn deref(&self) -> &[P] {
        // SAFETY: mapped as long as the queue, aligned (`check`), any bytes are values, and nobody writes there:
        // putters stop at the head, which moves when this is dropped (Q1).
        unsafe { core::slice::from_raw_parts(self.place.as_ptr(), self.count) }
    }
}

impl<P: Pod> fmt::Debug for Reserved<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("count", &self.count).finish_non_exhaustive()
    }
}

impl<P: Pod> fmt::Debug for Message<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("count", &self.count).finish_non_exhaustive()
    }
}
