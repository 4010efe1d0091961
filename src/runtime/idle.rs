//! How a worker with nothing to do sleeps, and how it is woken.
//!
//! The two sides, each with a store and a load that must not pass each other (all SeqCst):
//!
//! | the worker | a waker |
//! |---|---|
//! | stores `sleeping = true` | puts work in the inbox, an injector, a deque; asks for stacks |
//! | looks at inbox, injectors, ends, shortages | swaps `sleeping` to false |
//! | sleeps in epoll | if it was true, notifies the reactor |
//!
//! Whichever comes second sees the other, so either the worker finds the work or the waker finds the
//! sleeper. A deque with two or more fresh tasks is covered by `wake_helper`, which looks at
//! `sleepers` after its push.
//!
//! A worker whose reactor has no sources looks around for `SPINS` turns first: a wake from another
//! core costs ten times as much.
#![forbid(unsafe_code)]

use core::ops::ControlFlow;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

use super::park::Claimed;
use super::worker::Worker;
use super::{cancel, timers};

/// Turns of the search before a worker sleeps: some microseconds.
const SPINS: u32 = 200;
/// How long a worker sleeps before it takes the memory from stacks that it keeps: long enough that a worker
/// which is often woken does not do so, short against the time after which somebody looks at its memory.
const REST: Duration = Duration::from_millis(20);

/// How long a worker of a runtime that ends sleeps before it says who keeps it.
const LAST: Duration = Duration::from_secs(1);

/// Waits for work. `Break` when the runtime has ended.
pub(crate) fn wait(worker: &Worker) -> ControlFlow<()> {
    worker.share_stacks();
    let ending = worker.core().is_ending();
    if cancel::look(worker) {
        return ControlFlow::Continue(());
    }
    if ending && worker.is_done() {
        return ControlFlow::Break(());
    }
    if spin(worker) {
        return ControlFlow::Continue(());
    }
    #[cfg(feature = "monkey")]
    super::guest::lie_down();
    lie_down(worker, ending);
    #[cfg(feature = "monkey")]
    super::guest::get_up();
    ControlFlow::Continue(())
}

/// Sleeps, if there is no work after all.
fn lie_down(worker: &Worker, ending: bool) {
    worker.core().sleepers.fetch_add(1, Ordering::SeqCst);
    worker.sleeping.store(true, Ordering::SeqCst);
    if worker.has_ready()
        || !worker.inbox.is_empty(Ordering::SeqCst)
        || worker.core().injector.len() > 0
        || worker.given.len() > 0
        || worker.core().somebody_needs_help(worker)
        || worker.is_asked_for_stacks()
        || worker.core().is_ending() != ending
    {
        worker.sleeping.store(false, Ordering::SeqCst);
        worker.core().sleepers.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    let limit = timers::until_next(worker);
    if ending && !worker.has_named_the_rest() {
        let began = Instant::now();
        sleep(worker, Some(limit.map_or(LAST, |limit| limit.min(LAST))));
        if began.elapsed() >= LAST {
            super::cancel::name_the_rest(worker);
        }
    } else {
        sleep(worker, limit);
    }
    worker.sleeping.store(false, Ordering::SeqCst);
    worker.core().sleepers.fetch_sub(1, Ordering::SeqCst);
    worker.core().monitor.note_running();
}

/// Sleeps until an event or for `timeout`. After a rest of `REST` without either, the stacks that
/// coroutines have left deep are made flat; then it sleeps on.
fn sleep(worker: &Worker, timeout: Option<Duration>) {
    worker.counters.sleeps.add(1);
    if worker.has_deep_stacks() && timeout.is_none_or(|timeout| timeout > REST) {
        let start = Instant::now();
        poll(worker, Some(REST));
        if start.elapsed() >= REST {
            worker.flatten_stacks();
        }
    } else {
        poll(worker, timeout);
    }
}

/// Looks around for a while; true if there is something to do.
fn spin(worker: &Worker) -> bool {
    if worker.core().workers().len() == 1
        && !worker.reactor.has_sources()
        && worker.core().injector.len() == 0
    {
        // Nobody but another thread can bring work, and it costs that one the same either way.
        return !worker.inbox.is_empty(Ordering::Relaxed);
    }
    if worker.reactor.has_sources() || !worker.core().may_spin() {
        return false;
    }
    let found = (0..SPINS).any(|_| {
        core::hint::spin_loop();
        !worker.inbox.is_empty(Ordering::Relaxed)
            || worker.core().injector.len() > 0
            || worker.given.len() > 0
            || worker.core().somebody_needs_help(worker)
    });
    worker.core().stop_spinning();
    found
}

/// Looks at epoll, and waits there for at most `timeout`.
pub(crate) fn poll(worker: &Worker, timeout: Option<Duration>) {
    let polled = worker.reactor.poll(timeout, Claimed::wake_in_turn);
    if let Err(error) = polled {
        // Not logged here: this may be the middle of a wait.
        let (index, core) = (worker.index, worker.core());
        core.monitor.note(format!("worker {index} of runtime '{}': epoll failed: {error}", core.name));
    }
}

/// Looks at epoll for at most `limit`, and lets a wake from another thread cut that short.
pub(crate) fn nap(worker: &Worker, limit: Duration) {
    #[cfg(feature = "monkey")]
    super::guest::look();
    worker.sleeping.store(true, Ordering::SeqCst);
    let limit = if worker.inbox.is_empty(Ordering::SeqCst) { limit } else { Duration::ZERO };
    poll(worker, Some(limit));
    worker.sleeping.store(false, Ordering::SeqCst);
}
