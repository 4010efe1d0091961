//! Fresh tasks on a worker: queued, taken, shared with the other workers.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use super::injector::Injector;
use super::task::Task;
use super::timers;
use super::worker::Worker;

/// Fresh tasks taken from the injector at once.
const INJECTOR_BATCH: usize = 64;

impl Worker {
    /// Queues a fresh task. Called on the worker's thread.
    #[inline]
    pub(crate) fn push_fresh(&self, task: NonNull<Task>) {
        self.counters.spawned.add(1);
        // SAFETY: this is the owner of the deque.
        if let Err(task) = unsafe { self.fresh.push(task) } {
            self.overflow(task);
        }
        // The first one this worker will reach itself; from the second on, another may help.
        if self.fresh.len() >= 2 {
            self.core().wake_helper();
        }
    }

    #[cold]
    fn overflow(&self, task: NonNull<Task>) {
        let mut batch = [const { core::mem::MaybeUninit::uninit() }; 128];
        let count = self.fresh.take_half(&mut batch);
        // SAFETY: `take_half` has written the first `count`.
        let taken = batch[..count].iter().map(|task| unsafe { task.assume_init() });
        self.core().injector.push(taken.chain([task]));
    }

    /// Hands a fresh task to a worker that has fewer living coroutines, if `births` says so; false if the task stays.
    #[inline]
    pub(super) fn gives(&self, task: NonNull<Task>) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        let Some(heir) = owner.births.heir(self, owner.started.len()) else { return false };
        self.counters.handed.add(1);
        heir.given.push([task]);
        heir.wake_if_asleep();
        if self.core().is_ending() {
            // The heir may have ended: see `births`.
            self.take_from(&heir.given, usize::MAX);
        }
        true
    }

    /// How many coroutines live here, with those that were handed over and have not started. From any thread.
    pub(crate) fn living(&self) -> usize {
        // The finished first: none of them is missing in the started.
        let finished = self.counters.finished.get();
        self.counters.started.get().saturating_sub(finished) as usize + self.given.len()
    }

    /// Tells whether the monitor has seen the worker in a long turn.
    #[inline]
    pub(crate) fn is_stuck(&self) -> bool {
        // Relaxed: a hint of the monitor's.
        self.stuck.load(Ordering::Relaxed)
    }

    /// Takes what other workers have handed over. One load if there is nothing.
    #[inline]
    pub(super) fn take_given(&self) {
        if self.given.len() > 0 {
            self.take_from(&self.given, INJECTOR_BATCH);
        }
    }

    /// Takes what was handed to a worker that a long turn holds up; false if there is nothing.
    pub(super) fn take_from_stuck(&self) -> bool {
        let held_up =
            |worker: &&Worker| worker.is_stuck() && worker.given.len() > 0 && !ptr::eq(*worker, self);
        let Some(held_up) = self.core().regular().iter().find(held_up) else { return false };
        self.take_from(&held_up.given, INJECTOR_BATCH) > 0
    }

    #[inline]
    pub(super) fn pop_fresh(&self) -> Option<NonNull<Task>> {
        // SAFETY: this is the owner of the deque.
        unsafe { self.fresh.pop() }
    }

    #[inline]
    pub(super) fn pop_injected(&self) -> Option<NonNull<Task>> {
        if self.core().injector.len() == 0 || self.take_injected(INJECTOR_BATCH) == 0 {
            return None;
        }
        self.pop_fresh()
    }

    /// From how many fresh tasks on another worker should take some: a lone one is left to its
    /// worker, which will reach it sooner, unless that is stuck.
    #[inline]
    pub(crate) fn spare_from(&self) -> usize {
        if self.is_stuck() { 1 } else { 2 }
    }

    /// Tells whether it has fresh tasks that it will not reach at once.
    pub(crate) fn needs_help(&self) -> bool {
        self.fresh.len() >= self.spare_from() || self.is_stuck() && self.given.len() > 0
    }

    fn take_injected(&self, most: usize) -> usize {
        self.take_from(&self.core().injector, most)
    }

    fn take_from(&self, injector: &Injector, most: usize) -> usize {
        injector.pop(most, |task| {
            // SAFETY: this is the owner of the deque.
            if let Err(task) = unsafe { self.fresh.push(task) } {
                // A full deque has enough to do; the task runs as soon as the ready ones have.
                self.push_ready(task);
            }
        })
    }

    /// Nothing of its own is left: the injector, then the others.
    #[cold]
    pub(crate) fn search(&self) -> Option<NonNull<Task>> {
        timers::fire(self);
        self.take_given();
        if let Some(task) = self.pop_fresh().or_else(|| self.pop_injected()) {
            return Some(task);
        }
        let workers = self.core().workers();
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let first = unsafe { self.owner() }.victim;
        for offset in 0..workers.len() {
            let victim = &workers[(first + offset) % workers.len()];
            if ptr::eq(victim, self) || victim.fresh.len() < victim.spare_from() {
                continue;
            }
            // SAFETY: this worker owns the deque that takes.
            if let Some(task) = unsafe { victim.fresh.steal_into(&self.fresh) } {
                // SAFETY: as above.
                unsafe { self.owner() }.victim = first + offset;
                self.counters.steals.add(1);
                return Some(task);
            }
        }
        if self.take_from_stuck() {
            return self.pop_fresh();
        }
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.ready.pop_front()
    }
}
