//! The error types of crossbeam-channel, with the same traits and texts.
#![forbid(unsafe_code)]

use core::error::Error;
use core::fmt;

/// All receivers are gone; the message comes back.
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::unbounded();
/// drop(receiver);
/// assert_eq!(sender.send("back").unwrap_err().0, "back");
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// The message was not sent; it comes back.
///
/// # Examples
/// ```
/// use ropewalk::channel::{TrySendError, bounded};
///
/// let (sender, receiver) = bounded(1);
/// sender.send(1).unwrap();
/// assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
/// drop(receiver);
/// assert_eq!(sender.try_send(3), Err(TrySendError::Disconnected(3)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// The channel is full, or nobody waits to receive on one of capacity zero.
    Full(T),
    /// All receivers are gone.
    Disconnected(T),
}

/// The message was not sent; it comes back.
///
/// # Examples
/// ```
/// use ropewalk::channel::{SendTimeoutError, bounded};
/// use std::time::Duration;
///
/// let (sender, _receiver) = bounded(0);
/// assert_eq!(sender.send_timeout(1, Duration::from_millis(1)), Err(SendTimeoutError::Timeout(1)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendTimeoutError<T> {
    /// The channel stayed full until the deadline.
    Timeout(T),
    /// All receivers are gone.
    Disconnected(T),
}

/// The channel is empty and all senders are gone.
///
/// # Examples
/// ```
/// use ropewalk::channel::{RecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<u8>();
/// drop(sender);
/// assert_eq!(receiver.recv(), Err(RecvError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecvError;

/// There is no message now.
///
/// # Examples
/// ```
/// use ropewalk::channel::{TryRecvError, unbounded};
///
/// let (sender, receiver) = unbounded::<u8>();
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
/// drop(sender);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// The channel is empty.
    Empty,
    /// The channel is empty and all senders are gone.
    Disconnected,
}

/// There was no message in time.
///
/// # Examples
/// ```
/// use ropewalk::channel::{RecvTimeoutError, never};
/// use std::time::Duration;
///
/// let limit = Duration::from_millis(1);
/// assert_eq!(never::<u8>().recv_timeout(limit), Err(RecvTimeoutError::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvTimeoutError {
    /// The channel stayed empty until the deadline.
    Timeout,
    /// The channel is empty and all senders are gone.
    Disconnected,
}

/// No operation of a select was ready.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, never};
///
/// let (receiver, mut select) = (never::<u8>(), Select::new());
/// select.recv(&receiver);
/// assert!(select.try_select().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrySelectError;

/// No operation of a select became ready in time.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, never};
/// use std::time::Duration;
///
/// let (receiver, mut select) = (never::<u8>(), Select::new());
/// select.recv(&receiver);
/// assert!(select.select_timeout(Duration::from_millis(1)).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectTimeoutError;

/// No operation of a select was ready.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, never};
///
/// let (receiver, mut select) = (never::<u8>(), Select::new());
/// select.recv(&receiver);
/// assert!(select.try_ready().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryReadyError;

/// No operation of a select became ready in time.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, never};
/// use std::time::Duration;
///
/// let (receiver, mut select) = (never::<u8>(), Select::new());
/// select.recv(&receiver);
/// assert!(select.ready_timeout(Duration::from_millis(1)).is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyTimeoutError;

macro_rules! say {
    ($($type:ty: $text:literal),* $(,)?) => {
        $(
            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str($text)
                }
            }
            impl Error for $type {}
        )*
    };
}

say! {
    RecvError: "receiving on an empty and disconnected channel",
    TrySelectError: "all operations in select would block",
    SelectTimeoutError: "timed out waiting on select",
    TryReadyError: "all operations in select would block",
    ReadyTimeoutError: "timed out waiting on select",
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sending on a disconnected channel")
    }
}

impl<T: Send> Error for SendError<T> {}

impl<T> SendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() { "Full(..)" } else { "Disconnected(..)" })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_full() {
            "sending on a full channel"
        } else {
            "sending on a disconnected channel"
        })
    }
}

impl<T: Send> Error for TrySendError<T> {}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Disconnected(message) => message,
        }
    }

    /// Tells whether the channel was full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Tells whether all receivers are gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

impl<T> From<SendError<T>> for TrySendError<T> {
    fn from(error: SendError<T>) -> Self {
        Self::Disconnected(error.0)
    }
}

impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendTimeoutError(..)")
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_timeout() {
            "timed out waiting on send operation"
        } else {
            "sending on a disconnected channel"
        })
    }
}

impl<T: Send> Error for SendTimeoutError<T> {}

impl<T> SendTimeoutError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Timeout(message) | Self::Disconnected(message) => message,
        }
    }

    /// Tells whether the deadline came first.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Tells whether all receivers are gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

impl<T> From<SendError<T>> for SendTimeoutError<T> {
    fn from(error: SendError<T>) -> Self {
        Self::Disconnected(error.0)
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "receiving on an empty channel",
            Self::Disconnected => "receiving on an empty and disconnected channel",
        })
    }
}

impl Error for TryRecvError {}

impl TryRecvError {
    /// Tells whether the channel was empty.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// Tells whether all senders are gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected)
    }
}

impl From<RecvError> for TryRecvError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "timed out waiting on receive operation",
            Self::Disconnected => "channel is empty and disconnected",
        })
    }
}

impl Error for RecvTimeoutError {}

impl RecvTimeoutError {
    /// Tells whether the deadline came first.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }

    /// Tells whether all senders are gone.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, Self::Disconnected)
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(_: RecvError) -> Self {
        Self::Disconnected
    }
}
