//! Why a queue did not take or give a value.
#![forbid(unsafe_code)]

use core::fmt;

use super::core::{GetFailed, PutFailed};

/// The queue is closed; the value comes back.
///
/// # Examples
/// ```
/// use ropewalk::queue::{Closed, Queue};
///
/// let queue = Queue::unbounded();
/// queue.close();
/// assert!(matches!(queue.put(7), Err(Closed(7))));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Closed<T>(pub T);

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is closed: nothing more can be put")
    }
}

impl<T> core::error::Error for Closed<T> {}

/// The queue did not take the value, which comes back.
///
/// # Examples
/// ```
/// use ropewalk::queue::{PutError, Queue};
///
/// let queue = Queue::bounded(1);
/// queue.put(1).unwrap();
/// assert_eq!(queue.try_put(2), Err(PutError::Full(2)));
/// queue.close();
/// assert_eq!(queue.try_put(3), Err(PutError::Closed(3)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PutError<T> {
    /// It is full, or stayed full until the deadline.
    Full(T),
    /// It is closed.
    Closed(T),
}

impl<T> PutError<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }
}

impl<T> fmt::Debug for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Full(_)) { "Full(..)" } else { "Closed(..)" })
    }
}

impl<T> fmt::Display for PutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed: nothing more can be put",
        })
    }
}

impl<T> core::error::Error for PutError<T> {}

/// The queue gave no value.
///
/// # Examples
/// ```
/// use ropewalk::queue::{GetError, Queue};
///
/// let queue = Queue::<u8>::unbounded();
/// assert_eq!(queue.try_get(), Err(GetError::Empty));
/// queue.close();
/// assert_eq!(queue.get(), Err(GetError::Closed));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetError {
    /// It is empty, or stayed empty until the deadline.
    Empty,
    /// It is closed and drained.
    Closed,
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the queue is empty",
            Self::Closed => "the queue is closed and drained: nothing more will come",
        })
    }
}

impl core::error::Error for GetError {}

impl<T> From<PutFailed<T>> for PutError<T> {
    fn from(failed: PutFailed<T>) -> Self {
        match failed {
            PutFailed::Full(value) => Self::Full(value),
            PutFailed::Closed(value) => Self::Closed(value),
        }
    }
}

impl From<GetFailed> for GetError {
    fn from(failed: GetFailed) -> Self {
        match failed {
            GetFailed::Empty => Self::Empty,
            GetFailed::Closed => Self::Closed,
        }
    }
}
