//! A meeting point for a fixed number of parties.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::time::Instant;

use crate::runtime::far;
use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled};
use crate::runtime::wait_queue::{How, WaitQueue};

/// Lets parties go on only when all of them have come; then begins anew.
///
/// A party that gives up (deadline, cancellation) breaks the barrier for all, as in Python: the others
/// would wait for ever.
///
/// # Examples
/// ```
/// use ropewalk::sync::Barrier;
///
/// let barrier = Barrier::new(3);
/// let leaders: usize = ropewalk::scope(|s| {
///     let parties: Vec<_> = (0..3).map(|_| s.spawn(|| barrier.wait().unwrap())).collect();
///     parties.into_iter().map(|p| usize::from(p.join().unwrap().is_leader())).sum()
/// });
/// assert_eq!(leaders, 1);
/// ```
pub struct Barrier {
    parties: usize,
    state: WaitQueue<State>,
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (waiting, broken) = self.state.with(|state, _| (state.waiting, state.broken));
        let mut debug = f.debug_struct("Barrier");
        debug.field("parties", &self.parties).field("waiting", &waiting).field("broken", &broken).finish()
    }
}

#[derive(Debug)]
struct State {
    waiting: usize,
    /// Rounds that have ended, well or not. Whoever waits finds its own here, or in `failed` as well.
    round: u64,
    broken: bool,
    /// Rounds that ended badly, and how many of their waiters do not know yet.
    failed: BTreeMap<u64, usize>,
}

impl State {
    /// Ends the round badly for those who wait; they are to be woken.
    fn fail(&mut self) {
        if self.waiting > 0 {
            self.failed.insert(self.round, core::mem::take(&mut self.waiting));
            self.round += 1;
        }
    }

    /// Tells one waiter of a round that has ended whether it ended badly.
    fn take_failure(&mut self, round: u64) -> bool {
        let Some(left) = self.failed.get_mut(&round) else { return false };
        *left -= 1;
        if *left == 0 {
            self.failed.remove(&round);
        }
        true
    }
}

/// One party has come through.
///
/// # Examples
/// ```
/// // A barrier of one lets its only party through at once, as the leader.
/// assert!(ropewalk::sync::Barrier::new(1).wait()?.is_leader());
/// # Ok::<(), ropewalk::sync::BrokenBarrier>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    leader: bool,
}

impl BarrierWaitResult {
    pub(crate) fn new(leader: bool) -> Self {
        Self { leader }
    }

    /// True for the one that came last.
    pub fn is_leader(&self) -> bool {
        self.leader
    }
}

/// A party has given up, or somebody called [`Barrier::abort`]; [`Barrier::reset`] begins anew.
///
/// # Examples
/// ```
/// use ropewalk::sync::{Barrier, BrokenBarrier};
///
/// let barrier = Barrier::new(2);
/// barrier.abort();
/// assert_eq!(barrier.wait().unwrap_err(), BrokenBarrier);
/// barrier.reset();
/// assert!(!barrier.is_broken());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenBarrier;

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken: a party has given up; reset it to begin anew")
    }
}

impl core::error::Error for BrokenBarrier {}

impl Barrier {
    /// Makes a barrier for that many parties; 0 and 1 let everybody through.
    pub const fn new(parties: usize) -> Self {
        Self {
            parties,
            state: WaitQueue::new(State { waiting: 0, round: 0, broken: false, failed: BTreeMap::new() }),
        }
    }

    /// Waits until all parties have come. A cancellation point; a cancelled party breaks the barrier.
    ///
    /// # Errors
    /// [`BrokenBarrier`] if another party has given up.
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(None)
    }

    /// As [`wait`](Self::wait), but no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// let barrier = ropewalk::sync::Barrier::new(2);
    /// assert!(barrier.wait_timeout(std::time::Duration::from_millis(1)).is_err());
    /// assert!(barrier.is_broken());
    /// ```
    ///
    /// # Errors
    /// [`BrokenBarrier`] if another party has given up, or this one after `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let barrier = ropewalk::sync::Barrier::new(2);
    /// assert!(barrier.wait_deadline(Instant::now() + Duration::from_millis(1)).is_err());
    /// assert!(barrier.is_broken());
    /// ```
    ///
    /// # Errors
    /// As for [`wait_timeout`](Self::wait_timeout).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<BarrierWaitResult, BrokenBarrier> {
        let (mut round, mut broken) = (0, false);
        let mut woken = Vec::new();
        let outcome = self.state.wait_if(How::new(Reason::Lock, deadline), |state, waiters| {
            (round, broken) = (state.round, state.broken);
            if !broken && state.waiting + 1 < self.parties {
                state.waiting += 1;
                return true;
            }
            if !broken {
                // The last one: the next round begins before anybody of it can come.
                (state.waiting, state.round) = (0, round + 1);
                woken.extend(core::iter::from_fn(|| waiters.claim_first()));
            }
            false
        });
        let Some(outcome) = outcome else {
            woken.into_iter().for_each(Claimed::wake);
            return if broken { Err(BrokenBarrier) } else { Ok(BarrierWaitResult { leader: true }) };
        };
        let (through, woken) = self.state.with(|state, waiters| {
            if state.round != round {
                return (!state.take_failure(round), Vec::new());
            }
            // It gives up, and so nobody of this round gets through.
            state.waiting -= 1;
            state.broken = true;
            state.fail();
            (false, core::iter::from_fn(|| waiters.claim_first()).collect())
        });
        woken.into_iter().for_each(Claimed::wake);
        match outcome {
            Outcome::Cancelled => raise_cancelled(),
            _ if through => Ok(BarrierWaitResult { leader: false }),
            _ => Err(BrokenBarrier),
        }
    }

    fn fail(&self, broken: bool) {
        let woken: Vec<Claimed> = self.state.with(|state, waiters| {
            state.broken = broken;
            state.fail();
            core::iter::from_fn(|| waiters.claim_first()).collect()
        });
        woken.into_iter().for_each(Claimed::wake);
    }

    /// Breaks the barrier: all who wait, and all who come, get an error. Never waits.
    pub fn abort(&self) {
        self.fail(true);
    }

    /// Begins anew; those who wait now get an error. Never waits.
    pub fn reset(&self) {
        self.fail(false);
    }

    /// Tells whether the barrier is broken.
    pub fn is_broken(&self) -> bool {
        self.state.with(|state, _| state.broken)
    }

    /// How many parties wait now.
    pub fn waiting(&self) -> usize {
        self.state.with(|state, _| state.waiting)
    }
}
