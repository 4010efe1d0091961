//! An operation that a select has chosen, until it is completed.
#![forbid(unsafe_code)]

use core::fmt;

use super::case::{Case, Reserved, Taken};
use super::ends::{Receiver, Sender};
use super::error::{RecvError, SendError};
use super::flavour::Kind;

/// An operation that was selected, and has to be completed.
///
/// Until then it holds what it needs: a selected send has a place in its channel, or a receiver that waits for
/// it; a selected receive has its message. Dropping it gives that back, and then panics. One that is forgotten
/// (`mem::forget`) keeps it: a bounded channel has a place less, a message is leaked, and a receiver waits
/// until it is cancelled, its deadline comes or the last sender is gone.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, bounded};
///
/// let (sender, receiver) = bounded(1);
/// let mut select = Select::new();
/// let send = select.send(&sender);
/// let chosen = select.select();
/// assert_eq!(chosen.index(), send);
/// chosen.send(&sender, 7).unwrap();
/// assert_eq!(receiver.recv(), Ok(7));
/// ```
#[must_use = "a selected operation has to be completed"]
pub struct SelectedOperation<'a> {
    pub(super) index: usize,
    pub(super) case: &'a dyn Case,
    pub(super) taken: Option<Taken>,
    pub(super) reserved: Option<Reserved>,
    pub(super) completed: bool,
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectedOperation { .. }")
    }
}

impl SelectedOperation<'_> {
    pub(super) fn done(mut self) -> usize {
        self.completed = true;
        self.index
    }

    /// The index of the operation in its set.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send. Does not wait: there is room for it, or a receiver that waits for this very message.
    ///
    /// One case is left: on a channel of capacity 0, that receiver was cancelled, or its deadline has come, after
    /// the send was selected. Then this waits for another receiver, as [`Sender::send`] does.
    ///
    /// # Errors
    /// The message, if all receivers are gone.
    ///
    /// # Panics
    /// If another sender was given to the set.
    pub fn send<T>(mut self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        assert!(sender.address() == self.case.address(), "passed a sender that wasn't selected");
        self.completed = true;
        match (&sender.shared.kind, self.reserved.take()) {
            (Kind::Zero(zero), Some(Reserved::Receiver(receiver))) => {
                zero.fulfil(&receiver, message).or_else(|message| sender.send(message))
            }
            (Kind::Buffered(core), Some(Reserved::Room)) => {
                core.put_promised(message).map_err(SendError::from)
            }
            // Without bound, or closed.
            _ => sender.send(message),
        }
    }

    /// Completes a receive.
    ///
    /// # Errors
    /// If the channel is empty and all senders are gone.
    ///
    /// # Panics
    /// If another receiver was given to the set.
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        assert!(receiver.address() == self.case.address(), "passed a receiver that wasn't selected");
        self.completed = true;
        let taken = self.taken.take().and_then(|taken| taken.get(receiver));
        taken.unwrap_or_else(|| receiver.recv())
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        if let Some(reserved) = self.reserved.take() {
            self.case.abandon(reserved);
        }
        assert!(
            self.completed || std::thread::panicking(),
            "dropped `SelectedOperation` without completing the operation"
        );
    }
}
