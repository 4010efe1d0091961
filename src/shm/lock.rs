//! A lock in shared memory whose holder may be killed: the next one gets it, and is told.
//!
//! See `base::robust_word` for the word. Beside it is an event, for those who wait. Why nobody hangs:
//! * holder killed while it held: its death marks the word, then wakes all (O2 in `object`);
//! * holder killed between unlock and wake: the word is free, and its death wakes all;
//! * killed after it was woken, before it locked: its death wakes all;
//! * who waits watches every member, so it learns of each of these deaths (O1); who only tries looks for them (O4).
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use super::event::notify_one;
use super::object::{Body, Object};
use crate::base::robust_word::{Attempt, RobustWord};

/// Looks at the word before sleeping: about the length of a short critical section.
const SPINS: u32 = 100;

/// Holds the lock until dropped.
#[derive(Debug)]
pub(crate) struct Held<'a, B: Body> {
    object: &'a Object<B>,
    word: &'a RobustWord,
    event: usize,
    /// The holder before was killed while it held the lock.
    pub(crate) inherited: bool,
}

impl<B: Body> Object<B> {
    /// Tries to lock.
    #[inline]
    pub(crate) fn try_lock<'a>(&'a self, word: &'a RobustWord, event: usize) -> Option<Held<'a, B>> {
        match word.attempt(self.own()) {
            Attempt::Held => None,
            attempt => Some(Held { object: self, word, event, inherited: attempt == Attempt::Inherited }),
        }
    }

    /// As [`try_lock`](Self::try_lock), and finds out if the holder has died: who does not wait is told by nobody.
    #[inline]
    pub(crate) fn try_lock_or_inherit<'a>(
        self: &'a Arc<Self>,
        word: &'a RobustWord,
        event: usize,
    ) -> Option<Held<'a, B>> {
        self.try_lock(word, event).or_else(|| self.try_lock_after_deaths(word, event))
    }

    #[cold]
    fn try_lock_after_deaths<'a>(
        self: &'a Arc<Self>,
        word: &'a RobustWord,
        event: usize,
    ) -> Option<Held<'a, B>> {
        self.look_for_deaths();
        self.try_lock(word, event)
    }

    /// Locks; `None` if the deadline has come first. A cancellation point if it has to wait.
    #[inline]
    pub(crate) fn lock<'a>(
        self: &'a Arc<Self>,
        word: &'a RobustWord,
        event: usize,
        deadline: Option<Instant>,
    ) -> Option<Held<'a, B>> {
        match self.try_lock(word, event) {
            Some(held) => Some(held),
            None => self.lock_slow(word, event, deadline),
        }
    }

    #[cold]
    fn lock_slow<'a>(
        self: &'a Arc<Self>,
        word: &'a RobustWord,
        event: usize,
        deadline: Option<Instant>,
    ) -> Option<Held<'a, B>> {
        for _ in 0..SPINS {
            core::hint::spin_loop();
            if !word.is_held()
                && let Some(held) = self.try_lock(word, event)
            {
                return Some(held);
            }
        }
        let mut in_time = true;
        loop {
            let key = self.body().event(event).prepare();
            if let Some(held) = self.try_lock(word, event) {
                return Some(held);
            }
            if !in_time {
                return self.try_lock_after_deaths(word, event);
            }
            in_time = self.wait(event, key, deadline);
        }
    }
}

impl<B: Body> Drop for Held<'_, B> {
    #[inline]
    fn drop(&mut self) {
        // A copy in the child of a fork: the lock is the parent's.
        if !self.object.is_own() {
            return;
        }
        self.word.release();
        notify_one(self.object.body().event(self.event));
    }
}
