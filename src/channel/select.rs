//! Waiting for several channel operations at once.
//!
//! Look at all of them; if none is ready, wait in all their queues with one ticket, so that one wake ends
//! it; look again. A receive is done in the moment it is selected, so no other takes its message away. A
//! wake that came for an operation which was not selected is passed on.

use core::cell::Cell;
use core::fmt;
use core::time::Duration;
use std::time::Instant;

use super::case::{Case, Won};
use super::ends::{Receiver, Sender};
use super::error::{ReadyTimeoutError, SelectTimeoutError, TryReadyError, TrySelectError};
use super::selected::SelectedOperation;
use super::zero::When;
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Outcome, raise_cancelled};
use crate::runtime::{current_number, far};

/// A set of operations to wait for; see [`select!`](crate::select) for the usual way.
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
    cases: Vec<Option<Added<'a>>>,
    biased: bool,
}

/// An operation of a set, and who has added it.
#[derive(Clone, Copy)]
struct Added<'a> {
    case: &'a dyn Case,
    by: u64,
}

// SAFETY: asking a case for readiness, waiting in its queues and reserving a receiver touch no message. A
// message is taken only by whoever has added the operation (`is_here`), and stays on that one's thread.
unsafe impl Send for Added<'_> {}
// SAFETY: as for Send.
unsafe impl Sync for Added<'_> {}

impl<'a> Added<'a> {
    fn new(case: &'a dyn Case) -> Self {
        Self { case, by: current_number() }
    }

    /// Tells whether the caller has added it, and so may touch its messages, of whatever type.
    fn is_here(&self) -> bool {
        self.by == current_number()
    }
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
    pub fn send<T>(&mut self, sender: &'a Sender<T>) -> usize {
        self.cases.push(Some(Added::new(sender)));
        self.cases.len() - 1
    }

    /// Adds a receive, and gives its index.
    pub fn recv<T>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.cases.push(Some(Added::new(receiver)));
        self.cases.len() - 1
    }

    /// Takes an operation out; the others keep their indices.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::channel::{Select, never, unbounded};
    ///
    /// let (quiet, (sender, receiver)) = (never::<u8>(), unbounded());
    /// sender.send(1).unwrap();
    /// let mut select = Select::new();
    /// let (first, second) = (select.recv(&receiver), select.recv(&quiet));
    /// select.remove(first);
    /// assert!(select.try_ready().is_err() && second == 1);
    /// ```
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
        self.wait(When::Now, true).ok_or(TrySelectError)
    }

    /// Waits until an operation is ready, and selects it. A cancellation point if it has to wait.
    ///
    /// The operation must then be completed.
    ///
    /// # Panics
    /// If the set is empty.
    pub fn select(&mut self) -> SelectedOperation<'a> {
        assert!(self.cases.iter().any(Option::is_some), "no operations have been added to `Select`");
        self.wait(When::Ever, true)
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
    /// # Examples
    /// ```
    /// use ropewalk::channel::{Select, bounded};
    /// use std::time::{Duration, Instant};
    ///
    /// let (_sender, receiver) = bounded::<u8>(1);
    /// let mut select = Select::new_biased();
    /// select.recv(&receiver);
    /// assert!(select.select_deadline(Instant::now() + Duration::from_millis(1)).is_err());
    /// ```
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn select_deadline(
        &mut self,
        deadline: Instant,
    ) -> Result<SelectedOperation<'a>, SelectTimeoutError> {
        self.wait(When::By(deadline), true).ok_or(SelectTimeoutError)
    }

    /// Gives the index of an operation that is ready, without doing it. Never waits.
    ///
    /// # Errors
    /// If none is ready.
    pub fn try_ready(&mut self) -> Result<usize, TryReadyError> {
        self.wait(When::Now, false).map(|operation| operation.done()).ok_or(TryReadyError)
    }

    /// Waits until an operation is ready, and gives its index without doing it.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::channel::{Select, unbounded};
    ///
    /// let (sender, receiver) = unbounded();
    /// sender.send("here").unwrap();
    /// let mut select = Select::new();
    /// let index = select.recv(&receiver);
    /// assert_eq!(select.ready(), index);
    /// assert_eq!(receiver.try_recv(), Ok("here"));
    /// ```
    ///
    /// # Panics
    /// If the set is empty.
    pub fn ready(&mut self) -> usize {
        assert!(self.cases.iter().any(Option::is_some), "no operations have been added to `Select`");
        let operation = self.wait(When::Ever, false);
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
    /// # Examples
    /// ```
    /// use ropewalk::channel::{Select, bounded};
    /// use std::time::Instant;
    ///
    /// let (sender, receiver) = bounded::<u8>(1);
    /// let mut select = Select::new();
    /// let (send, _) = (select.send(&sender), select.recv(&receiver));
    /// assert_eq!(select.ready_deadline(Instant::now()), Ok(send));
    /// ```
    ///
    /// # Errors
    /// If none becomes ready.
    pub fn ready_deadline(&mut self, deadline: Instant) -> Result<usize, ReadyTimeoutError> {
        self.wait(When::By(deadline), false).map(|operation| operation.done()).ok_or(ReadyTimeoutError)
    }

    /// The operations, beginning at a random place and in a random direction: of any two, either one comes
    /// first as often.
    fn in_some_order(&self) -> impl Iterator<Item = (usize, Added<'a>)> + Clone {
        let count = self.cases.len();
        let random = if self.biased || count < 2 { 0 } else { random() };
        let (first, backwards) = (random / 2 % count.max(1), random % 2 == 1);
        let place = move |offset| if backwards { first + count - offset } else { first + offset };
        (0..count).filter_map(move |offset| {
            let index = place(offset) % count;
            Some((index, self.cases[index]?))
        })
    }

    /// Looks at all operations once; takes the message of the chosen one if `take`.
    fn look(&self, when: When, take: bool) -> Option<SelectedOperation<'a>> {
        self.in_some_order().find_map(|(index, added)| {
            let case = added.case;
            let taken =
                if take && !case.is_send() && added.is_here() { Some(case.take(when)?) } else { None };
            let reserved = if take { case.reserve() } else { None };
            let ready =
                taken.is_some() || reserved.is_some() || if take { case.is_open() } else { case.is_ready() };
            ready.then(|| SelectedOperation { index, case, taken, reserved, completed: false })
        })
    }

    fn wait(&self, when: When, take: bool) -> Option<SelectedOperation<'a>> {
        let deadline = when.deadline();
        let mut owed = Owed { select: self, indices: Vec::new(), chosen: None };
        let mut in_time = true;
        loop {
            if let Some(operation) = self.look(when, take) {
                owed.chosen = Some(operation.index);
                return Some(operation);
            }
            if !in_time {
                return None;
            }
            let order = self.in_some_order();
            let due = order.clone().filter_map(|(_, added)| added.case.due()).min();
            let until = [deadline, due].into_iter().flatten().min();
            let mut wait = MultiWait::new();
            let mut numbers = Vec::new();
            let ready = order.clone().any(|(_, added)| {
                let take = take && (added.case.is_send() || added.is_here());
                let (ready, number) = added.case.enlist(&mut wait, take);
                numbers.push(number);
                ready
            });
            let outcome = if ready {
                wait.retract();
                Outcome::Notified
            } else if matches!(when, When::Now) {
                // In all queues at once, with nothing ready and no wake: so none was ready together.
                if wait.retract() { Outcome::TimedOut } else { Outcome::Notified }
            } else {
                wait.park(until)
            };
            let mut chosen = None;
            for (((index, Added { case, .. }), won), number) in order.zip(wait.finish()).zip(numbers) {
                let Some(won) = won else { continue };
                let (taken, reserved) = match case.left(number, won, when) {
                    Won::Taken(taken) => (Some(taken), None),
                    Won::Reserved(reserved) => (None, Some(reserved)),
                    Won::Look => {
                        owed.indices.extend(won.then_some(index));
                        continue;
                    }
                };
                chosen = Some(SelectedOperation { index, case, taken, reserved, completed: false });
            }
            if let Some(operation) = chosen {
                owed.chosen = Some(operation.index);
                return Some(operation);
            }
            if outcome == Outcome::Cancelled {
                raise_cancelled();
            }
            in_time = match when {
                When::Now if outcome == Outcome::TimedOut => return None,
                When::By(deadline) => Instant::now() < deadline,
                _ => true,
            };
        }
    }
}

/// Operations through which wakes have come: those that were not chosen pass them on, however the wait ends.
struct Owed<'s, 'a> {
    select: &'s Select<'a>,
    indices: Vec<usize>,
    chosen: Option<usize>,
}

impl Drop for Owed<'_, '_> {
    fn drop(&mut self) {
        for index in self.indices.iter().filter(|index| Some(**index) != self.chosen) {
            self.select.cases[*index].iter().for_each(|added| added.case.pass_on());
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
