//! Figures of a runtime, for each worker and in sum.
//!
//! Each counter has one writer, its worker, so counting is a load and a store, never a locked
//! instruction. Readers get figures that are a few turns old.
#![forbid(unsafe_code)]

use core::ops::AddAssign;
use core::sync::atomic::{AtomicU64, Ordering};

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        // Relaxed: one writer, and nothing rides on the value.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        // Relaxed: as in `add`.
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        // Relaxed: as in `add`.
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one worker.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spawned: Counter,
    pub(crate) started: Counter,
    pub(crate) finished: Counter,
    pub(crate) parks: Counter,
    pub(crate) unparks: Counter,
    pub(crate) switches: Counter,
    pub(crate) steals: Counter,
    pub(crate) handed: Counter,
    pub(crate) wakes: Counter,
    pub(crate) sleeps: Counter,
    pub(crate) cached: Counter,
}

/// Figures of one worker, or of all workers of a runtime in sum.
///
/// # Examples
/// ```
/// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
/// runtime.spawn(|| ()).join().unwrap();
/// assert_eq!(runtime.metrics().total.spawned, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Coroutines spawned by code on this worker; those spawned from elsewhere count in the sum only.
    pub spawned: u64,
    /// Coroutines that have ended.
    pub finished: u64,
    /// Coroutines that wait now.
    pub parked: u64,
    /// Switches into a coroutine.
    pub switches: u64,
    /// Times that fresh coroutines were taken from another worker.
    pub steals: u64,
    /// Fresh coroutines handed to a worker on which fewer lived.
    pub handed_over: u64,
    /// Coroutines made ready after a wait.
    pub wakes: u64,
    /// Times that the worker slept in the kernel.
    pub kernel_sleeps: u64,
    /// Stacks with a coroutine on them.
    pub stacks_in_use: u64,
    /// Stacks kept for the next spawn.
    pub stacks_cached: u64,
}

impl WorkerMetrics {
    pub(crate) fn of(counters: &Counters) -> Self {
        Self {
            spawned: counters.spawned.get(),
            finished: counters.finished.get(),
            parked: counters.parks.get().saturating_sub(counters.unparks.get()),
            switches: counters.switches.get(),
            steals: counters.steals.get(),
            handed_over: counters.handed.get(),
            wakes: counters.wakes.get(),
            kernel_sleeps: counters.sleeps.get(),
            stacks_in_use: counters.started.get().saturating_sub(counters.finished.get()),
            stacks_cached: counters.cached.get(),
        }
    }
}

impl AddAssign for WorkerMetrics {
    fn add_assign(&mut self, other: Self) {
        self.spawned += other.spawned;
        self.finished += other.finished;
        self.parked += other.parked;
        self.switches += other.switches;
        self.steals += other.steals;
        self.handed_over += other.handed_over;
        self.wakes += other.wakes;
        self.kernel_sleeps += other.kernel_sleeps;
        self.stacks_in_use += other.stacks_in_use;
        self.stacks_cached += other.stacks_cached;
    }
}

/// Figures of a runtime; see [`Runtime::metrics`](crate::Runtime::metrics).
///
/// # Examples
/// ```
/// let runtime = ropewalk::Runtime::builder().workers(2).build()?;
/// runtime.run(|| ());
/// let metrics = runtime.metrics();
/// assert_eq!((metrics.workers.len(), metrics.total.spawned), (2, 1));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// One entry a worker.
    pub workers: Vec<WorkerMetrics>,
    /// The sum, with what was spawned from outside the runtime.
    pub total: WorkerMetrics,
}
