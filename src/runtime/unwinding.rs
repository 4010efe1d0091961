//! A coroutine that has to wait while it unwinds.
//!
//! `thread::panicking()` belongs to the thread: were the coroutine suspended as usual, every other
//! one on its worker would see it. So it keeps the worker for a while and looks at the worker's
//! events itself, without running anybody. What it waits for often needs nobody else of this worker. After that
//! it is suspended as any other, but no cancellation ends its wait.
//!
//! From then on `thread::panicking()` is true in all coroutines of the worker, and says nothing about the one that runs.
//! What it did in this period tells: whether it was suspended while it unwound, or was unwound by a cancellation. A panic
//! of its own is not seen. So a wait in this period is in doubt: a cancellation is held back until no coroutine is
//! suspended that unwinds. Two cancellations are not: that by a coroutine which unwinds, because it may wait for
//! the end of the other; and that by a runtime which has been ending for a second. Neither is the deadline of a `timeout`.
//!
//! A coroutine that has called `exit` keeps its worker in the same way, for good (`exiting`).

use core::time::Duration;
use std::time::Instant;

use super::current;
use super::extra::Extra;
use super::park::{Outcome, Reason, Waiter};
use super::task::Task;
use super::worker::Worker;
use super::{idle, timers};

/// How long the coroutine keeps its worker before it is suspended after all.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it sleeps at once: a deadline of another coroutine is not late by more.
const NAP: Duration = Duration::from_millis(1);

/// Whether a coroutine unwinds, as far as its worker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwinds {
    No,
    /// `thread::panicking()` is true because of another one, which is suspended.
    Maybe,
    Yes,
}

/// What a worker knows of its coroutines that are suspended while they unwind.
#[derive(Debug, Default)]
pub(crate) struct Unwinders {
    suspended: u32,
    /// Counts the times that there came to be one.
    period: u64,
    /// Coroutines suspended in a wait of which it is not known whether it is in a destructor that must not unwind.
    doubts: u32,
    /// A doubt holds no cancellation back: the runtime has been ending for long.
    trusting: bool,
}

/// Noted of a coroutine as its period: it was cancelled by one that unwinds, and that may wait for its end.
const TRUSTED: u64 = u64::MAX;

impl Worker {
    /// Tells whether `task`, which runs, unwinds.
    pub(crate) fn unwinds(&self, task: &Task) -> Unwinds {
        if !std::thread::panicking() {
            return Unwinds::No;
        }
        self.with_unwinders(|unwinders| match Extra::unwinds_in(task) {
            _ if unwinders.suspended == 0 && unwinders.doubts == 0 => Unwinds::Yes,
            period if period == unwinders.period => Unwinds::Yes,
            TRUSTED => Unwinds::No,
            _ if unwinders.trusting => Unwinds::No,
            _ => Unwinds::Maybe,
        })
    }

    /// Says that `task`, which runs, is about to unwind.
    #[cold]
    pub(crate) fn note_unwinding(&self, task: &Task) {
        self.with_unwinders(|unwinders| {
            if unwinders.suspended + unwinders.doubts > 0 {
                Extra::note_unwinding(task, unwinders.period);
            }
        });
    }

    /// Says that the coroutine which runs has cancelled `task`, of the same worker. If it unwinds, it may wait for the
    /// end of that one.
    pub(crate) fn note_cancel(&self, task: &Task) {
        let running = current::task();
        // SAFETY: the task that runs is alive.
        if running.is_some_and(|running| self.unwinds(unsafe { running.as_ref() }) == Unwinds::Yes) {
            Extra::note_unwinding(task, TRUSTED);
        }
    }

    /// Runs `suspend`, which suspends `task` while it unwinds.
    pub(crate) fn suspend_unwinding(&self, task: &Task, suspend: impl FnOnce()) {
        self.with_unwinders(|unwinders| {
            unwinders.period += u64::from(unwinders.suspended + unwinders.doubts == 0);
            unwinders.suspended += 1;
            Extra::note_unwinding(task, unwinders.period);
        });
        suspend();
        self.with_unwinders(|unwinders| unwinders.suspended -= 1);
    }

    /// Runs `suspend`, which suspends `task` while it may unwind: meanwhile a cancellation waits for the end of the doubt.
    pub(crate) fn suspend_in_doubt(&self, task: &Task, suspend: impl FnOnce()) {
        self.with_unwinders(|unwinders| unwinders.doubts += 1);
        Extra::note_doubt(task);
        suspend();
        if Extra::end_doubt(task) {
            self.with_unwinders(|unwinders| unwinders.doubts -= 1);
        }
    }

    /// Tells whether a cancellation of `task`, which waits, has to be held back.
    pub(crate) fn doubts(&self, task: &Task) -> bool {
        Extra::is_in_doubt(task) && Extra::unwinds_in(task) != TRUSTED && !self.is_sure()
    }

    /// Tells whether no suspended coroutine of the worker is held for one that may unwind. Called between turns.
    fn is_sure(&self) -> bool {
        self.with_unwinders(|unwinders| {
            unwinders.trusting || unwinders.suspended == 0 && !std::thread::panicking()
        })
    }

    /// Tells whether cancellations were held back that can be delivered now. Called between turns.
    pub(crate) fn has_lost_doubts(&self) -> bool {
        self.with_unwinders(|unwinders| unwinders.doubts > 0) && self.is_sure()
    }

    /// Counts no doubt any more. The caller takes the note of it from each coroutine.
    pub(crate) fn end_doubts(&self) {
        self.with_unwinders(|unwinders| unwinders.doubts = 0);
    }

    /// Gives `f` what the worker knows. Called on its thread; `f` runs no foreign code.
    fn with_unwinders<R>(&self, f: impl FnOnce(&mut Unwinders) -> R) -> R {
        // SAFETY: this is the worker's thread, and no other borrow is alive: `f` makes none.
        f(&mut unsafe { self.owner() }.unwinders)
    }

    /// Gives up all doubts: the runtime has been ending for long, and what is held back may be what it waits for.
    pub(crate) fn give_up_doubts(&self) {
        self.with_unwinders(|unwinders| unwinders.trusting = true);
    }
}

/// Has a warning logged of a coroutine that waits under circumstances in which others suffer from it.
pub(crate) fn report(worker: &Worker, task: &Task, (reason, object): (Reason, usize), why: &str) {
    let name = task.name().unwrap_or("unnamed");
    let (id, index) = (task.id, worker.index);
    worker
        .core()
        .monitor
        .note(format!("coroutine '{name}' (#{id}) on worker {index} waits ({reason:?} {object:#x}) {why}"));
}

/// Waits without giving the worker away. `None` if that took too long.
pub(crate) fn wait(worker: &Worker, task: &Task, waiter: Waiter, until: Option<Instant>) -> Option<Outcome> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(outcome) = task.party.word.outcome() {
            // Claimed, but maybe not yet queued; it is resumed by nobody else, so it takes itself out.
            if worker.withdraw(waiter.party().cast()) {
                return Some(outcome);
            }
        }
        let now = Instant::now();
        if until.is_some_and(|until| until <= now) && waiter.expire() {
            return Some(Outcome::TimedOut);
        }
        if now >= end {
            return None;
        }
        worker.drain_inbox();
        timers::fire(worker);
        let left = until.map_or(NAP, |until| until.saturating_duration_since(now).min(NAP));
        idle::nap(worker, left);
    }
}

/// As [`wait`], for ever if need be. Calls `late` once if it takes long.
pub(crate) fn keep(
    worker: &Worker,
    task: &Task,
    waiter: Waiter,
    until: Option<Instant>,
    late: impl FnOnce(),
) -> Outcome {
    let mut late = Some(late);
    loop {
        if let Some(outcome) = wait(worker, task, waiter, until) {
            return outcome;
        }
        if let Some(late) = late.take() {
            late();
        }
    }
}
