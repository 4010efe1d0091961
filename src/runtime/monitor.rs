//! The monitor: one thread a runtime that notices workers which do not come back to their scheduler.
//!
//! | what it sees | what it does |
//! |---|---|
//! | one turn lasts longer than a tick | lets other workers take its lone fresh coroutine, and what it was given |
//! | one turn lasts longer than the threshold | reports the coroutine and where it is (`sample`), once a turn |
//! | one turn is blocked in one system call for a tick | reports it, if that is asked for (`slipped`) |
//! | all workers held up by their turns, and fresh work waits | starts a spare worker |
//! | a coroutine waits long for a lock of std | reports it, once a wait (`lock_waits`) |
//! | a worker has something to say in the middle of a wait | logs it |
//! | there was no stack for a coroutine | drops its closure, and tells its joiner (`refused`) |
//! | nothing runs for a while | sleeps until a worker wakes up, or a wait for a lock may have to be reported: an idle runtime costs nothing |
//!
//! Its word:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `WATCHING` | `ASLEEP` | the monitor | nothing has run for `QUIET` ticks |
//! | `ASLEEP` | `WATCHING` | a worker that wakes up, or the runtime's end | by swap; then it wakes the monitor |
//!
//! A turn holds its worker up when it has lasted for `HELD`, or for `FLOODS` if it still spawns: a coroutine
//! that spawns very many and then waits is not stuck, and a second thread would only take the processor from
//! it; one that never waits must not keep the others from running.
//!
//! There is no preemption: a signal that switched coroutines would do so inside allocators, and while
//! thread-locals or a `RefCell` of the thread are borrowed.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::builder;
use super::core::Core;
use super::lock_waits;
use super::refused::{self, Refused};
use super::slipped::Looks;
use super::worker::Worker;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::coroutine::unwind::{self, Ended};
use crate::sys;
use crate::sys::thread::explain_start;

const WATCHING: u32 = 0;
const ASLEEP: u32 = 1;
const TICK: Duration = Duration::from_millis(10);
/// A turn of this length holds its worker up.
const HELD: Duration = Duration::from_millis(100);
/// As `HELD`, while the turn goes on to spawn: a million take a tenth of that.
const FLOODS: Duration = Duration::from_secs(1);
/// Finding the names of a backtrace reads debug information, with deep calls.
const STACK: usize = 2 << 20;
/// How often it looks at waits for locks.
const LOOKS: Duration = Duration::from_millis(250);
/// Ticks without any turn before the monitor sleeps.
const QUIET: u32 = 10;

#[derive(Debug)]
pub(crate) struct Monitor {
    word: AtomicU32,
    /// Longest turn that is not reported; `None`: none is.
    threshold: Option<Duration>,
    /// By which a thread is asked what it runs.
    pub(super) signal: Option<i32>,
    /// What workers have to say, to be logged here.
    notes: Lock<Vec<String>>,
    /// Coroutines that could not start, to be ended here.
    refused: refused::List,
}

impl Monitor {
    pub(crate) fn new(threshold: Option<Duration>, signal: Option<i32>) -> Self {
        let (notes, refused) = (Lock::new(Vec::new()), refused::List::new());
        Self { word: AtomicU32::new(WATCHING), threshold, signal, notes, refused }
    }

    /// Says that a worker is about to run something. One load while the monitor watches.
    #[inline]
    pub(crate) fn note_running(&self) {
        // SeqCst: the worker has reset `sleeping` before; the monitor sets the word and looks at that.
        if self.word.load(Ordering::SeqCst) == ASLEEP {
            self.wake();
        }
    }

    /// Has a warning logged by the monitor's thread: a logger is user code that may wait, lock and panic, and
    /// so must not be called in the middle of a wait, nor while the worker's own part is borrowed.
    #[cold]
    pub(crate) fn note(&self, text: String) {
        self.notes.lock().push(text);
        self.wake();
    }

    /// Has a coroutine that cannot start ended by the monitor's thread; gives it back if that has ended.
    #[cold]
    pub(super) fn end(&self, refused: Refused) -> Option<Refused> {
        let back = self.refused.push(refused);
        self.wake();
        back
    }

    fn log_notes(&self) {
        let notes = core::mem::take(&mut *self.notes.lock());
        notes.iter().for_each(|text| unwind::report(|| notice::warn!("{text}")));
        if let Some((count, error)) = crate::coroutine::stack::take_refused() {
            unwind::report(|| notice::warn!("{count} free stacks keep their memory: {error}"));
        }
    }

    /// Wakes the monitor.
    #[cold]
    pub(crate) fn wake(&self) {
        self.word.store(WATCHING, Ordering::SeqCst);
        sys::futex::wake(&raw const self.word, 1);
    }
}

/// Starts the monitor's thread.
pub(crate) fn start(core: &Arc<Core>) -> io::Result<thread::JoinHandle<()>> {
    let core = Arc::clone(core);
    let name = format!("{}-monitor", core.name);
    thread::Builder::new().name(name).stack_size(STACK).spawn(move || watch(&core)).map_err(explain_start)
}

/// What the monitor remembers of a worker.
#[derive(Clone, Copy, Debug)]
struct Turn {
    tick: u64,
    since: Instant,
    /// How many the worker had spawned at the last look.
    spawned: u64,
    reported: bool,
    looks: Looks,
}

impl Turn {
    fn new(tick: u64, since: Instant, spawned: u64) -> Self {
        Self { tick, since, spawned, reported: false, looks: Looks::default() }
    }
}

fn watch(core: &Arc<Core>) {
    let mut turns: Vec<Turn> = Vec::new();
    let mut spares = Vec::new();
    let mut quiet = 0;
    let mut next_look = Instant::now();
    while !core.is_ending() {
        core.monitor.log_notes();
        core.monitor.refused.end_all();
        let now = Instant::now();
        let (mut moved, mut stuck, mut held) = (false, 0, 0);
        let (mut long, mut slipped) = (Vec::new(), Vec::new());
        let workers = core.workers();
        for (index, worker) in workers.iter().enumerate() {
            let (tick, spawned) = (worker.counters.switches.get(), worker.counters.spawned.get());
            if index == turns.len() {
                turns.push(Turn::new(tick, now, spawned));
            }
            let turn = &mut turns[index];
            // Relaxed: only compared with null.
            let busy = !worker.running.load(Ordering::Relaxed).is_null();
            if tick != turn.tick || !busy {
                moved |= tick != turn.tick;
                *turn = Turn::new(tick, now, spawned);
                worker.stuck.store(false, Ordering::Relaxed);
                continue;
            }
            moved = true;
            let lasts = now - turn.since;
            if lasts < TICK {
                continue;
            }
            let floods = core::mem::replace(&mut turn.spawned, spawned) != spawned;
            held += usize::from(lasts >= if floods { FLOODS } else { HELD });
            stuck += 1;
            worker.stuck.store(true, Ordering::Relaxed);
            if let Some((call, blocked)) = turn.looks.again(worker, tick, now) {
                // One signal will do.
                turn.reported = true;
                slipped.push((worker, tick, call.number, blocked));
            }
            if !turn.reported
                && core.monitor.threshold.is_some_and(|threshold| lasts >= threshold)
                && wants_warnings()
            {
                turn.reported = true;
                long.push((worker, tick, lasts));
            }
        }
        let waiting = core.injector.len() > 0
            || workers.iter().any(|worker| !worker.fresh.is_empty() || worker.given.len() > 0);
        if stuck > 0 && waiting {
            if stuck < workers.len() {
                core.wake_helper();
            } else if held == workers.len() {
                spares.extend(add_spare(core));
            }
        }
        // Last, because a backtrace takes its time; a turn that has ended meanwhile is not reported.
        for (worker, tick, number, blocked) in slipped {
            unwind::report(|| super::report::slipped(core, worker, tick, number, blocked));
        }
        for (worker, tick, lasts) in long {
            unwind::report(|| super::report::long_turn(core, worker, tick, lasts));
        }
        if now >= next_look {
            next_look = now + LOOKS;
            lock_waits::report(core.monitor.threshold);
        }
        quiet = if moved { 0 } else { quiet + 1 };
        rest(core, &mut quiet);
    }
    core.monitor.log_notes();
    core.monitor.refused.close();
    for spare in spares {
        let _ = spare.join();
    }
}

/// Tells whether a report would reach anybody. It asks the logger, which is foreign code.
fn wants_warnings() -> bool {
    matches!(unwind::catch(notice::wants_warnings), Ended::Value(true))
}

fn add_spare(core: &Arc<Core>) -> Option<thread::JoinHandle<()>> {
    let index = core.add_spare()?.index;
    unwind::report(|| {
        notice::warn!(
            "runtime '{}': all workers are in long turns; worker {index} is added for what waits",
            core.name
        );
    });
    match builder::start_worker(core, index) {
        Ok(handle) => Some(handle),
        Err(error) => {
            unwind::report(|| {
                notice::error!("runtime '{}': the spare worker cannot start: {error}", core.name)
            });
            None
        }
    }
}

/// Waits for the next tick, or, when nothing runs, for a worker to wake up.
fn rest(core: &Core, quiet: &mut u32) {
    let word = &core.monitor.word;
    if *quiet < QUIET {
        sys::futex::wait(word, WATCHING, Some(TICK));
        return;
    }
    *quiet = 0;
    // SeqCst: see `note_running`.
    word.store(ASLEEP, Ordering::SeqCst);
    let all_sleep = core.workers().iter().all(|worker: &Worker| worker.sleeping.load(Ordering::SeqCst));
    // The locks order this with `note` and `end`, which wake after their push.
    let has_notes = !core.monitor.notes.lock().is_empty() || !core.monitor.refused.is_empty();
    if !all_sleep || core.is_ending() || has_notes {
        word.store(WATCHING, Ordering::SeqCst);
        return;
    }
    let nap = lock_waits::nap(core.monitor.threshold);
    while word.load(Ordering::SeqCst) == ASLEEP {
        sys::futex::wait(word, ASLEEP, nap);
        if nap.is_some() {
            word.store(WATCHING, Ordering::SeqCst);
        }
    }
}
