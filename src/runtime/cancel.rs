//! Cancellation: asked for by anybody, delivered by the coroutine's own worker.
//!
//! The request sets a bit and, if the coroutine has started, sends its worker a message. The worker
//! handles it between two turns, when the coroutine does not run: then it waits (and its wait is
//! ended), or it is ready (and finds the bit at its next wait). So no wait needs an atomic for it.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

use super::extra::Extra;
use super::park::{self, Outcome, Waiter};
use super::party;
use super::task::{CANCELLED, STARTED, Task, TaskRef};
use super::worker::{self, Worker};
use crate::base::notice;
use crate::coroutine::unwind;

/// Asks the task to end. From any thread.
pub(crate) fn request(task: &TaskRef) {
    // AcqRel: pairs with `start::bind`.
    let before = task.state().fetch_or(CANCELLED, Ordering::AcqRel);
    if before & CANCELLED != 0 || before & STARTED == 0 || super::join::is_done(task) {
        return;
    }
    let home = task.party.home();
    if worker::current().is_some_and(|own| core::ptr::eq(own, home)) {
        // SAFETY: it is the current worker, which is alive.
        let home = unsafe { &*home };
        home.note_cancel(task);
        deliver(home, task);
        return;
    }
    super::remote::send_cancel(task);
}

/// Ends the task's wait, if it waits and may be cancelled. Called on its worker's thread.
pub(crate) fn deliver(worker: &Worker, task: &TaskRef) {
    let party = &task.party;
    if super::join::is_done(task)
        || party.shields.get() > 0
        || worker.doubts(task)
        || core::ptr::eq(worker.running.load(Ordering::Relaxed), &**task)
    {
        return;
    }
    let Some(ticket) = party.word.current() else { return };
    let waiter = Waiter::new(task.pointer().cast(), ticket);
    // SAFETY: the reference keeps the task alive.
    if let Some(claimed) = unsafe { waiter.claim_as(Outcome::Cancelled) } {
        worker.push_woken(claimed.into_task());
    }
}

/// Takes in that a wait of the calling party has ended as cancelled, for a caller that is told so by an error number: a
/// replaced function does not unwind. The [`timeout`](super::timeout) whose time is over remembers it.
#[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "for calls that libc's users make"))]
pub(crate) fn tell() {
    let party = party::current();
    // SAFETY: a party outlives its turn as the current one of its thread.
    let party_ref = unsafe { party.as_ref() };
    // SAFETY: null, or the worker that runs this very coroutine.
    if let Some(worker) = unsafe { party_ref.home().as_ref() } {
        // SAFETY: a party with a home is the first field of a task.
        let task = unsafe { party.cast::<Task>().as_ref() };
        if task.is_cancelled() {
            return insist(worker, task);
        }
    }
    party_ref.scopes.cut();
}

/// Times that a cancelled coroutine is told so before it has to let others run in between.
const PATIENCE: u32 = 1_000;
/// Times that a coroutine of a runtime which ends is told so, and how long the runtime has been ending by then. A
/// loop that only gives turns is told millions of times a second, and what it waits for may be on its way.
const LAST_PATIENCE: u32 = 100_000;
const LAST_WAIT: Duration = Duration::from_secs(2);

/// Counts that a cancelled coroutine is told so, by an unwinding or an error: one that takes no notice, and waits
/// again, for ever, must neither hold its worker nor keep its runtime from ending without a word.
pub(crate) fn insist(worker: &Worker, task: &Task) {
    let kills = Extra::count_kill(task).min(LAST_PATIENCE);
    if kills <= PATIENCE || super::exiting::is_here() {
        return;
    }
    let name = task.name().unwrap_or("unnamed");
    if kills == LAST_PATIENCE && has_been_ending(worker) {
        eprintln!(
            "coroutine '{name}' (#{}) does not end: runtime '{}' does, but it waits again after {kills} cancelled waits",
            task.id,
            worker.core().name
        );
        std::process::abort();
    }
    if kills == PATIENCE + 1 {
        worker.core().monitor.note(format!(
            "coroutine '{name}' (#{}) was cancelled, and waits again after {PATIENCE} cancelled waits: it catches its \
             unwinding, or takes no notice of errors",
            task.id
        ));
    }
    // The pointer that the worker has given to the party reaches the whole task.
    worker.push_ready(party::current().cast());
    park::suspend(task);
}

/// Tells whether the runtime of a worker has been ending for as long as a coroutine may take no notice of it.
fn has_been_ending(worker: &Worker) -> bool {
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let since = unsafe { worker.owner() }.ending_since;
    worker.core().is_ending() && since.is_some_and(|since| since.elapsed() >= LAST_WAIT)
}

/// Says once who keeps a worker of a runtime that ends: coroutines that wait although they are cancelled, under a
/// shield, or for what no cancellation ends.
#[cold]
pub(crate) fn name_the_rest(worker: &Worker) {
    const NAMED: usize = 8;
    let (count, names) = {
        // SAFETY: this is the worker's thread; the names are copied before anything else runs.
        let owner = unsafe { worker.owner() };
        owner.has_named_the_rest = true;
        let name = |task: NonNull<Task>| {
            // SAFETY: a started task is alive until its worker retires it.
            let task = unsafe { task.as_ref() };
            format!("'{}' (#{})", task.name().unwrap_or("unnamed"), task.id)
        };
        let names: Vec<String> = owner.started.iter().take(NAMED).map(name).collect();
        (owner.started.iter().count(), names.join(", "))
    };
    if count == 0 {
        return;
    }
    let (name, index) = (worker.core().name.clone(), worker.index);
    let more = if count > NAMED { ", …" } else { "" };
    let text = format!(
        "runtime '{name}' cannot end: on worker {index}, {count} cancelled coroutine(s) still wait where no cancellation \
         reaches them (a shield, a lock of std, a call on another thread): {names}{more}"
    );
    // A logger may wait for what one of them holds, and the monitor has ended. Without a thread nothing is said.
    let tell = move || unwind::report(|| notice::warn!("{text}"));
    let _ = std::thread::Builder::new().name(format!("{name}-ends")).spawn(tell);
}

/// How long a runtime ends before a cancellation is delivered to a coroutine that may unwind.
const DOUBT: Duration = Duration::from_secs(1);

/// Cancels what runs on a worker whose runtime ends, and delivers what was held back. True if a coroutine is ready.
/// Called between turns.
pub(crate) fn look(worker: &Worker) -> bool {
    if worker.core().is_ending() {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let since = *unsafe { worker.owner() }.ending_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= DOUBT {
            worker.give_up_doubts();
        }
        cancel_all(worker);
    }
    if worker.has_lost_doubts() {
        worker.end_doubts();
        started(worker)
            .iter()
            .filter(|task| Extra::end_doubt(task) && task.is_cancelled())
            .for_each(|task| deliver(worker, task));
    }
    worker.has_ready()
}

/// The started coroutines of a worker: a copy, which ends the borrow before anything else runs.
fn started(worker: &Worker) -> Vec<TaskRef> {
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let owner = unsafe { worker.owner() };
    // SAFETY: a started task is alive until its worker retires it.
    owner.started.iter().map(|task| unsafe { TaskRef::retain(task) }).collect()
}

/// Cancels every started coroutine of a worker, and every fresh one.
fn cancel_all(worker: &Worker) {
    for task in started(worker) {
        // Relaxed: the coroutine reads it on this thread.
        if task.state().fetch_or(CANCELLED, Ordering::Relaxed) & CANCELLED == 0 {
            deliver(worker, &task);
        }
    }
}
