//! What the workers of one runtime share.
//!
//! The workers live inside it, so whoever holds an `Arc<Core>` keeps all of them alive.

use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::io;
use std::sync::Arc;

use super::injector::Injector;
use super::monitor::Monitor;
use super::reactor::Reactor;
use super::remote;
use super::task::Task;
use super::worker::Worker;

/// Workers that the monitor may add when all others are stuck.
const SPARES: usize = 4;

/// What a runtime is built from.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) name: Box<str>,
    pub(crate) workers: usize,
    pub(crate) stack_size: usize,
    pub(crate) threshold: Option<core::time::Duration>,
    /// By which the monitor asks a thread what it runs.
    pub(crate) signal: Option<i32>,
}

pub(crate) struct Core {
    pub(crate) name: Box<str>,
    /// Bytes of a stack, unless a coroutine asks for another size.
    pub(crate) stack_size: usize,
    pub(crate) injector: Injector,
    pub(crate) monitor: Monitor,
    /// Workers that sleep or are about to.
    pub(crate) sleepers: AtomicUsize,
    /// At most one worker looks around before it sleeps.
    spinning: AtomicBool,
    ending: AtomicBool,
    /// How many of `all` have a thread; grows when the monitor adds a spare.
    active: AtomicUsize,
    /// How many of `all` are no spares.
    regular: usize,
    outside: AtomicU64,
    all: Box<[Worker]>,
}

// What the workers share is changed by the crate alone, and not while code of users runs.
impl UnwindSafe for Core {}
impl RefUnwindSafe for Core {}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(config: Config) -> io::Result<Arc<Self>> {
        let total = config.workers + config.workers.min(SPARES);
        let reactors = (0..total).map(|_| Reactor::new()).collect::<io::Result<Vec<_>>>()?;
        let core = Arc::new_cyclic(|weak| Self {
            name: config.name,
            stack_size: config.stack_size,
            injector: Injector::new(),
            monitor: Monitor::new(config.threshold, config.signal),
            sleepers: AtomicUsize::new(0),
            spinning: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            active: AtomicUsize::new(config.workers),
            regular: config.workers,
            outside: AtomicU64::new(0),
            all: reactors
                .into_iter()
                .enumerate()
                // SAFETY: the worker is put into this very core, and used only once it is complete.
                .map(|(index, reactor)| unsafe { Worker::new(index, weak.as_ptr(), reactor) })
                .collect(),
        });
        remote::enter(&core);
        Ok(core)
    }

    /// All workers, with and without a thread.
    pub(crate) fn all(&self) -> &[Worker] {
        &self.all
    }

    /// The workers that have a thread.
    #[inline]
    pub(crate) fn workers(&self) -> &[Worker] {
        // Acquire pairs with the Release in `add_spare`.
        &self.all[..self.active.load(Ordering::Acquire)]
    }

    /// The workers that are no spares.
    #[inline]
    pub(crate) fn regular(&self) -> &[Worker] {
        &self.all[..self.regular]
    }

    /// Counts one more worker in; `None` if there is no spare left. Called by the monitor only.
    pub(crate) fn add_spare(&self) -> Option<&Worker> {
        // Relaxed: only the monitor's thread writes it.
        let index = self.active.load(Ordering::Relaxed);
        let worker = self.all.get(index)?;
        // Release pairs with the Acquire in `workers`.
        self.active.store(index + 1, Ordering::Release);
        Some(worker)
    }

    /// Wakes one sleeping worker, if there is one, to share the fresh tasks.
    ///
    /// Costs a fence and a load when all are awake.
    #[inline]
    pub(crate) fn wake_helper(&self) {
        // The other half of the sleep protocol in `idle`: the push before, the look at the sleepers after.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 && !self.spinning.load(Ordering::SeqCst) {
            self.wake_sleeper();
        }
    }

    #[cold]
    fn wake_sleeper(&self) {
        let _ = self.workers().iter().any(Worker::wake_if_asleep);
    }

    /// Tells whether a worker other than `own` has fresh tasks that it will not reach at once.
    pub(crate) fn somebody_needs_help(&self, own: &Worker) -> bool {
        self.workers().iter().any(|worker| !ptr::eq(worker, own) && worker.needs_help())
    }

    /// Lets one worker at a time look around before it sleeps.
    pub(crate) fn may_spin(&self) -> bool {
        // Relaxed first: a load is cheaper than a failing exchange. SeqCst: read in `wake_helper`.
        !self.spinning.load(Ordering::Relaxed) && !self.spinning.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn stop_spinning(&self) {
        // SeqCst: as in `may_spin`; the worker looks at all queues once more after it.
        self.spinning.store(false, Ordering::SeqCst);
    }

    #[inline]
    pub(crate) fn is_ending(&self) -> bool {
        // SeqCst: part of the sleep protocol in `idle`; a plain load on x86-64.
        self.ending.load(Ordering::SeqCst)
    }

    /// Queues a task from outside the runtime's workers.
    pub(crate) fn inject(&self, task: NonNull<Task>) {
        // Relaxed: a figure for the metrics.
        self.outside.fetch_add(1, Ordering::Relaxed);
        self.injector.push([task]);
        self.wake_helper();
    }

    /// How many tasks came from outside.
    pub(crate) fn spawned_outside(&self) -> u64 {
        // Relaxed: as above.
        self.outside.load(Ordering::Relaxed)
    }

    /// Asks all workers to cancel what they have, and to end.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        for worker in self.workers() {
            worker.wake_if_asleep();
        }
        self.monitor.wake();
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        remote::leave(self);
    }
}
