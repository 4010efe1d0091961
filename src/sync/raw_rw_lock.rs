//! The readers-writer lock without a value.
//!
//! ```text
//!  31     | 30     | 29 ...... 0
//!  WRITER | QUEUED | readers
//! ```
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | no `WRITER`, no `QUEUED` | one reader more | a reader, by CAS | it comes in |
//! | 0 | `WRITER` | a writer, by CAS | it comes in |
//! | `WRITER` | one reader | the writer, by CAS, or with the queue locked | it goes on as a reader |
//! | held | the same, `QUEUED` | anybody, with the queue locked | it is going to wait |
//! | the last one leaves, `QUEUED` | what the oldest waiters need | who leaves, with the queue locked | it hands over |
//!
//! Fair: once somebody waits, whoever comes later waits behind. Whoever leaves last hands the lock to the
//! oldest waiter: one writer, or all readers up to the next writer. So nobody starves.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitList, WaitQueue};

const WRITER: u32 = 1 << 31;
const QUEUED: u32 = 1 << 30;
const READERS: u32 = QUEUED - 1;

const READ: usize = 0;
const WRITE: usize = 1;

#[derive(Debug)]
pub(super) struct RawRwLock {
    word: AtomicU32,
    queue: WaitQueue<()>,
}

impl RawRwLock {
    pub(super) const fn new() -> Self {
        Self { word: AtomicU32::new(0), queue: WaitQueue::new(()) }
    }

    #[inline]
    pub(super) fn try_read(&self) -> bool {
        let enter = |word: u32| (word & (WRITER | QUEUED) == 0 && word & READERS < READERS).then(|| word + 1);
        // Acquire pairs with the Release of the writer that has left.
        self.word.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok()
    }

    #[inline]
    pub(super) fn try_write(&self) -> bool {
        // Acquire pairs with the Release of whoever has left.
        self.word.compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    pub(super) fn read(&self, deadline: Option<Instant>) -> bool {
        self.try_read() || self.wait(READ, deadline)
    }

    pub(super) fn write(&self, deadline: Option<Instant>) -> bool {
        self.try_write() || self.wait(WRITE, deadline)
    }

    #[cold]
    fn wait(&self, kind: usize, deadline: Option<Instant>) -> bool {
        let how = How { key: kind, ..How::new(Reason::Lock, deadline) };
        let outcome = self.queue.wait_if(how, |(), _| {
            loop {
                // Acquire: as in `try_read`.
                let word = self.word.load(Ordering::Acquire);
                assert!(
                    word & READERS < READERS,
                    "an RwLock has no room for more readers; some guards were leaked"
                );
                let enter = match kind {
                    READ if word & (WRITER | QUEUED) == 0 => Some(word + 1),
                    WRITE if word == 0 => Some(WRITER),
                    _ => None,
                };
                let next = enter.unwrap_or(word | QUEUED);
                // Acquire: as in `try_read`.
                if self.word.compare_exchange(word, next, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                    return enter.is_none();
                }
            }
        });
        match outcome {
            // Whoever woke this party has put it into the word.
            None | Some(Outcome::Notified) => true,
            Some(Outcome::TimedOut) => {
                self.settle();
                false
            }
            Some(Outcome::Cancelled) => {
                self.settle();
                raise_cancelled()
            }
        }
    }

    /// A waiter has given up: those behind it may be let in now.
    fn settle(&self) {
        self.wake_all(|lock, list| {
            // Relaxed: the queue is locked, and `QUEUED` keeps newcomers out.
            let word = lock.word.load(Ordering::Relaxed);
            if word & QUEUED == 0 {
                return Vec::new();
            }
            if list.is_empty() {
                lock.word.fetch_and(!QUEUED, Ordering::Relaxed);
                return Vec::new();
            }
            let mut woken = Vec::new();
            if word & WRITER == 0 {
                let only_readers_inside = word & READERS > 0;
                lock.let_in(list, only_readers_inside, &mut woken);
            }
            woken
        });
    }

    /// Lets the oldest waiters in: a writer, if nobody is inside, or readers up to the next writer.
    fn let_in(&self, list: &mut WaitList, readers_inside: bool, woken: &mut Vec<Claimed>) {
        let mut first = true;
        while let Some(next) = list.peek(|_| true) {
            let is_writer = next.key == WRITE;
            if is_writer && (readers_inside || !first) {
                break;
            }
            // Into the word before the claim: whoever is claimed may go on at once.
            if is_writer {
                self.word.store(WRITER | QUEUED, Ordering::Release);
            } else {
                self.word.fetch_add(1, Ordering::AcqRel);
            }
            // The oldest only: if its claim fails it has given up, and is taken out again.
            let mut tried = false;
            let claimed = list.claim(|_| !core::mem::replace(&mut tried, true));
            match claimed {
                Some(claimed) => woken.push(claimed),
                None if is_writer => {
                    self.word.store(QUEUED, Ordering::Relaxed);
                    continue;
                }
                None => {
                    self.word.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
            }
            if is_writer {
                break;
            }
            first = false;
        }
        if list.is_empty() {
            // Relaxed: the queue is locked.
            self.word.fetch_and(!QUEUED, Ordering::Relaxed);
        }
    }

    fn wake_all(&self, f: impl FnOnce(&Self, &mut WaitList) -> Vec<Claimed>) {
        let woken = self.queue.with(|(), list| f(self, list));
        woken.into_iter().for_each(Claimed::wake);
    }

    #[inline]
    pub(super) fn leave_read(&self) {
        // Release pairs with the Acquire of the next writer.
        let before = self.word.fetch_sub(1, Ordering::Release);
        if before & QUEUED != 0 && before & READERS == 1 {
            self.hand_over();
        }
    }

    #[inline]
    pub(super) fn leave_write(&self) {
        // Release pairs with the Acquire of whoever comes next.
        let free = self.word.compare_exchange(WRITER, 0, Ordering::Release, Ordering::Relaxed);
        if free.is_err() {
            // Release: as above.
            self.word.fetch_and(!WRITER, Ordering::Release);
            self.hand_over();
        }
    }

    /// Makes the writer inside a reader.
    pub(super) fn downgrade(&self) {
        // Release pairs with the Acquire of the readers that come in.
        if self.word.compare_exchange(WRITER, 1, Ordering::Release, Ordering::Relaxed).is_ok() {
            return;
        }
        self.wake_all(|lock, list| {
            let mut woken = Vec::new();
            // Relaxed: with a writer inside, the word changes with the queue locked only.
            let queued = lock.word.load(Ordering::Relaxed) & QUEUED;
            // Release: as above.
            lock.word.store(queued | 1, Ordering::Release);
            if queued != 0 {
                lock.let_in(list, true, &mut woken);
            }
            woken
        });
    }

    /// Nobody is inside, and `QUEUED` keeps newcomers out: the oldest waiters come in.
    #[cold]
    fn hand_over(&self) {
        self.wake_all(|lock, list| {
            let mut woken = Vec::new();
            // Acquire pairs with the Release of whoever has left.
            let word = lock.word.load(Ordering::Acquire);
            // Another may have settled it meanwhile.
            if word & QUEUED != 0 && word & (WRITER | READERS) == 0 {
                lock.let_in(list, false, &mut woken);
            }
            woken
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaked_readers_fill_the_word_and_never_run_over() {
        let lock = RawRwLock::new();
        lock.word.store(READERS, Ordering::Relaxed);
        assert!(!lock.try_read() && !lock.try_write());
        let one_more = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lock.read(None)));
        assert!(one_more.is_err());
        assert_eq!(lock.word.load(Ordering::Relaxed), READERS);
    }
}
