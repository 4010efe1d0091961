//! A channel of capacity zero: a message goes from hand to hand.
//!
//! | who comes | finds | does |
//! |---|---|---|
//! | a send | a receive that waits | ends that wait, and leaves the message as a promise kept |
//! | a send | nobody | lays its message down as an offer, and waits until it is taken |
//! | a receive | an offer | takes it, and ends the sender's wait |
//! | a receive | a select that would send | ends that wait: the select is to send to this very receive |
//! | a select that sends | a receive that waits | ends that wait, and owes it a message |
//!
//! Whoever ends a wait commits the other side: a receive whose wait was ended has a promise, by its number,
//! and takes what that brings; a select whose wait was ended does that operation and no other. All under
//! one lock (`state`). A sender or receiver that gives up takes its offer or its entry back, unless it was
//! found before: then the message has changed hands.
//!
//! A promise may stay open: the select's message is made by user code, and safe code can forget the selected
//! send. So a receive waits for its promise as for anything else: cancelled, or a moment after its deadline, it
//! withdraws, and the select's send then waits for another. A channel whose senders are gone breaks the promises
//! that are open, because whoever could keep one borrows a sender.
#![forbid(unsafe_code)]

mod state;

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::time::Instant;

use self::state::{Promise, State};
use crate::queue::core::{GetFailed, PutFailed};
use crate::runtime::far;
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled};
use crate::runtime::party;
use crate::runtime::wait_queue::{How, Seen, WaitList, WaitQueue};

/// What a waiter is: the `key` of its entry. Its `note` is the number of its operation.
const RECEIVER: usize = 0;
const SENDER: usize = 1;
/// A select that would send.
const WILLING: usize = 2;
/// A receiver that waits for the message it was promised.
const PROMISED: usize = 3;
/// A select that only wants to know when a receive, or a send, is ready.
const WATCH_RECV: usize = 4;
const WATCH_SEND: usize = 5;

/// A receive that a select is to send to, by its number.
#[derive(Debug)]
pub(super) struct Reserved(u64);

/// How long an operation waits.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Now,
    By(Instant),
    Ever,
}

impl When {
    pub(super) fn deadline(self) -> Option<Instant> {
        if let Self::By(deadline) = self { Some(deadline) } else { None }
    }
}

/// What a receive waits for its promise at least, past its deadline: the select has been woken for it, and
/// without that two which only try would never meet.
const PATIENCE: Duration = Duration::from_millis(10);

/// How the wait for a promise has ended before the promise was decided.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    TimedOut,
    Cancelled,
}

impl Late {
    /// What a receive says of it; one that was cancelled unwinds, unless it only tries.
    fn failed(self, when: When) -> GetFailed {
        match (self, when) {
            (Self::TimedOut, _) | (Self::Cancelled, When::Now) => GetFailed::Empty,
            (Self::Cancelled, _) => raise_cancelled(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Zero<T> {
    next: AtomicU64,
    queue: WaitQueue<State<T>>,
}

impl<T> Zero<T> {
    pub(super) fn new() -> Self {
        Self { next: AtomicU64::new(1), queue: WaitQueue::new(State::new()) }
    }

    /// A number for an operation.
    fn number(&self) -> u64 {
        // Relaxed: only uniqueness matters.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn close(&self) -> bool {
        let (first, woken) = self.queue.with(|state, list| {
            let first = !core::mem::replace(&mut state.closed, true);
            state.break_promises();
            (first, core::iter::from_fn(|| list.claim_first()).collect::<Vec<_>>())
        });
        woken.into_iter().for_each(Claimed::wake);
        first
    }

    pub(super) fn try_send(&self, message: T) -> Result<(), PutFailed<T>> {
        let own = party::current_id();
        let claimed = self.queue.with(|state, list| {
            if state.closed {
                return Err(PutFailed::Closed(message));
            }
            match state.commit_receiver(list, own) {
                Some((number, claimed)) => {
                    state.keep(number, message).ok();
                    Ok(claimed)
                }
                None => Err(PutFailed::Full(message)),
            }
        })?;
        claimed.wake();
        Ok(())
    }

    pub(super) fn send(&self, message: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>> {
        let (number, own) = (self.number(), party::current_id());
        let how = How { key: SENDER, note: number, ..How::new(Reason::Queue, deadline) };
        let (mut refused, mut claimed) = (None, None);
        let watcher = core::cell::Cell::new(None);
        let outcome = self.queue.wait_then(
            how,
            |state, list| {
                if state.closed {
                    refused = Some(message);
                    return false;
                }
                if let Some((receive, receiver)) = state.commit_receiver(list, own) {
                    state.keep(receive, message).ok();
                    claimed = Some(receiver);
                    return false;
                }
                state.offers.push_back((number, message));
                watcher.set(list.claim(|seen| seen.key == WATCH_RECV && seen.party != own));
                true
            },
            || wake(watcher.take()),
        );
        wake(claimed);
        if let Some(message) = refused {
            return Err(PutFailed::Closed(message));
        }
        let Some(outcome) = outcome else { return Ok(()) };
        let Some(back) = self.queue.with(|state, _| state.take_back(number)) else { return Ok(()) };
        match outcome {
            // Woken, but not because the offer was taken: the channel has been closed.
            Outcome::Notified => Err(PutFailed::Closed(back)),
            Outcome::TimedOut => Err(PutFailed::Full(back)),
            Outcome::Cancelled => {
                drop(back);
                raise_cancelled()
            }
        }
    }

    pub(super) fn try_recv(&self) -> Result<T, GetFailed> {
        self.look(When::Now)
    }

    /// Takes a message that is there, or is about to be: a select that waits to send has to make it first.
    pub(super) fn look(&self, when: When) -> Result<T, GetFailed> {
        let (number, own) = (self.number(), party::current_id());
        loop {
            let mut claimed = None;
            let result = self.queue.with(|state, list| {
                if let Some((send, message)) = state.offers.pop_front() {
                    claimed = list.claim(|seen| seen.key == SENDER && seen.note == send);
                    return Ok(Some(message));
                }
                claimed = state.commit_select(list, own, number);
                match claimed {
                    Some(_) => Ok(None),
                    None => Err(if state.closed { GetFailed::Closed } else { GetFailed::Empty }),
                }
            });
            wake(claimed);
            match result? {
                Some(message) => return Ok(message),
                // A select is about to send to us; if its message does not come after all, look again.
                None => match self.await_promise(number, when) {
                    Ok(None) => {}
                    Ok(Some(message)) => return Ok(message),
                    Err(late) => return Err(late.failed(when)),
                },
            }
        }
    }

    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        let when = deadline.map_or(When::Ever, When::By);
        loop {
            match self.look(when) {
                Err(GetFailed::Empty) => {}
                other => return other,
            }
            let (number, own) = (self.number(), party::current_id());
            let how = How { key: RECEIVER, note: number, ..How::new(Reason::Queue, deadline) };
            let watcher = core::cell::Cell::new(None);
            let outcome = self.queue.wait_then(
                how,
                |state, list| {
                    let wait = !is_ready_to_recv(state, list, own);
                    if wait {
                        watcher.set(list.claim(|seen| seen.key == WATCH_SEND && seen.party != own));
                    }
                    wait
                },
                || wake(watcher.take()),
            );
            match outcome {
                None => {}
                Some(Outcome::Notified) => match self.await_promise(number, when) {
                    Ok(None) => {}
                    Ok(Some(message)) => return Ok(message),
                    Err(late) => return Err(late.failed(when)),
                },
                Some(Outcome::TimedOut) => return Err(GetFailed::Empty),
                Some(Outcome::Cancelled) => raise_cancelled(),
            }
        }
    }

    /// The message that was promised to a receive, if one was, and the promise is kept.
    ///
    /// # Errors
    /// If the wait for it has ended before; then the promise is withdrawn.
    pub(super) fn await_promise(&self, number: u64, when: When) -> Result<Option<T>, Late> {
        loop {
            match self.queue.with(|state, _| state.promised(number)) {
                None | Some(Promise::Broken) => return Ok(None),
                Some(Promise::Kept(message)) => return Ok(Some(message)),
                Some(Promise::Open) => {}
            }
            let deadline = match when {
                When::Now => Some(far::after(PATIENCE)),
                When::By(deadline) => Some(deadline.max(far::after(PATIENCE))),
                When::Ever => None,
            };
            let how = How { key: PROMISED, note: number, ..How::new(Reason::Queue, deadline) };
            let late = match self.queue.wait_if(how, |state, _| state.is_open(number)) {
                None | Some(Outcome::Notified) => continue,
                Some(Outcome::TimedOut) => Late::TimedOut,
                Some(Outcome::Cancelled) => Late::Cancelled,
            };
            // Otherwise it was kept or broken in the last moment, and a cancellation comes at the next wait.
            if self.queue.with(|state, _| state.withdraw(number)) {
                return Err(late);
            }
        }
    }

    /// Ends the wait of a receiver, which from now on waits for the caller's message; `None` if nobody waits.
    pub(super) fn reserve(&self) -> Option<Reserved> {
        let own = party::current_id();
        let (number, claimed) = self.queue.with(|state, list| state.commit_receiver(list, own))?;
        // Now, and not with the message: a wait that is claimed and not woken could not be cancelled.
        claimed.wake();
        Some(Reserved(number))
    }

    /// The receive that has ended the wait of a select's send, if one has and is still there.
    pub(super) fn matched(&self, number: u64) -> Option<Reserved> {
        self.queue.with(|state, _| state.matched(number)).map(Reserved)
    }

    /// Gives a reserved receiver its message.
    ///
    /// # Errors
    /// The message, if the receiver has withdrawn.
    pub(super) fn fulfil(&self, reserved: &Reserved, message: T) -> Result<(), T> {
        self.decide(reserved, |state| state.keep(reserved.0, message))
    }

    /// Lets a reserved receiver look for another message.
    pub(super) fn abandon(&self, reserved: &Reserved) {
        self.decide(reserved, |state| state.break_promise(reserved.0));
    }

    fn decide<R>(&self, reserved: &Reserved, decide: impl FnOnce(&mut State<T>) -> R) -> R {
        let (result, waiting) = self.queue.with(|state, list| {
            (decide(state), list.claim(|seen| seen.key == PROMISED && seen.note == reserved.0))
        });
        wake(waiting);
        result
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.with(|state, _| state.closed)
    }

    /// Tells whether a receive would end at once.
    pub(super) fn can_recv(&self) -> bool {
        let own = party::current_id();
        self.queue.with(|state, list| is_ready_to_recv(state, list, own))
    }

    /// Tells whether a send would go through at once.
    pub(super) fn can_send(&self) -> bool {
        let own = party::current_id();
        self.queue.with(|state, list| is_ready_to_send(state, list, own))
    }

    /// Waits as one of several to receive (`take`), or to know that one could; true if so already. Gives
    /// the number of the operation.
    pub(super) fn enlist_recv<'a>(&'a self, wait: &mut MultiWait<'a>, take: bool) -> (bool, u64) {
        let (number, own) = (self.number(), party::current_id());
        let mut watcher = None;
        let key = if take { RECEIVER } else { WATCH_RECV };
        let ready = wait.enlist(&self.queue, key, number, |state, list| {
            let ready = is_ready_to_recv(state, list, own);
            if !ready && take {
                watcher = list.claim(|seen| seen.key == WATCH_SEND && seen.party != own);
            }
            ready
        });
        wake(watcher);
        (ready, number)
    }

    /// Waits as one of several to send (`take`), or to know that one could; true if so already. Gives the
    /// number of the operation.
    pub(super) fn enlist_send<'a>(&'a self, wait: &mut MultiWait<'a>, take: bool) -> (bool, u64) {
        let (number, own) = (self.number(), party::current_id());
        let mut watcher = None;
        let key = if take { WILLING } else { WATCH_SEND };
        let ready = wait.enlist(&self.queue, key, number, |state, list| {
            let ready = is_ready_to_send(state, list, own);
            if !ready && take {
                watcher = list.claim(|seen| seen.key == WATCH_RECV && seen.party != own);
            }
            ready
        });
        wake(watcher);
        (ready, number)
    }
}

fn is_ready_to_recv<T>(state: &State<T>, list: &WaitList, own: u32) -> bool {
    let willing = |seen: Seen| seen.key == WILLING && seen.party != own;
    state.closed || !state.offers.is_empty() || list.peek(willing).is_some()
}

fn is_ready_to_send<T>(state: &State<T>, list: &WaitList, own: u32) -> bool {
    let receiver = |seen: Seen| seen.key == RECEIVER && seen.party != own;
    state.closed || list.peek(receiver).is_some()
}

fn wake(claimed: Option<Claimed>) {
    if let Some(claimed) = claimed {
        claimed.wake();
    }
}
