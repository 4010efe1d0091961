//! Fresh tasks on a worker: queued, taken, shared with the other workers.

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

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
        // Relaxed: a hint of the monitor's.
        if self.stuck.load(Ordering::Relaxed) { 1 } else { 2 }
    }

    fn take_injected(&self, most: usize) -> usize {
        self.core().injector.pop(most, |task| {
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
        if self.take_injected(INJECTOR_BATCH) > 0 {
            return self.pop_fresh();
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
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.ready.pop_front()
    }
}
