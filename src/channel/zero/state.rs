//! What a channel of capacity zero remembers, and how that changes; all under the lock of its queue.
#![forbid(unsafe_code)]

use std::collections::VecDeque;

use super::{RECEIVER, WILLING};
use crate::runtime::park::Claimed;
use crate::runtime::wait_queue::WaitList;

#[derive(Debug)]
pub(super) enum Promise<T> {
    Open,
    Kept(T),
    Broken,
}

#[derive(Debug)]
pub(super) struct State<T> {
    /// Messages of senders that wait, by the number of the send.
    pub(super) offers: VecDeque<(u64, T)>,
    /// Messages for receivers whose wait was ended, by the number of the receive.
    promises: Vec<(u64, Promise<T>)>,
    /// Selects whose wait was ended, and the receives that they are to send to.
    matches: Vec<(u64, u64)>,
    pub(super) closed: bool,
}

impl<T> State<T> {
    pub(super) fn new() -> Self {
        Self { offers: VecDeque::new(), promises: Vec::new(), matches: Vec::new(), closed: false }
    }

    /// Takes the message of a send that gives up, if nobody has.
    pub(super) fn take_back(&mut self, number: u64) -> Option<T> {
        let index = self.offers.iter().position(|offer| offer.0 == number)?;
        self.offers.remove(index).map(|offer| offer.1)
    }

    /// What has become of the promise to a receive: `None` if there is none.
    pub(super) fn promised(&mut self, number: u64) -> Option<Promise<T>> {
        let index = self.promises.iter().position(|promise| promise.0 == number)?;
        match self.promises[index].1 {
            Promise::Open => Some(Promise::Open),
            _ => Some(self.promises.swap_remove(index).1),
        }
    }

    /// Tells whether a promise is neither kept nor broken.
    pub(super) fn is_open(&self, number: u64) -> bool {
        self.promises.iter().any(|promise| promise.0 == number && matches!(promise.1, Promise::Open))
    }

    /// Takes a promise out that is still open; false if it is not.
    pub(super) fn withdraw(&mut self, number: u64) -> bool {
        let open = self.is_open(number);
        if open {
            self.promises.retain(|promise| promise.0 != number);
        }
        open
    }

    /// Keeps an open promise; gives the message back if it was withdrawn, or broken.
    pub(super) fn keep(&mut self, number: u64, message: T) -> Result<(), T> {
        match self.promises.iter_mut().find(|promise| promise.0 == number) {
            Some((_, promise @ Promise::Open)) => {
                *promise = Promise::Kept(message);
                Ok(())
            }
            _ => Err(message),
        }
    }

    /// Breaks a promise, if it is still open.
    pub(super) fn break_promise(&mut self, number: u64) {
        let promise = self.promises.iter_mut().find(|promise| promise.0 == number);
        if let Some((_, promise @ Promise::Open)) = promise {
            *promise = Promise::Broken;
        }
    }

    /// Breaks all that are open.
    pub(super) fn break_promises(&mut self) {
        let open = self.promises.iter_mut().filter(|promise| matches!(promise.1, Promise::Open));
        open.for_each(|promise| promise.1 = Promise::Broken);
    }

    /// Takes out the receive that a select's send was matched with, unless that has withdrawn.
    pub(super) fn matched(&mut self, number: u64) -> Option<u64> {
        let index = self.matches.iter().position(|pair| pair.0 == number)?;
        let receive = self.matches.swap_remove(index).1;
        self.is_open(receive).then_some(receive)
    }

    /// Ends the wait of a receiver that is not the caller, and promises it a message.
    pub(super) fn commit_receiver(&mut self, list: &mut WaitList, own: u32) -> Option<(u64, Claimed)> {
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
    pub(super) fn commit_select(&mut self, list: &mut WaitList, own: u32, number: u64) -> Option<Claimed> {
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
