//! The word of a lock whose holder may be killed: it names the holder's process.
//!
//! | state | from | who | when |
//! |---|---|---|---|
//! | `FREE` 0 | held by `p` | `p` | unlock |
//! | held by `p` | `FREE` | `p` | lock |
//! | orphaned by `p` | held by `p` | any process | after the death of `p` is certain |
//! | held by `q` | orphaned by `p` | `q` | lock; `q` is told |
//!
//! A process is named by a number that no other process has, before or after: so a mark that comes late
//! (many processes may notice one death) finds another word, and does nothing.
#![forbid(unsafe_code)]

use super::atomic::{AtomicU64, Ordering};

const ORPHANED: u64 = 1;

/// What an attempt to lock has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// It is the caller's.
    Taken,
    /// It is the caller's, and its holder before was killed while it held it.
    Inherited,
    /// Somebody holds it.
    Held,
}

/// Zero is a free lock.
#[repr(transparent)]
#[derive(Debug)]
pub struct RobustWord(AtomicU64);

impl RobustWord {
    /// Free.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Free.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Tries to lock in the name of process `own` (below 2^63, not zero).
    #[inline]
    pub fn attempt(&self, own: u64) -> Attempt {
        let held = own << 1;
        // Acquire pairs with the Release in `release`.
        match self.0.compare_exchange(0, held, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => Attempt::Taken,
            Err(found) if found & ORPHANED != 0 => {
                // Acquire pairs with `orphan`, which comes after the death: all that the dead one wrote is there.
                match self.0.compare_exchange(found, held, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => Attempt::Inherited,
                    Err(_) => Attempt::Held,
                }
            }
            Err(_) => Attempt::Held,
        }
    }

    /// Unlocks. The holder's right alone.
    #[inline]
    pub fn release(&self) {
        // SeqCst: before the look for sleepers; and Release, for the next holder's Acquire.
        self.0.swap(0, Ordering::SeqCst);
    }

    /// Marks the lock as orphaned, if process `dead` holds it.
    pub fn orphan(&self, dead: u64) -> bool {
        let held = dead << 1;
        // AcqRel: pairs with the Acquire in `attempt`.
        self.0.compare_exchange(held, held | ORPHANED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Tells whether a living process holds it, as far as is known.
    pub fn is_held(&self) -> bool {
        // Relaxed: a look.
        let word = self.0.load(Ordering::Relaxed);
        word != 0 && word & ORPHANED == 0
    }
}

impl Default for RobustWord {
    fn default() -> Self {
        Self::new()
    }
}
