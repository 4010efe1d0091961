//! A meeting point between processes.
//!
//! Who has come to round `r` is counted by member: `come[m] = r << 32 | number`, which counts only while `r`
//! is the round. So a round ends, and the next begins with nobody there, by one store: of `round`. How a
//! round has ended stands in `broken`, a bit for each of the last 64.

use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::handle::{Place, handle};
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::runtime::far;
use crate::runtime::shield::Shield;
use crate::shm::event::notify_all;
use crate::shm::object::{Body as SharedBody, MEMBERS, Object};
use crate::sync::{BarrierWaitResult, BrokenBarrier};

/// Numbers of the events.
const LOCK: usize = 0;
const ENDED: usize = 1;

#[repr(C)]
pub(super) struct Body {
    lock: RobustWord,
    parties: AtomicU64,
    /// Its lower 32 bits mark who has come.
    round: AtomicU64,
    broken: AtomicU64,
    events: [Place; 2],
    come: [AtomicU64; MEMBERS],
}

// SAFETY: `repr(C)`, atomics only.
unsafe impl SharedBody for Body {
    const KIND: u32 = 6;
    const EVENTS: usize = 2;

    fn event(&self, index: usize) -> &EventWord {
        &self.events[index].0
    }

    fn orphan(&self, dead: u64) {
        self.lock.orphan(dead);
    }

    fn begin(object: &Arc<Object<Self>>) {
        let (body, come) = (object.body(), &object.body().come[object.slot()]);
        // Relaxed: what the former member has seen and written is known here, by way of the slot.
        let counts = || number(come.load(Ordering::Relaxed), body.round.load(Ordering::Relaxed)) > 0;
        if !counts() {
            return;
        }
        let _shield = Shield::new();
        {
            let _lock = object.lock(&body.lock, LOCK, None);
            if !counts() {
                return;
            }
            let round = body.round.load(Ordering::Relaxed);
            // The former member died while it waited.
            body.broken.fetch_or(1 << (round % 64), Ordering::Release);
            come.store(0, Ordering::Release);
        }
        notify_all(body.event(ENDED));
    }
}

/// Lets parties, in whichever processes, go on only when all of them have come; then begins anew.
///
/// A party that gives up (deadline, cancellation) or whose process is killed while it waits breaks the
/// barrier for all: the others would wait for ever. [`reset`](Self::reset) begins anew.
///
/// # Examples
/// ```
/// let barrier = ropewalk::process::Barrier::new(2)?;
/// let other = ropewalk::spawn({
///     let barrier = barrier.clone();
///     move || barrier.wait().unwrap().is_leader()
/// });
/// let own = barrier.wait()?.is_leader();
/// assert!(own != other.join().unwrap());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Barrier(pub(super) Arc<Object<Body>>);

handle!(Barrier, |barrier, debug| {
    debug.field("broken", &barrier.is_broken());
});

/// What a party finds when it looks.
enum Look {
    Wait,
    Through,
    Broken,
}

impl Barrier {
    /// Makes a barrier for that many parties; 0 and 1 let everybody through.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(parties: u32) -> io::Result<Self> {
        // Relaxed: nobody else has it yet.
        Ok(Self(Object::create(0, |body: &Body| body.parties.store(parties.into(), Ordering::Relaxed))?))
    }

    /// Waits until all parties have come. A cancellation point; a cancelled party breaks the barrier.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if another party has given up or was killed.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(None)
    }

    /// As [`wait`](Self::wait), but no longer than `limit`.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if another party has given up or was killed, or this one gives up after `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let barrier = ropewalk::process::Barrier::new(2)?;
    /// assert!(barrier.wait_deadline(Instant::now() + Duration::from_millis(1)).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<BarrierWaitResult, BrokenBarrier> {
        /// Breaks the barrier if the party leaves before the round has ended.
        struct Leaving<'a>(&'a Barrier, u64);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.abort_round(self.1);
            }
        }
        let Some(round) = self.come(deadline)? else { return Ok(BarrierWaitResult::new(true)) };
        let leaving = Leaving(self, round);
        let mut in_time = true;
        loop {
            let key = self.0.body().event(ENDED).prepare();
            match self.look(round) {
                Look::Through => {
                    core::mem::forget(leaving);
                    return Ok(BarrierWaitResult::new(false));
                }
                Look::Broken => return Err(BrokenBarrier),
                Look::Wait if !in_time => {
                    drop(leaving);
                    // The last one may have come in this moment.
                    return match self.look(round) {
                        Look::Through => Ok(BarrierWaitResult::new(false)),
                        _ => Err(BrokenBarrier),
                    };
                }
                Look::Wait => in_time = self.0.wait(ENDED, key, deadline),
            }
        }
    }

    /// Counts the caller in. The round, or `None` if it was the last one and has ended the round.
    fn come(&self, deadline: Option<Instant>) -> Result<Option<u64>, BrokenBarrier> {
        let body = self.0.body();
        let lock = self.0.lock(&body.lock, LOCK, deadline).ok_or(BrokenBarrier)?;
        // Relaxed throughout: written under the lock. Release: one store each, seen whole after a death.
        let round = body.round.load(Ordering::Relaxed);
        if self.is_broken_in(round) {
            return Err(BrokenBarrier);
        }
        let own = &body.come[self.0.slot()];
        let before = number(own.load(Ordering::Relaxed), round);
        own.store((round & u64::from(u32::MAX)) << 32 | (before + 1), Ordering::Release);
        let come = body.come.iter().map(|come| number(come.load(Ordering::Relaxed), round));
        if come.sum::<u64>() < body.parties.load(Ordering::Relaxed) {
            return Ok(Some(round));
        }
        // The last one does not wait, so nobody tells it who has died at the barrier.
        self.0.look_for_deaths();
        if self.has_dead(round) {
            body.broken.fetch_or(1 << (round % 64), Ordering::Release);
            drop(lock);
            notify_all(body.event(ENDED));
            return Err(BrokenBarrier);
        }
        self.begin_round(round + 1);
        drop(lock);
        notify_all(body.event(ENDED));
        Ok(None)
    }

    /// Begins a round. Under the lock.
    fn begin_round(&self, round: u64) {
        let body = self.0.body();
        // Release: the bit is clear before the round begins.
        body.broken.fetch_and(!(1 << (round % 64)), Ordering::Release);
        body.round.store(round, Ordering::Release);
    }

    fn is_broken_in(&self, round: u64) -> bool {
        // Acquire pairs with the Release of whoever breaks it.
        self.0.body().broken.load(Ordering::Acquire) >> (round % 64) & 1 != 0
    }

    fn look(&self, round: u64) -> Look {
        let body = self.0.body();
        // Acquire pairs with the Release in `begin_round`: everybody's work before the barrier is there.
        let over = body.round.load(Ordering::Acquire) != round;
        if self.is_broken_in(round) {
            return Look::Broken;
        }
        if over {
            return Look::Through;
        }
        if self.has_dead(round) {
            self.abort_round(round);
        }
        Look::Wait
    }

    /// Tells whether a process that has come to a round is known to be dead.
    fn has_dead(&self, round: u64) -> bool {
        // Acquire pairs with the Release in `come`.
        let has_come = |come: &AtomicU64| number(come.load(Ordering::Acquire), round) > 0;
        self.0.body().come.iter().enumerate().any(|(slot, come)| has_come(come) && self.0.is_vacant(slot))
    }

    /// Breaks a round, unless it has ended.
    fn abort_round(&self, round: u64) {
        let body = self.0.body();
        let _shield = Shield::new();
        {
            let _lock = self.0.lock(&body.lock, LOCK, None);
            if body.round.load(Ordering::Relaxed) != round {
                return;
            }
            body.broken.fetch_or(1 << (round % 64), Ordering::Release);
        }
        notify_all(body.event(ENDED));
    }

    /// Breaks the barrier: all who wait, and all who come, get an error until it is reset.
    pub fn abort(&self) {
        self.abort_round(self.0.body().round.load(Ordering::Acquire));
    }

    /// Tells whether it is broken: a party has given up, or has died while it waited.
    pub fn is_broken(&self) -> bool {
        let body = self.0.body();
        let round = body.round.load(Ordering::Acquire);
        // Acquire pairs with the Release in `come`.
        let is_waited_at = || body.come.iter().any(|come| number(come.load(Ordering::Acquire), round) > 0);
        self.is_broken_in(round)
            || is_waited_at() && {
                self.0.look_for_deaths();
                self.has_dead(round) && body.round.load(Ordering::Acquire) == round
            }
    }

    /// Begins anew; whoever waits now gets an error.
    pub fn reset(&self) {
        let body = self.0.body();
        let _shield = Shield::new();
        {
            let _lock = self.0.lock(&body.lock, LOCK, None);
            let round = body.round.load(Ordering::Relaxed);
            body.broken.fetch_or(1 << (round % 64), Ordering::Release);
            self.begin_round(round + 1);
        }
        notify_all(body.event(ENDED));
    }
}

/// How many have come to a round, of what a member has written.
fn number(come: u64, round: u64) -> u64 {
    if come >> 32 == round & u64::from(u32::MAX) { come & u64::from(u32::MAX) } else { 0 }
}
