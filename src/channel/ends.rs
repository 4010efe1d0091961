//! Sender and receiver.
#![forbid(unsafe_code)]

use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::error::{RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError};
use super::flavour::{Clock, Shared};
use super::iter::{Iter, TryIter};
use crate::queue::core::{GetFailed, PutFailed};
use crate::runtime::far;

/// The sending end. Cloned freely; when the last one is gone, receivers drain what is left.
///
/// It is for messages that may change threads:
/// ```compile_fail,E0277
/// let (sender, _receiver) = ropewalk::channel::unbounded::<std::rc::Rc<u8>>();
/// std::thread::spawn(move || drop(sender));
/// ```
pub struct Sender<T> {
    pub(super) shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends a message; waits while the channel is full. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = ropewalk::channel::bounded(1);
    /// assert_eq!(sender.send(1), Ok(()));
    /// drop(receiver);
    /// assert_eq!(sender.send(2).unwrap_err().into_inner(), 2);
    /// ```
    ///
    /// # Errors
    /// The message, if all receivers are gone.
    #[inline]
    pub fn send(&self, message: T) -> Result<(), SendError<T>> {
        self.shared.send(message, None).map_err(SendError::from)
    }

    /// Sends a message if there is room. Never waits.
    ///
    /// # Examples
    /// ```
    /// let (sender, _receiver) = ropewalk::channel::bounded(1);
    /// assert!(sender.try_send(1).is_ok());
    /// assert!(sender.try_send(2).unwrap_err().is_full());
    /// ```
    ///
    /// # Errors
    /// The message, if the channel is full or all receivers are gone.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.shared.try_send(message).map_err(|failed| match failed {
            PutFailed::Full(message) => TrySendError::Full(message),
            PutFailed::Closed(message) => TrySendError::Disconnected(message),
        })
    }

    /// As [`send`](Self::send), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// let (sender, _receiver) = ropewalk::channel::bounded(0);
    /// let error = sender.send_timeout("hi", std::time::Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// ```
    ///
    /// # Errors
    /// The message, if the channel stays full or all receivers are gone.
    pub fn send_timeout(&self, message: T, limit: Duration) -> Result<(), SendTimeoutError<T>> {
        self.send_deadline(message, far::after(limit))
    }

    /// As [`send`](Self::send), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, receiver) = ropewalk::channel::bounded(1);
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// assert!(sender.send_deadline(7, soon).is_ok());
    /// assert_eq!(sender.send_deadline(8, soon).unwrap_err().into_inner(), 8);
    /// assert_eq!((receiver.len(), receiver.capacity()), (1, Some(1)));
    /// ```
    ///
    /// # Errors
    /// The message, if the channel stays full or all receivers are gone.
    pub fn send_deadline(&self, message: T, deadline: Instant) -> Result<(), SendTimeoutError<T>> {
        self.shared.send(message, Some(deadline)).map_err(|failed| match failed {
            PutFailed::Full(message) => SendTimeoutError::Timeout(message),
            PutFailed::Closed(message) => SendTimeoutError::Disconnected(message),
        })
    }

    /// Tells whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether a send would have to wait. A send that a select has chosen, and that is still to come,
    /// has its room already.
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.shared.len()
    }

    /// How many messages fit; `None` without bound.
    pub fn capacity(&self) -> Option<usize> {
        self.shared.capacity()
    }

    /// Tells whether two ends belong to one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        // Relaxed: the clone is handed on by other means.
        self.shared.senders.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // AcqRel: the last one closes after all that the others have sent.
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.disconnect(false);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender { .. }")
    }
}

impl<T> From<PutFailed<T>> for SendError<T> {
    fn from(failed: PutFailed<T>) -> Self {
        match failed {
            PutFailed::Full(message) | PutFailed::Closed(message) => Self(message),
        }
    }
}

// Messages are moved whole or not at all, so a panic leaves no channel in between.
impl<T> UnwindSafe for Sender<T> {}
impl<T> RefUnwindSafe for Sender<T> {}
impl<T> UnwindSafe for Receiver<T> {}
impl<T> RefUnwindSafe for Receiver<T> {}

pub(super) enum Source<T> {
    Channel(Arc<Shared<T>>),
    /// A clock, and how its messages become `T`; `None` where no message can come.
    Clock(Arc<Clock>, fn(Instant) -> Option<T>),
}

/// The receiving end. Cloned freely; when the last one is gone, messages that are left are dropped.
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::unbounded();
/// let other = receiver.clone();
/// (1..=2).for_each(|n| sender.send(n).unwrap());
/// // Each message goes to one of them.
/// assert_eq!((receiver.recv(), other.recv()), (Ok(1), Ok(2)));
/// ```
pub struct Receiver<T> {
    pub(super) source: Source<T>,
}

impl<T> Receiver<T> {
    /// Inlined: see `runtime::park`.
    #[inline(always)]
    fn get(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        match &self.source {
            Source::Channel(shared) => shared.recv(deadline),
            Source::Clock(clock, make) => {
                clock.recv(deadline).and_then(|at| make(at).ok_or(GetFailed::Empty))
            }
        }
    }

    /// Receives a message; waits while there is none. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = ropewalk::channel::unbounded();
    /// sender.send(1).unwrap();
    /// drop(sender);
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert!(receiver.recv().is_err());
    /// ```
    ///
    /// # Errors
    /// [`RecvError`], if there is none and all senders are gone.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.get(None).map_err(|_| RecvError)
    }

    /// Receives a message if there is one. Never waits; but on a channel of capacity 0, for up to 10 ms for a select
    /// that has been waiting to send, and now makes its message.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = ropewalk::channel::unbounded::<u8>();
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// drop(sender);
    /// assert!(receiver.try_recv().unwrap_err().is_disconnected());
    /// ```
    ///
    /// # Errors
    /// `Empty`, or `Disconnected` if all senders are gone as well.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        let result = match &self.source {
            Source::Channel(shared) => shared.try_recv(),
            Source::Clock(clock, make) => clock.try_take().and_then(make).ok_or(GetFailed::Empty),
        };
        result.map_err(|failed| match failed {
            GetFailed::Empty => TryRecvError::Empty,
            GetFailed::Closed => TryRecvError::Disconnected,
        })
    }

    /// As [`recv`](Self::recv), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// let (_sender, receiver) = ropewalk::channel::unbounded::<u8>();
    /// assert!(receiver.recv_timeout(std::time::Duration::from_millis(1)).unwrap_err().is_timeout());
    /// ```
    ///
    /// # Errors
    /// `Timeout`, or `Disconnected` if all senders are gone.
    pub fn recv_timeout(&self, limit: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_deadline(far::after(limit))
    }

    /// As [`recv`](Self::recv), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let (sender, receiver) = ropewalk::channel::unbounded();
    /// sender.send(7).unwrap();
    /// let soon = Instant::now() + Duration::from_millis(1);
    /// assert_eq!(receiver.recv_deadline(soon), Ok(7));
    /// assert!(receiver.recv_deadline(soon).unwrap_err().is_timeout());
    /// ```
    ///
    /// # Errors
    /// `Timeout`, or `Disconnected` if all senders are gone.
    pub fn recv_deadline(&self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.get(Some(deadline)).map_err(|failed| match failed {
            GetFailed::Empty => RecvTimeoutError::Timeout,
            GetFailed::Closed => RecvTimeoutError::Disconnected,
        })
    }

    /// Tells whether no message waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells whether no further message fits; see [`Sender::is_full`].
    pub fn is_full(&self) -> bool {
        match &self.source {
            Source::Channel(shared) => shared.is_full(),
            Source::Clock(..) => self.capacity().is_some_and(|capacity| self.len() >= capacity),
        }
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        match &self.source {
            Source::Channel(shared) => shared.len(),
            Source::Clock(clock, _) => usize::from(clock.next().is_some_and(|due| due <= Instant::now())),
        }
    }

    /// How many messages fit; `None` without bound.
    pub fn capacity(&self) -> Option<usize> {
        match &self.source {
            Source::Channel(shared) => shared.capacity(),
            // A `never` holds nothing; a clock holds one message.
            Source::Clock(_, make) => Some(usize::from(make(Instant::now()).is_some())),
        }
    }

    /// Receives until all senders are gone, waiting for each message.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = ropewalk::channel::bounded(1);
    /// ropewalk::spawn(move || "abc".chars().for_each(|c| sender.send(c).unwrap()));
    /// assert_eq!(receiver.iter().collect::<String>(), "abc");
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter(self)
    }

    /// Receives what is there, without waiting.
    ///
    /// # Examples
    /// ```
    /// let (sender, receiver) = ropewalk::channel::unbounded();
    /// (0..3).for_each(|n| sender.send(n).unwrap());
    /// assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter(self)
    }

    /// Tells whether two ends belong to one channel.
    pub fn same_channel(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (Source::Channel(a), Source::Channel(b)) => Arc::ptr_eq(a, b),
            // All that never send are one.
            (Source::Clock(a, make), Source::Clock(b, other)) => {
                let now = Instant::now();
                Arc::ptr_eq(a, b) || make(now).is_none() && other(now).is_none()
            }
            _ => false,
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let source = match &self.source {
            Source::Channel(shared) => {
                // Relaxed: the clone is handed on by other means.
                shared.receivers.fetch_add(1, Ordering::Relaxed);
                Source::Channel(Arc::clone(shared))
            }
            Source::Clock(clock, make) => Source::Clock(Arc::clone(clock), *make),
        };
        Self { source }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        if let Source::Channel(shared) = &self.source
            // AcqRel: the last one closes after all that the others have received.
            && shared.receivers.fetch_sub(1, Ordering::AcqRel) == 1
        {
            shared.disconnect(true);
        }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver { .. }")
    }
}
