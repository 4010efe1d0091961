//! Queues of values that serde encodes.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::time::Duration;
use std::os::fd::AsFd;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::Limit;
use super::error::{GetError, PutError};
use super::get::NotGot;
use super::handle::Queue;
use super::put::{NotPut, Parcel};
use super::record::{ENCODED, WITH_HANDLES};
use super::wires::NUMBER;
use crate::process::codec::{DecodeError, EncodeError, decode, decode_with_handles, encode};
use crate::runtime::far;
use crate::sys::message::MOST_FDS;

/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// A buffer for the next message; whoever uses it takes it away.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn borrow_buffer() -> Vec<u8> {
    let mut buffer = BUFFER.take();
    buffer.clear();
    buffer
}

fn keep(buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT {
        BUFFER.set(buffer);
    }
}

impl<T: Serialize> Queue<T> {
    /// Encodes a value and puts it; waits while there is no room. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// The value, if it cannot be encoded or is too large, or if the queue is closed.
    pub fn put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_limit(value, Limit::Until(None))
    }

    /// As [`put`](Self::put), but never waits for room.
    ///
    /// # Errors
    /// As for [`put`](Self::put), and if there is no room.
    pub fn try_put(&self, value: T) -> Result<(), PutError<T>> {
        self.put_limit(value, Limit::Try)
    }

    /// As [`put`](Self::put), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`put`](Self::put), and if there is no room in time.
    pub fn put_timeout(&self, value: T, limit: Duration) -> Result<(), PutError<T>> {
        self.put_deadline(value, far::after(limit))
    }

    /// As [`put`](Self::put), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`put`](Self::put), and if there is no room in time.
    pub fn put_deadline(&self, value: T, deadline: Instant) -> Result<(), PutError<T>> {
        self.put_limit(value, Limit::Until(Some(deadline)))
    }

    fn put_limit(&self, value: T, limit: Limit) -> Result<(), PutError<T>> {
        let (mut bytes, fds) = match encode(&value, borrow_buffer()) {
            Ok(encoded) => encoded,
            Err(error) => return Err(PutError::Encode { value, error }),
        };
        let put = if fds.is_empty() {
            self.core.put(Parcel { kind: ENCODED, bytes: &bytes, handles: None }, limit)
        } else {
            let number = self.core.next_number();
            bytes.extend_from_slice(&number.to_ne_bytes());
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            if fds.len() > MOST_FDS {
                let cause = format!("it has {} handles, and a message takes {MOST_FDS} at most", fds.len());
                return Err(PutError::Encode { value, error: EncodeError::new::<T>(&cause) });
            }
            self.core.put(Parcel { kind: WITH_HANDLES, bytes: &bytes, handles: Some((number, &fds)) }, limit)
        };
        let len = bytes.len();
        keep(bytes);
        match put {
            Ok(()) => Ok(()),
            Err(NotPut::Full) => Err(PutError::Full(value)),
            Err(NotPut::Closed) => Err(PutError::Closed(value)),
            Err(NotPut::TooLarge) => Err(PutError::TooLarge { value, len, limit: self.core.longest() }),
            Err(NotPut::Handles(error)) => {
                let error = EncodeError::new::<T>(&format!("its handles cannot be sent: {error}"));
                Err(PutError::Encode { value, error })
            }
        }
    }
}

impl<T: DeserializeOwned> Queue<T> {
    /// Gets the next value; waits while there is none. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// `Closed`, if the queue is closed and drained; `Decode`, if what was got is no such value.
    pub fn get(&self) -> Result<T, GetError> {
        self.get_limit(Limit::Until(None))
    }

    /// As [`get`](Self::get), but never waits for a value.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and `Empty`.
    pub fn try_get(&self) -> Result<T, GetError> {
        self.get_limit(Limit::Try)
    }

    /// As [`get`](Self::get), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and `Empty` if nothing comes in time.
    pub fn get_timeout(&self, limit: Duration) -> Result<T, GetError> {
        self.get_deadline(far::after(limit))
    }

    /// As [`get`](Self::get), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and `Empty` if nothing comes in time.
    pub fn get_deadline(&self, deadline: Instant) -> Result<T, GetError> {
        self.get_limit(Limit::Until(Some(deadline)))
    }

    /// Gets values, waiting for each, until the queue is closed and drained, or gives no value.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        core::iter::from_fn(|| self.get().ok())
    }

    /// Closes the queue, and gets what is left, which counts as done. Messages that are no such values are left
    /// out. Waits for nothing but whoever is getting one just now.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::process::Queue::bounded(4)?;
    /// queue.put(7u32)?;
    /// assert_eq!(queue.close_now(), [7]);
    /// assert!(queue.is_closed() && queue.get().is_err() && queue.unfinished_tasks() == 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn close_now(&self) -> Vec<T> {
        self.core.close_now(|| self.get())
    }

    fn get_limit(&self, limit: Limit) -> Result<T, GetError> {
        let mut bytes = borrow_buffer();
        let got = self.core.get(&mut bytes, limit);
        let value = match got {
            Ok((ENCODED, _)) => decode(&bytes, Vec::new()).map_err(GetError::Decode),
            Ok((WITH_HANDLES, fds)) if bytes.len() >= NUMBER => {
                decode_with_handles(&bytes[..bytes.len() - NUMBER], fds).map_err(GetError::Decode)
            }
            Ok(_) => Err(GetError::Decode(DecodeError::new::<T>("it is a slice of plain data"))),
            Err(NotGot::Empty) => Err(GetError::Empty),
            Err(NotGot::Closed) => Err(GetError::Closed),
            Err(NotGot::Damaged | NotGot::Misfit(_)) => Err(GetError::Damaged),
        };
        keep(bytes);
        value
    }
}
