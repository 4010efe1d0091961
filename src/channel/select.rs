//! Waiting for several channel operations at once.
//!
//! Look at all of them; if none is ready, wait in all their queues with one ticket, so that one wake ends
//! it; look again. A receive is done in the moment it is selected, so no other takes its message away. A
//! wake that came for an operation which was not selected is passed on.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::time::Instant;

use super::case::{Case, Taken};
use super::ends::{Receiver, Sender};
use super::error::{
    ReadyTimeoutError, RecvError, SelectTimeoutError, SendError, TryReadyError, TrySelectError,
};
use crate::runtime::far;
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Outcome, raise_cancelled};

/// A set of operations to wait for; see [`select!`](crate::select) for the usual way.
///
/// Messages have to be `Send`, because the set may be: it takes a message where it is asked to.
///
/// # Examples
/// ```
/// use ropewalk::channel::{Select, unbounded};
///
/// let ((_s1, r1), (s2, r2)) = (unbounded::<i32>(), unbounded::<i32>());
/// s2.send(7).unwrap();
/// let mut select = Select::new();
/// let (_, second) = (select.recv(&r1), select.recv(&r2));
/// let operation = select.select();
/// assert_eq!(operation.index(), second);
/// assert_eq!(operation.recv(&r2), Ok(7));
/// ```
#[derive(Clone)]
pub struct Select<'a> {
    cases: Vec<Option<&'a (dyn Case + Sync)>>,
    biased: bool,
}

impl fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Select { .. }")
    }
}

impl Default for Select<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Select<'a> {
    /// Makes an empty set; among ready operations one is chosen at random.
    pub fn new() -> Self {
        Self { cases: Vec::new(), biased: false }
    }

    /// Makes an empty set; among ready operations the first one is chosen.
    pub fn new_biased() -> Self {
        Self { cases: Vec::new(), biased: true }
    }

    /// Adds a send, and gives its index.
    pub fn send<T: Send>(&mut self, sender: &'a Sender<T>) -> usize {
        self.cases.push(Some(sender));
        self.cases.len() - 1
    }

    /// Adds a receive, and gives its index.
    pub fn recv<T: Send>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.cases.push(Some(receiver));
        self.cases.len() - 1
    }

    /// Takes an operation out; the others keep their indices.
    ///
    /// # Panics
    /// If there is none with this index.
    pub fn remove(&mut self, index: usize) {
        assert!(index < self.cases.len(), "index out of bounds; {index} >= {}", self.cases.len());
        assert!(self.cases[index].is_some(), "no operation with this index");
        self.cases[index] = None;
    }

    /// Selects an operation that is ready. Never waits.
    ///
    /// # Errors
    /// If none is ready.
    pub fn try_select(&mut self) -> Result<SelectedOperation<'a>, TrySelectError> {
        self.look(true).ok_or(TrySelectError)
    }

    /// Waits until an operation is ready, and selects it. A cancellation point if it has to wait.
    ///
    /// The operation must then be completed.
    ///
    /// # Panics
    /// If the set is empty.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(self.cases.iter().any(Option::is_some), "no operations have been added to `Select`");
        self.wait(None, true)
            .unwrap_or_else(|| unreachable!("a wait without a deadline ends with an operation"))
    }

    /// As [`select`](Self::select), but waits no longer than `limit`.
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn select_timeout(&mut self, limit: Duration) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.select_deadline(far::after(limit))
    }

    /// As [`select`](Self::select), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.wait(Some(deadline), true).ok_or(SelectTimeoutError)
    }

    /// Gives the index of an operation that is ready, without doing it. Never waits.
    ///
    /// # Errors
    /// If none is ready.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.look(false).map(|operation| operation.done()).ok_or(TryReadyError)
    }

    /// Waits until an operation is ready, and gives its index without doing it.
    ///
    /// # Panics
    /// If the set is empty.
    pub fn ready(&mut self) -> usize {
        assert!(self.cases.iter().any(Option::is_some), "no operations have been added to `Select`");
        let operation = self.wait(None, false);
        operation.unwrap_or_else(|| unreachable!("a wait without a deadline ends with an operation")).done()
    }

    /// As [`ready`](Self::ready), but waits no longer than `limit`.
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn ready_timeout(&mut self, limit: Duration) -> Result<usize, ReadyTimeoutError> {
        self.ready_deadline(far::after(limit))
    }

    /// As [`ready`](Self::ready), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.wait(Some(deadline), false).map(|operation| operation.done()).ok_or(ReadyTimeoutError)
    }

    /// Looks at all operations once; takes the message of the chosen one if `take`.
    fn look(&self, take: bool) -> Option<SelectedOperation<'a>> {
        let count = self.cases.len();
        let first = if self.biased || count < 2 { 0 } else { random() % count };
        (0..count).map(|offset| (first + offset) % count).find_map(|index| {
            let case = self.cases[index]?;
            let taken = if take && !case.is_send() { Some(case.take()?) } else { None };
            let ready = taken.is_some() || case.is_ready();
            ready.then(|| SelectedOperation::new(index, case, taken))
        })
    }

    fn wait(&self, deadline: Option<Instant>, take: bool) -> Option<SelectedOperation<'a>> {
        // Operations through which a wake has come that may have been meant for this one.
        let mut owed: Vec<usize> = Vec::new();
        let mut in_time = true;
        loop {
            if let Some(operation) = self.look(take) {
                for index in owed.into_iter().filter(|index| *index != operation.index) {
                    self.cases[index].iter().for_each(|case| case.pass_on());
                }
                return Some(operation);
            }
            if !in_time {
                return None;
            }
            let cases = || self.cases.iter().enumerate().filter_map(|(index, case)| Some((index, (*case)?)));
            let due = cases().filter_map(|(_, case)| case.due()).min();
            let until = [deadline, due].into_iter().flatten().min();
            let mut wait = MultiWait::new();
            let ready = cases().any(|(_, case)| case.enlist(&mut wait));
            let outcome = if ready {
                wait.retract();
                Outcome::Notified
            } else {
                wait.park(until)
            };
            for ((index, case), won) in cases().zip(wait.finish()) {
                let Some(won) = won else { continue };
                case.left(won);
                if won {
                    owed.push(index);
                }
            }
            if outcome == Outcome::Cancelled {
                raise_cancelled();
            }
            in_time = deadline.is_none_or(|deadline| Instant::now() < deadline);
        }
    }
}

/// A number that is hard to foresee, from a generator of the thread's own (xorshift).
fn random() -> usize {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0x2545_F491_4F6C_DD1D) };
    }
    let mut state = STATE.get();
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    usize::try_from(state >> 33).unwrap_or(0)
}

/// An operation that was selected, and has to be completed.
#[must_use = "a selected operation has to be completed"]
pub struct SelectedOperation<'a> {
    index: usize,
    address: *const (),
    taken: Option<Taken>,
    completed: bool,
    select: PhantomData<&'a ()>,
}

impl fmt::Debug for SelectedOperation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SelectedOperation { .. }")
    }
}

impl SelectedOperation<'_> {
    fn new(index: usize, case: &dyn Case, taken: Option<Taken>) -> Self {
        Self { index, address: case.address(), taken, completed: false, select: PhantomData }
    }

    fn done(mut self) -> usize {
        self.completed = true;
        self.index
    }

    /// The index of the operation in its set.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Completes a send. If others have filled the channel since, it waits for room.
    ///
    /// # Errors
    /// The message, if all receivers are gone.
    ///
    /// # Panics
    /// If another sender was given to the set.
    pub fn send<T>(mut self, sender: &Sender<T>, message: T) -> Result<(), SendError<T>> {
        assert!(sender.address() == self.address, "passed a sender that wasn't selected");
        self.completed = true;
        sender.send(message)
    }

    /// Completes a receive.
    ///
    /// # Errors
    /// If the channel is empty and all senders are gone.
    ///
    /// # Panics
    /// If another receiver was given to the set.
    pub fn recv<T>(mut self, receiver: &Receiver<T>) -> Result<T, RecvError> {
        assert!(receiver.address() == self.address, "passed a receiver that wasn't selected");
        self.completed = true;
        let taken = self.taken.take().and_then(|taken| taken.get(receiver));
        taken.unwrap_or_else(|| receiver.recv())
    }
}

impl Drop for SelectedOperation<'_> {
    fn drop(&mut self) {
        assert!(
            self.completed || std::thread::panicking(),
            "dropped `SelectedOperation` without completing the operation"
        );
    }
}
