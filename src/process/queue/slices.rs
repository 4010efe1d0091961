//! Queues of slices of plain data: copied once into the ring, and once out of it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::time::Instant;

use super::core::{Core, Limit};
use super::error::{GetError, PutError};
use super::get::NotGot;
use super::handle::Queue;
use super::put::{NotPut, Parcel};
use super::record::PLAIN;
use crate::process::codec::DecodeError;
use crate::runtime::far;
use crate::shm::pod::{self, Pod};

impl<P: Pod> Queue<[P]> {
    /// Copies a slice into the ring, as one message; waits while there is no room. A cancellation point if it
    /// has to wait.
    ///
    /// # Errors
    /// If it is too large, or the queue is closed.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::<[u8]>::bounded(4)?;
    /// queue.put_slice(b"whole")?;
    /// let mut bytes = Vec::new();
    /// assert_eq!(queue.get_into(&mut bytes)?, 5);
    /// assert_eq!(bytes, b"whole");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put_slice(&self, slice: &[P]) -> Result<(), PutError<()>> {
        self.put_limited(slice, Limit::Until(None))
    }

    /// As [`put_slice`](Self::put_slice), but never waits for room.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let queue = ropewalk::process::Queue::<[u16]>::bounded(1)?;
    /// queue.try_put_slice(&[1, 2])?;
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// assert!(queue.put_slice_deadline(&[3], soon).is_err());
    /// assert!(queue.put_slice_timeout(&[3], Duration::ZERO).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`put_slice`](Self::put_slice), and if there is no room.
    pub fn try_put_slice(&self, slice: &[P]) -> Result<(), PutError<()>> {
        self.put_limited(slice, Limit::Try)
    }

    /// As [`put_slice`](Self::put_slice), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`put_slice`](Self::put_slice), and if there is no room in time.
    pub fn put_slice_timeout(&self, slice: &[P], limit: Duration) -> Result<(), PutError<()>> {
        self.put_slice_deadline(slice, far::after(limit))
    }

    /// As [`put_slice`](Self::put_slice), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`put_slice`](Self::put_slice), and if there is no room in time.
    pub fn put_slice_deadline(&self, slice: &[P], deadline: Instant) -> Result<(), PutError<()>> {
        self.put_limited(slice, Limit::Until(Some(deadline)))
    }

    fn put_limited(&self, slice: &[P], limit: Limit) -> Result<(), PutError<()>> {
        let bytes = pod::bytes(slice);
        let put = self.core.put(Parcel { kind: PLAIN, bytes, handles: None }, limit);
        put.map_err(|error| not_put(&self.core, error, bytes.len()))
    }

    /// Gets the next message behind what is in `into`, and tells how many values it has; waits while there is
    /// none. A vector that is used again needs no memory of its own. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// `Closed`, if the queue is closed and drained; `Decode`, if the message is not made of such values.
    pub fn get_into(&self, into: &mut Vec<P>) -> Result<usize, GetError> {
        self.get_limited(into, Limit::Until(None))
    }

    /// As [`get_into`](Self::get_into), but never waits for a message.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (queue, mut into) = (ropewalk::process::Queue::<[u16]>::bounded(1)?, Vec::new());
    /// queue.put_slice(&[1, 2])?;
    /// queue.try_get_into(&mut into)?;
    /// assert_eq!(into, [1, 2]);
    /// assert!(queue.get_into_deadline(&mut into, Instant::now()).is_err());
    /// assert!(queue.get_into_timeout(&mut into, Duration::from_millis(1)).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`get_into`](Self::get_into), and `Empty`.
    pub fn try_get_into(&self, into: &mut Vec<P>) -> Result<usize, GetError> {
        self.get_limited(into, Limit::Try)
    }

    /// As [`get_into`](Self::get_into), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`get_into`](Self::get_into), and `Empty` if nothing comes in time.
    pub fn get_into_timeout(&self, into: &mut Vec<P>, limit: Duration) -> Result<usize, GetError> {
        self.get_into_deadline(into, far::after(limit))
    }

    /// As [`get_into`](Self::get_into), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`get_into`](Self::get_into), and `Empty` if nothing comes in time.
    pub fn get_into_deadline(&self, into: &mut Vec<P>, deadline: Instant) -> Result<usize, GetError> {
        self.get_limited(into, Limit::Until(Some(deadline)))
    }

    fn get_limited(&self, into: &mut Vec<P>, limit: Limit) -> Result<usize, GetError> {
        let before = into.len();
        match self.core.get(into, limit) {
            Ok((PLAIN, _)) => Ok(into.len() - before),
            Ok((kind, _)) => {
                let len = into.len() - before;
                into.truncate(before);
                Err(not_values::<P>(kind, len * pod::size::<P>()))
            }
            Err(error) => Err(not_got::<P>(error)),
        }
    }

    /// Closes the queue, and gets what is left, which counts as done.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::<[u8]>::bounded(4)?;
    /// queue.put_slice(b"left")?;
    /// assert_eq!(queue.close_now(), [b"left"]);
    /// assert!(queue.is_closed() && queue.unfinished_tasks() == 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_now(&self) -> Vec<Vec<P>> {
        self.core.close_now(|| {
            let mut values = Vec::new();
            self.get_into(&mut values).map(|_| values)
        })
    }
}

/// What a put of `len` bytes that are plain data says.
pub(super) fn not_put(core: &Core, error: NotPut, len: usize) -> PutError<()> {
    match error {
        // The last: there are no handles.
        NotPut::Full | NotPut::Handles(_) => PutError::Full(()),
        NotPut::Closed => PutError::Closed(()),
        NotPut::TooLarge => PutError::TooLarge { value: (), len, limit: core.longest() },
    }
}

/// What a get of plain data says.
pub(super) fn not_got<P: Pod>(error: NotGot) -> GetError {
    match error {
        NotGot::Misfit(len) => not_values::<P>(PLAIN, len),
        NotGot::Empty => GetError::Empty,
        NotGot::Closed => GetError::Closed,
        NotGot::Damaged => GetError::Damaged,
    }
}

/// A record of one kind with so many bytes is no slice of `P`.
pub(super) fn not_values<P: Pod>(kind: u32, len: usize) -> GetError {
    let cause = match kind {
        PLAIN => format!("{len} bytes are not whole values of {} bytes", pod::size::<P>()),
        _ => "it is an encoded value".to_owned(),
    };
    GetError::Decode(DecodeError::new::<[P]>(&cause))
}
