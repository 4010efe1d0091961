//! The word of a mutex: who owns it, and whether somebody may wait.
//!
//! ```text
//!  31        | 30 .......... 0
//!  CONTENDED | id of the owner, 0 for nobody
//! ```
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | nobody | owner | a locker, by CAS | it takes the lock; `CONTENDED` stays as it was |
//! | owner | owner, `CONTENDED` | a locker, by CAS | it is going to wait |
//! | owner, not `CONTENDED` | nobody | the owner, by CAS | it unlocks |
//! | owner, `CONTENDED` | nobody, `CONTENDED` | the owner, with the wait queue locked | it unlocks and wakes one |
//! | owner, `CONTENDED` | the waiter as owner, `CONTENDED` | the owner, with the wait queue locked | it hands the lock over |
//! | anybody, `CONTENDED` | the same, not `CONTENDED` | anybody, with the wait queue locked | nobody is in the queue |
//!
//! Invariant I1: whoever waits has set `CONTENDED` before, and looks again with the queue locked; it is
//! cleared with the queue locked only, when that is empty. So no unlock misses a waiter.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU32, Ordering};

const CONTENDED: u32 = 1 << 31;

/// The word.
#[derive(Debug)]
pub struct OwnerWord(AtomicU32);

/// What a locker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The lock was taken.
    Taken,
    /// Somebody else has it.
    Held {
        /// Who.
        owner: u32,
        /// Whether somebody may wait already.
        contended: bool,
    },
}

impl OwnerWord {
    /// Makes a free one.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Makes a free one.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Takes a lock that is free and uncontended. One CAS.
    #[inline]
    pub fn try_fast(&self, id: u32) -> bool {
        // Acquire pairs with the Release of the unlock.
        self.0.compare_exchange(0, id, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes the lock if nobody has it, whoever waits.
    pub fn try_barge(&self, id: u32) -> Found {
        // Relaxed: a guess; the CAS decides.
        let mut word = self.0.load(Ordering::Relaxed);
        while word & !CONTENDED == 0 {
            // Acquire pairs with the Release of the unlock.
            match self.0.compare_exchange_weak(word, word | id, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Found::Taken,
                Err(now) => word = now,
            }
        }
        Found::Held { owner: word & !CONTENDED, contended: word & CONTENDED != 0 }
    }

    /// Says that somebody is going to wait for `owner`. False if it has let go meanwhile.
    pub fn contend(&self, owner: u32) -> bool {
        // Relaxed: the queue's lock orders it with the owner's look.
        match self.0.compare_exchange(owner, owner | CONTENDED, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => true,
            Err(now) => now == owner | CONTENDED,
        }
    }

    /// Tells whether a waiter has to wait. Called with the queue locked.
    pub fn is_contended(&self) -> bool {
        // Relaxed: the owner changes a contended word with the queue locked only, or takes a free one.
        let word = self.0.load(Ordering::Relaxed);
        word & CONTENDED != 0 && word & !CONTENDED != 0
    }

    /// The owner, and whether somebody may wait.
    pub fn state(&self) -> (u32, bool) {
        // Relaxed: a picture.
        let word = self.0.load(Ordering::Relaxed);
        (word & !CONTENDED, word & CONTENDED != 0)
    }

    /// The owner; 0 if there is none.
    #[inline]
    pub fn owner(&self) -> u32 {
        // Acquire pairs with the Release in `hand_over`.
        self.0.load(Ordering::Acquire) & !CONTENDED
    }

    /// Unlocks an uncontended lock. One CAS. Called by the owner.
    #[inline]
    pub fn unlock_fast(&self, id: u32) -> bool {
        // Release pairs with the Acquire of the next locker.
        self.0.compare_exchange(id, 0, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Gives the lock to `heir`, 0 for whoever comes first. Called by the owner with the queue locked.
    pub fn hand_over(&self, heir: u32) {
        // Release pairs with the Acquire of the next owner.
        self.0.store(heir | CONTENDED, Ordering::Release);
    }

    /// Says that nobody waits. Called with the queue locked, whoever owns the lock.
    pub fn settle(&self) {
        // Relaxed: the queue's lock orders it with those who are going to wait.
        self.0.fetch_and(!CONTENDED, Ordering::Relaxed);
    }
}

impl Default for OwnerWord {
    fn default() -> Self {
        Self::new()
    }
}
