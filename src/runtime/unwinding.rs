//! A coroutine that has to wait while it unwinds.
//!
//! `thread::panicking()` belongs to the thread: were the coroutine suspended as usual, every other
//! one on its worker would see it. So it keeps the worker for a while and looks at the worker's
//! events itself, without running anybody. What it waits for often needs nobody else of this worker.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::time::Instant;

use super::park::{Outcome, Waiter};
use super::task::Task;
use super::worker::Worker;
use super::{idle, timers};

/// How long the coroutine keeps its worker before it is suspended after all.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long it sleeps at once: a deadline of another coroutine is not late by more.
const NAP: Duration = Duration::from_millis(1);

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
