//! A connection of two ends, each of which sends one kind of message and receives another.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::channel::{Channel, Message};
use super::codec::{self, DecodeError, EncodeError};
use crate::io::passing::{self, Kind};
use crate::runtime::far;

/// Why a message was not sent.
///
/// # Examples
/// ```
/// use ropewalk::process::{SendError, pipe};
///
/// let (here, there) = pipe::<u32, ()>()?;
/// drop(there);
/// assert!(matches!(here.send(&7), Err(SendError::Closed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// The other end is closed, in every process that had it.
    Closed,
    /// There was no room for it until the deadline.
    Full,
    /// It cannot be encoded.
    Encode(EncodeError),
    /// The kernel refused.
    Io(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the other end of the pipe is closed: nobody would receive it"),
            Self::Full => f.write_str("the pipe stayed full until the deadline"),
            Self::Encode(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the message was not sent: {error}"),
        }
    }
}

impl core::error::Error for SendError {}

/// Why no message was received.
///
/// # Examples
/// ```
/// use ropewalk::process::{RecvError, pipe};
/// use std::time::Duration;
///
/// let (here, there) = pipe::<(), u32>()?;
/// assert!(matches!(here.try_recv(), Err(RecvError::Empty)));
/// assert!(matches!(here.recv_timeout(Duration::from_millis(1)), Err(RecvError::Empty)));
/// there.send(&7).unwrap();
/// drop(there);
/// assert_eq!(here.recv().unwrap(), 7);
/// assert!(matches!(here.recv(), Err(RecvError::Closed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// There is none, or none came until the deadline.
    Empty,
    /// There is none, and the other end is closed: none will come.
    Closed,
    /// What came is not a message of this type. It is gone; the next one can be received.
    Decode(DecodeError),
    /// The kernel refused.
    Io(io::Error),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no message is there"),
            Self::Closed => f.write_str("the other end of the pipe is closed: no more messages will come"),
            Self::Decode(error) => error.fmt(f),
            Self::Io(error) => write!(f, "no message was received: {error}"),
        }
    }
}

impl core::error::Error for RecvError {}

/// One end of a pipe: sends `S`, receives `R`. Made by [`pipe`].
///
/// Messages stay whole and in order, of any size; one of more than 64 KiB travels in memory of its own.
/// Handles in a message take their descriptors along. Several threads, coroutines and processes may share
/// an end: each message goes to one of them. On a coroutine, waiting leaves the worker to others.
///
/// An end travels itself: as an argument, as a result, in a message. The receiver shares it with the sender
/// until that drops it; the other end sees it closed when all have.
///
/// # Examples
/// ```
/// let (here, there) = ropewalk::process::pipe::<u32, String>()?;
/// ropewalk::spawn(move || there.iter().for_each(|n| there.send(&format!("got {n}")).unwrap()));
/// here.send(&7).unwrap();
/// assert_eq!(here.recv().unwrap(), "got 7");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Pipe<S, R> {
    channel: Channel,
    types: PhantomData<fn(S) -> R>,
}

/// Makes a pipe: two ends, connected with each other.
///
/// # Errors
/// What the kernel says.
///
/// # Examples
/// ```
/// use ropewalk::process::{Pipe, Process, pipe};
///
/// let (here, there) = pipe::<u32, String>()?;
/// let spell = |end: Pipe<String, u32>| {
///     while let Ok(number) = end.recv() {
///         end.send(&format!("number {number}")).unwrap();
///     }
/// };
/// let child = Process::spawn(spell, there).unwrap();
/// here.send(&7).unwrap();
/// assert_eq!(here.recv().unwrap(), "number 7");
/// drop(here);
/// child.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn pipe<A, B>() -> io::Result<(Pipe<A, B>, Pipe<B, A>)> {
    let (here, there) = Channel::pair()?;
    Ok((Pipe { channel: here, types: PhantomData }, Pipe { channel: there.into(), types: PhantomData }))
}

impl<S: Serialize, R> Pipe<S, R> {
    /// Sends a message; waits while the pipe is full. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// [`SendError`] if it was not sent.
    pub fn send(&self, value: &S) -> Result<(), SendError> {
        self.send_until(value, None)
    }

    /// As [`send`](Self::send), but waits no longer than `limit`.
    ///
    /// # Errors
    /// [`SendError`] if it was not sent.
    pub fn send_timeout(&self, value: &S, limit: Duration) -> Result<(), SendError> {
        self.send_deadline(value, far::after(limit))
    }

    /// As [`send`](Self::send), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (here, there) = ropewalk::process::pipe::<u32, u32>()?;
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// here.send_deadline(&7, soon).unwrap();
    /// assert_eq!(there.recv_deadline(soon).unwrap(), 7);
    /// assert!(there.recv_deadline(soon).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`SendError`] if it was not sent.
    pub fn send_deadline(&self, value: &S, deadline: Instant) -> Result<(), SendError> {
        self.send_until(value, Some(deadline))
    }

    fn send_until(&self, value: &S, deadline: Option<Instant>) -> Result<(), SendError> {
        let (bytes, fds) = codec::encode(value, Vec::new()).map_err(SendError::Encode)?;
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match self.channel.send(&bytes, &borrowed, deadline) {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(SendError::Full),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Err(SendError::Closed)
            }
            Err(error) => Err(SendError::Io(error)),
        }
    }
}

impl<S, R: DeserializeOwned> Pipe<S, R> {
    /// Receives the next message; waits for it. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// [`RecvError`] if there is none and none will come, or it cannot be decoded.
    pub fn recv(&self) -> Result<R, RecvError> {
        Self::unpack(self.channel.recv(None))
    }

    /// As [`recv`](Self::recv), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for `recv`, and [`RecvError::Empty`] if none came.
    pub fn recv_timeout(&self, limit: Duration) -> Result<R, RecvError> {
        self.recv_deadline(far::after(limit))
    }

    /// As [`recv`](Self::recv), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// As for `recv`, and [`RecvError::Empty`] if none came.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<R, RecvError> {
        Self::unpack(self.channel.recv(Some(deadline)))
    }

    /// Receives the next message if it is there. Never waits.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv), and [`RecvError::Empty`] if there is none.
    pub fn try_recv(&self) -> Result<R, RecvError> {
        Self::unpack(self.channel.try_recv())
    }

    fn unpack(message: io::Result<Option<Message>>) -> Result<R, RecvError> {
        match message {
            Ok(Some((bytes, fds))) => codec::decode(&bytes, fds).map_err(RecvError::Decode),
            Ok(None) => Err(RecvError::Empty),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(RecvError::Closed),
            Err(error) => Err(RecvError::Io(error)),
        }
    }

    /// Receives messages until the other end is closed. A message that cannot be decoded ends it too.
    pub fn iter(&self) -> impl Iterator<Item = R> {
        core::iter::from_fn(|| self.recv().ok())
    }
}

/// The socket: readable when a message is there, or the other end is closed.
impl<S, R> AsFd for Pipe<S, R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

impl<S, R> Serialize for Pipe<S, R> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        let index = passing::pass(self.channel.as_fd(), Kind::Pipe).map_err(T::Error::custom)?;
        serializer.serialize_u32(index)
    }
}

impl<'de, S, R> Deserialize<'de> for Pipe<S, R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index = u32::deserialize(deserializer)?;
        let socket = passing::take(index, Kind::Pipe).map_err(D::Error::custom)?;
        Ok(Self { channel: socket.into(), types: PhantomData })
    }
}

impl<S, R> fmt::Debug for Pipe<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").field("fd", &self.channel.as_fd()).finish_non_exhaustive()
    }
}
