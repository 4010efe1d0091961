//! Why a queue between processes did not take or give a value.
#![forbid(unsafe_code)]

use core::fmt;

use super::super::codec::{DecodeError, EncodeError};

/// The queue did not take the value, which comes back.
///
/// # Examples
/// ```
/// use ropewalk::process::{Queue, queue::PutError};
///
/// let queue = Queue::bounded(1)?;
/// queue.put("first".to_owned())?;
/// let full = queue.try_put("second".to_owned()).unwrap_err();
/// assert!(matches!(full, PutError::Full(_)) && full.into_inner() == "second");
/// queue.close();
/// assert!(matches!(queue.put("third".to_owned()), Err(PutError::Closed(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<T> {
    /// It is full, or stayed full until the deadline.
    Full(T),
    /// It is closed.
    Closed(T),
    /// The encoded value is longer than the ring.
    TooLarge {
        /// The value.
        value: T,
        /// Its length in bytes, encoded.
        len: usize,
        /// The most bytes of a message of this queue.
        limit: usize,
    },
    /// The value cannot be encoded.
    Encode {
        /// The value.
        value: T,
        /// Why.
        error: EncodeError,
    },
}

impl<T> PutError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
            Self::TooLarge { value, .. } | Self::Encode { value, .. } => value,
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("Full(..)"),
            Self::Closed(_) => f.write_str("Closed(..)"),
            Self::TooLarge { len, limit, .. } => {
                f.debug_struct("TooLarge").field("len", len).field("limit", limit).finish_non_exhaustive()
            }
            Self::Encode { error, .. } => {
                f.debug_struct("Encode").field("error", error).finish_non_exhaustive()
            }
        }
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the queue is full"),
            Self::Closed(_) => f.write_str("the queue is closed: nothing more can be put"),
            Self::TooLarge { len, limit, .. } => write!(
                f,
                "the message has {len} bytes, but this queue takes {limit} at most: make it with a larger ring"
            ),
            Self::Encode { error, .. } => error.fmt(f),
        }
    }
}

impl<T> core::error::Error for PutError<T> {}

/// The queue gave no value.
///
/// # Examples
/// ```
/// use ropewalk::process::{Queue, queue::GetError};
///
/// let queue = Queue::<u32>::bounded(1)?;
/// assert_eq!(queue.try_get(), Err(GetError::Empty));
/// queue.close();
/// assert_eq!(queue.get(), Err(GetError::Closed));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// It is empty, or stayed empty until the deadline.
    Empty,
    /// It is closed and drained.
    Closed,
    /// What was got is not a value of the type; it is gone.
    Decode(DecodeError),
    /// The shared memory was written to by something else than this crate.
    Damaged,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the queue is empty"),
            Self::Closed => f.write_str("the queue is closed and drained: nothing more will come"),
            Self::Decode(error) => error.fmt(f),
            Self::Damaged => f.write_str(
                "the queue's shared memory was damaged by something else than this crate: make a new queue",
            ),
        }
    }
}

impl core::error::Error for GetError {}
