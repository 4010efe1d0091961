//! What is done when the kernel has no more stacks to give: those that caches keep go round.
//!
//! | who is refused | a cache, between two turns of its worker |
//! |---|---|
//! | takes a free stack of the arena, larger ones too | |
//! | `LEFT` is 0: sets it, moves `ASKED` on, wakes the workers | sees that `ASKED` has moved: gives all it keeps to the arena |
//! | looks at the arena again, for `PATIENCE` | keeps none while `LEFT` is above 0 |
//!
//! Stacks that come back are counted down from `LEFT`, and go to the arena: so the next one who is refused finds
//! all that are free there, and waits for nobody. Out of reach is only what a worker keeps that does not come back
//! to its scheduler in that time.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use core::time::Duration;
use std::sync::OnceLock;
use std::time::Instant;

use super::arena::{self, Slot};
use crate::base::lock::Lock;
use crate::sys::futex;

/// How long caches get to answer.
const PATIENCE: Duration = Duration::from_millis(20);
/// Between two looks at the arena.
const NAP: Duration = Duration::from_micros(100);
/// Stacks that are not kept after a shortage: then the worst should be over.
const STRICT: usize = 4096;

/// Counts shortages. SeqCst: a worker about to sleep looks at it, as at its inbox (see the runtime's `idle`).
static ASKED: AtomicU32 = AtomicU32::new(0);
/// Relaxed: a hint; whatever is kept by mistake is asked for.
static LEFT: AtomicUsize = AtomicUsize::new(0);
/// When the patience of the last shortage ends.
static UNTIL: Lock<Option<Instant>> = Lock::new(None);
/// Wakes all who have a cache; the caller's own, if it is on a coroutine, answers at once.
static WAKE: OnceLock<fn()> = OnceLock::new();

/// Says how to tell whoever has a cache.
pub(crate) fn on_shortage(wake: fn()) {
    WAKE.get_or_init(|| wake);
}

/// The number of the last shortage.
#[inline]
pub(crate) fn asked() -> u32 {
    ASKED.load(Ordering::SeqCst)
}

/// Tells whether caches keep no stacks for now.
#[inline]
pub(super) fn is_strict() -> bool {
    LEFT.load(Ordering::Relaxed) > 0
}

/// Counts a stack that was not kept.
#[cold]
pub(super) fn count() {
    // Another may have counted the last one.
    let _ = LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
}

/// Gets a slot of at least `class` that others have kept, after the kernel has refused one.
///
/// May take `PATIENCE`, and that once in a while.
#[cold]
pub(super) fn overcome(class: usize) -> Option<Slot> {
    if let Some(slot) = arena::take_free(class) {
        return Some(slot);
    }
    let until = ask();
    loop {
        let late = Instant::now() >= until;
        let slot = arena::take_free(class);
        if late || slot.is_some() {
            return slot;
        }
        // Not std's sleep, which may be a replaced one.
        futex::wait(&ASKED, asked(), Some(NAP));
    }
}

/// Asks all caches for what they keep, unless that was done lately. Gives the time until which they may answer.
fn ask() -> Instant {
    let mut until = UNTIL.lock();
    if let Some(until) = *until
        && is_strict()
    {
        return until;
    }
    let end = Instant::now() + PATIENCE;
    *until = Some(end);
    drop(until);
    LEFT.store(STRICT, Ordering::Relaxed);
    ASKED.fetch_add(1, Ordering::SeqCst);
    if let Some(wake) = WAKE.get() {
        wake();
    }
    end
}
