//! A channel of capacity zero: a message goes from hand to hand.
//!
//! A sender lays its message down as an offer. If a receiver waits, its wait is ended for this very offer
//! and the sender goes on; otherwise the sender waits until a receiver takes it, and takes it back if it
//! gives up. All under one lock.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::time::Instant;

use crate::queue::core::{GetFailed, PutFailed};
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Claimed, Outcome, Reason, Shield, raise_cancelled};
use crate::runtime::party;
use crate::runtime::wait_queue::{How, WaitQueue};

/// What a waiter is: the `key` of its entry. A sender's `note` is the number of its offer.
pub(super) const RECEIVER: usize = 0;
const SENDER: usize = 1;
/// A select that would send, and has made no offer yet.
pub(super) const WILLING: usize = 2;
/// A receiver that was promised a message.
const PROMISED: usize = 3;
/// The note of a receive that is one of several operations of a select.
const SELECTING: u64 = 0;

#[derive(Debug)]
pub(super) struct State<T> {
    offers: VecDeque<(u64, T)>,
    /// Messages for receivers whose wait a select has ended: by the number of the receive, and empty until
    /// the select's send is completed.
    promises: Vec<(u64, Promise<T>)>,
    closed: bool,
}

#[derive(Debug)]
enum Promise<T> {
    Open,
    Kept(T),
    Broken,
}

/// A receiver that waits for the message of a select, and for nothing else.
#[derive(Debug)]
pub(super) struct Reserved {
    number: u64,
    claimed: Claimed,
}

impl<T> State<T> {
    fn take_back(&mut self, number: u64) -> Option<T> {
        let index = self.offers.iter().position(|offer| offer.0 == number)?;
        self.offers.remove(index).map(|offer| offer.1)
    }

    /// What has become of the promise to a receive: `None` if there is none.
    fn promised(&mut self, number: u64) -> Option<Promise<T>> {
        let index = self.promises.iter().position(|promise| promise.0 == number)?;
        match self.promises[index].1 {
            Promise::Open => Some(Promise::Open),
            _ => Some(self.promises.swap_remove(index).1),
        }
    }
}

#[derive(Debug)]
pub(super) struct Zero<T> {
    next: AtomicU64,
    pub(super) queue: WaitQueue<State<T>>,
}

impl<T> Zero<T> {
    pub(super) fn new() -> Self {
        Self {
            next: AtomicU64::new(1),
            queue: WaitQueue::new(State { offers: VecDeque::new(), promises: Vec::new(), closed: false }),
        }
    }

    pub(super) fn close(&self) -> bool {
        let (first, woken) = self.queue.with(|state, list| {
            let first = !core::mem::replace(&mut state.closed, true);
            (first, core::iter::from_fn(|| list.claim_first()).collect::<Vec<_>>())
        });
        woken.into_iter().for_each(Claimed::wake);
        first
    }

    pub(super) fn try_send(&self, message: T) -> Result<(), PutFailed<T>> {
        let claimed = self.queue.with(|state, list| {
            if state.closed {
                return Err(PutFailed::Closed(message));
            }
            let Some(claimed) = list.claim(|seen| seen.key == RECEIVER) else {
                return Err(PutFailed::Full(message));
            };
            // Relaxed: only uniqueness matters.
            state.offers.push_back((self.next.fetch_add(1, Ordering::Relaxed), message));
            Ok(claimed)
        })?;
        claimed.wake();
        Ok(())
    }

    pub(super) fn send(&self, message: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>> {
        // Relaxed: only uniqueness matters.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let how = How { key: SENDER, note: number, ..How::new(Reason::Queue, deadline) };
        let (mut refused, mut claimed) = (None, None);
        let outcome = self.queue.wait_if(how, |state, list| {
            if state.closed {
                refused = Some(message);
                return false;
            }
            state.offers.push_back((number, message));
            claimed = list.claim(|seen| seen.key == RECEIVER);
            claimed.is_none()
        });
        if let Some(claimed) = claimed {
            claimed.wake();
        }
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
        let (result, claimed) = self.queue.with(|state, list| match state.offers.pop_front() {
            Some((number, message)) => {
                let sender = list.claim(|seen| seen.key == SENDER && seen.note == number);
                (Ok(message), sender)
            }
            None => (Err(if state.closed { GetFailed::Closed } else { GetFailed::Empty }), None),
        });
        if let Some(claimed) = claimed {
            claimed.wake();
        }
        result
    }

    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        loop {
            match self.try_recv() {
                Err(GetFailed::Empty) => {}
                other => return other,
            }
            // Relaxed: only uniqueness matters.
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let how = How { key: RECEIVER, note: number, ..How::new(Reason::Queue, deadline) };
            let willing = Cell::new(None);
            let outcome = self.queue.wait_then(
                how,
                |state, list| {
                    willing.set(list.claim(|seen| seen.key == WILLING));
                    state.offers.is_empty() && !state.closed
                },
                // A select that would send is told that somebody waits for it now.
                || {
                    if let Some(willing) = willing.take() {
                        willing.wake();
                    }
                },
            );
            if let Some(willing) = willing.take() {
                willing.wake();
            }
            match outcome {
                None => {}
                Some(Outcome::Notified) => {
                    if let Some(message) = self.await_promise(number) {
                        return Ok(message);
                    }
                }
                Some(Outcome::TimedOut) => return Err(GetFailed::Empty),
                Some(Outcome::Cancelled) => raise_cancelled(),
            }
        }
    }

    /// The message that was promised to this receive, if one was, and the promise is kept.
    fn await_promise(&self, number: u64) -> Option<T> {
        loop {
            match self.queue.with(|state, _| state.promised(number))? {
                Promise::Kept(message) => return Some(message),
                Promise::Broken => return None,
                // A thread that came back early. Its sender is committed, and so is this receive.
                Promise::Open => {
                    let _shield = Shield::new();
                    let how = How { key: PROMISED, note: number, ..How::new(Reason::Queue, None) };
                    let is_open = |state: &mut State<T>| {
                        state
                            .promises
                            .iter()
                            .any(|promise| promise.0 == number && matches!(promise.1, Promise::Open))
                    };
                    self.queue.wait_if(how, |state, _| is_open(state));
                }
            }
        }
    }

    /// Ends the wait of a receiver for a message that will come; `None` if nobody waits. Not for the
    /// receives of a select, which may choose another operation.
    pub(super) fn reserve(&self) -> Option<Reserved> {
        self.queue.with(|state, list| {
            let mut number = 0;
            let claimed = list.claim(|seen| {
                let fits = seen.key == RECEIVER && seen.note != SELECTING;
                if fits {
                    // Before the claim, as a thread may come back at once; dropped again if that fails.
                    state.promises.retain(|promise| promise.0 != number || number == 0);
                    number = seen.note;
                    state.promises.push((number, Promise::Open));
                }
                fits
            });
            if claimed.is_none() && number != 0 {
                state.promises.retain(|promise| promise.0 != number);
            }
            claimed.map(|claimed| Reserved { number, claimed })
        })
    }

    /// Gives a reserved receiver its message, or (`None`) lets it wait for another.
    pub(super) fn settle(&self, reserved: Reserved, message: Option<T>) {
        let again = self.queue.with(|state, list| {
            if let Some(promise) = state.promises.iter_mut().find(|promise| promise.0 == reserved.number) {
                promise.1 = message.map_or(Promise::Broken, Promise::Kept);
            }
            list.claim(|seen| seen.key == PROMISED && seen.note == reserved.number)
        });
        reserved.claimed.wake();
        if let Some(again) = again {
            again.wake();
        }
    }

    /// Tells whether a receive would end at once.
    pub(super) fn can_recv(&self) -> bool {
        self.queue.with(|state, _| !state.offers.is_empty() || state.closed)
    }

    /// Tells whether a send would go through at once.
    pub(super) fn can_send(&self) -> bool {
        self.queue.with(|state, list| state.closed || list.peek(|seen| seen.key == RECEIVER).is_some())
    }

    /// Waits for an offer as one of several waits; true if there is one.
    pub(super) fn enlist_recv<'a>(&'a self, wait: &mut MultiWait<'a>) -> bool {
        let own = party::current_id();
        let mut willing = None;
        let ready = wait.enlist(&self.queue, RECEIVER, |state, list| {
            let ready = !state.offers.is_empty() || state.closed;
            if !ready {
                willing = list.claim(|seen| seen.key == WILLING && seen.party != own);
            }
            ready
        });
        if let Some(willing) = willing {
            willing.wake();
        }
        ready
    }

    /// Waits for a receiver as one of several waits; true if there is one, other than the caller itself.
    pub(super) fn enlist_send<'a>(&'a self, wait: &mut MultiWait<'a>) -> bool {
        let own = party::current_id();
        wait.enlist(&self.queue, WILLING, |state, list| {
            state.closed || list.peek(|seen| seen.key == RECEIVER && seen.party != own).is_some()
        })
    }

    /// A wake that was meant for the caller goes to another receiver, if there is something to take.
    pub(super) fn pass_on(&self) {
        let claimed = self.queue.with(|state, list| {
            let more = !state.offers.is_empty();
            if more { list.claim(|seen| seen.key == RECEIVER) } else { None }
        });
        if let Some(claimed) = claimed {
            claimed.wake();
        }
    }
}
