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
//! one lock. A sender or receiver that gives up takes its offer or its entry back, unless it was found
//! before: then the message has changed hands.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU64, Ordering};
use std::collections::VecDeque;
use std::time::Instant;

use crate::queue::core::{GetFailed, PutFailed};
use crate::runtime::multi_wait::MultiWait;
use crate::runtime::park::{Claimed, Outcome, Reason, Shield, raise_cancelled};
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

#[derive(Debug)]
enum Promise<T> {
    Open,
    Kept(T),
    Broken,
}

#[derive(Debug)]
pub(super) struct State<T> {
    /// Messages of senders that wait, by the number of the send.
    offers: VecDeque<(u64, T)>,
    /// Messages for receivers whose wait was ended, by the number of the receive.
    promises: Vec<(u64, Promise<T>)>,
    /// Selects whose wait was ended, and the receives that they are to send to.
    matches: Vec<(u64, u64)>,
    closed: bool,
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

    /// Ends the wait of a receiver that is not the caller, and promises it a message.
    fn commit_receiver(&mut self, list: &mut WaitList, own: u32) -> Option<(u64, Claimed)> {
        let promises = &mut self.promises;
        let before = promises.len();
        let claimed = list.claim(|seen| {
            let fits = seen.key == RECEIVER && seen.party != own;
            if fits {
                // Before the claim, as a thread may come back at once. If the claim fails, the one that
                // has given up finds no use for it, and the next one gets it.
                promises.truncate(before);
                promises.push((seen.note, Promise::Open));
            }
            fits
        });
        match claimed {
            Some(claimed) => Some((promises[before].0, claimed)),
            None => {
                promises.truncate(before);
                None
            }
        }
    }

    /// Ends the wait of a select that would send and is not the caller: it is to send to receive `number`.
    fn commit_select(&mut self, list: &mut WaitList, own: u32, number: u64) -> Option<Claimed> {
        let matches = &mut self.matches;
        let before = matches.len();
        let claimed = list.claim(|seen| {
            let fits = seen.key == WILLING && seen.party != own;
            if fits {
                // As above.
                matches.truncate(before);
                matches.push((seen.note, number));
            }
            fits
        });
        match claimed {
            Some(claimed) => {
                self.promises.push((number, Promise::Open));
                Some(claimed)
            }
            None => {
                matches.truncate(before);
                None
            }
        }
    }
}

/// A receiver that waits for the message of a select, and for nothing else.
#[derive(Debug)]
pub(super) struct Reserved {
    number: u64,
    /// Its wait, if that was ended by the select; otherwise it waits for the promise already.
    claimed: Option<Claimed>,
}

#[derive(Debug)]
pub(super) struct Zero<T> {
    next: AtomicU64,
    queue: WaitQueue<State<T>>,
}

impl<T> Zero<T> {
    pub(super) fn new() -> Self {
        let state =
            State { offers: VecDeque::new(), promises: Vec::new(), matches: Vec::new(), closed: false };
        Self { next: AtomicU64::new(1), queue: WaitQueue::new(state) }
    }

    /// A number for an operation.
    fn number(&self) -> u64 {
        // Relaxed: only uniqueness matters.
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn close(&self) -> bool {
        let (first, woken) = self.queue.with(|state, list| {
            let first = !core::mem::replace(&mut state.closed, true);
            // Not those that are promised something: that is still to come.
            let fits = |seen: Seen| seen.key != PROMISED;
            (first, core::iter::from_fn(|| list.claim(fits)).collect::<Vec<_>>())
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
                    keep(state, number, Some(message));
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
                    keep(state, receive, Some(message));
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
                None => {
                    if let Some(message) = self.await_promise(number) {
                        return Ok(message);
                    }
                }
            }
        }
    }

    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        loop {
            match self.try_recv() {
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

    /// The message that was promised to a receive, if one was, and the promise is kept.
    ///
    /// Not a cancellation point: the other side is committed to this receive.
    pub(super) fn await_promise(&self, number: u64) -> Option<T> {
        loop {
            match self.queue.with(|state, _| state.promised(number))? {
                Promise::Kept(message) => return Some(message),
                Promise::Broken => return None,
                Promise::Open => {
                    let _shield = Shield::new();
                    let how = How { key: PROMISED, note: number, ..How::new(Reason::Queue, None) };
                    self.queue.wait_if(how, |state, _| {
                        let is_open = |promise: &(u64, Promise<T>)| matches!(promise.1, Promise::Open);
                        state.promises.iter().any(|promise| promise.0 == number && is_open(promise))
                    });
                }
            }
        }
    }

    /// Ends the wait of a receiver for a message that is to come; `None` if nobody waits.
    pub(super) fn reserve(&self) -> Option<Reserved> {
        let own = party::current_id();
        let (number, claimed) = self.queue.with(|state, list| state.commit_receiver(list, own))?;
        Some(Reserved { number, claimed: Some(claimed) })
    }

    /// The receive that has ended the wait of a select's send, if one has.
    pub(super) fn matched(&self, number: u64) -> Option<Reserved> {
        self.queue.with(|state, _| {
            let index = state.matches.iter().position(|pair| pair.0 == number)?;
            Some(Reserved { number: state.matches.swap_remove(index).1, claimed: None })
        })
    }

    /// Gives a reserved receiver its message, or (`None`) lets it look for another.
    pub(super) fn settle(&self, reserved: Reserved, message: Option<T>) {
        let again = self.queue.with(|state, list| {
            keep(state, reserved.number, message);
            list.claim(|seen| seen.key == PROMISED && seen.note == reserved.number)
        });
        wake(reserved.claimed);
        wake(again);
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

/// Decides an open promise. A receiver that has been dropped with its thread's coroutine is not here.
fn keep<T>(state: &mut State<T>, number: u64, message: Option<T>) {
    if let Some(promise) = state.promises.iter_mut().find(|promise| promise.0 == number) {
        promise.1 = message.map_or(Promise::Broken, Promise::Kept);
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
