//! The coroutines of a scope or of a nursery: counted, cancelled together, waited for.
//!
//! A nursery records its first failure here, under the lock that guards the children. The record decides who was first,
//! before the children are cancelled and before any destructor runs.
#![forbid(unsafe_code)]

use core::any::Any;
use core::mem;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::collections::HashMap;
use std::sync::Arc;

use super::cancel;
use super::join::{self, JoinError};
use super::park::Reason;
use super::permit::Permit;
use super::shield::Shield;
use super::task::{Hook, TaskRef};
use crate::base::lock::Lock;
use crate::coroutine::unwind;

/// What a scope and its children share.
#[derive(Debug, Default)]
pub(super) struct Children {
    /// The first failure of one cancels the others.
    fails_fast: bool,
    running: AtomicUsize,
    /// Children that have panicked, less the panics that a join has taken; below zero while a child is
    /// joined, and has not counted its own yet.
    panicked: AtomicIsize,
    /// Given by the last child.
    done: Permit,
    living: Lock<Living>,
}

/// The children that a cancellation has to reach, by their ids.
#[derive(Debug, Default)]
struct Living {
    tasks: HashMap<u64, TaskRef>,
    /// The scope is cancelled: a child that comes later is cancelled at once.
    cancelled: bool,
    /// Why a nursery is cancelled.
    failure: Option<Failure>,
}

/// The first failure of a nursery.
#[derive(Debug)]
pub(super) enum Failure {
    /// A task or the closure returned an error, which the nursery keeps.
    Error,
    /// A task or the closure unwound with this payload. It may be that of a cancellation or of a deadline.
    Unwound(Box<dyn Any + Send>),
}

impl Children {
    /// Makes an empty set whose first failure cancels the others.
    pub(super) fn failing_fast() -> Self {
        Self { fails_fast: true, ..Self::default() }
    }

    /// Counts a child that is about to be spawned.
    pub(super) fn count(self: &Arc<Self>) -> Child {
        // Relaxed: the scope's frame, or a child that is itself counted, does this before its end.
        self.running.fetch_add(1, Ordering::Relaxed);
        Child(Arc::clone(self))
    }

    /// Adds a child, which may have ended by now.
    pub(super) fn add(&self, task: &TaskRef) {
        let mut living = self.living.lock();
        let cancelled = living.cancelled;
        if !cancelled {
            living.tasks.insert(task.id, task.clone());
        }
        drop(living);
        if cancelled {
            cancel::request(task);
        }
        // A child that ended before the insertion has not found itself in the map. One that ends later does.
        if join::is_done(task) {
            self.remove(task.id);
        }
    }

    fn remove(&self, id: u64) {
        let removed = self.living.lock().tasks.remove(&id);
        // Here, because the lock is free again.
        drop(removed);
    }

    /// Cancels all children, and those that are spawned later.
    pub(super) fn cancel(&self) {
        let mut living = self.living.lock();
        living.cancelled = true;
        let tasks = mem::take(&mut living.tasks);
        drop(living);
        tasks.values().for_each(cancel::request);
    }

    /// Records a failure and cancels all children but `id`, and those that are spawned later.
    ///
    /// # Errors
    /// The failure, if it is not the first.
    pub(super) fn fail(&self, id: u64, failure: Failure) -> Result<(), Failure> {
        let mut living = self.living.lock();
        if living.cancelled {
            return Err(failure);
        }
        living.cancelled = true;
        living.failure = Some(failure);
        let tasks = mem::take(&mut living.tasks);
        drop(living);
        tasks.values().filter(|task| task.id != id).for_each(cancel::request);
        Ok(())
    }

    /// As [`fail`](Self::fail), for an unwinding. A later payload is dropped.
    pub(super) fn fail_unwound(&self, id: u64, payload: Box<dyn Any + Send>) {
        if let Err(Failure::Unwound(payload)) = self.fail(id, Failure::Unwound(payload)) {
            unwind::discard(payload);
        }
    }

    /// Tells whether the children have been cancelled together.
    pub(super) fn is_cancelled(&self) -> bool {
        self.living.lock().cancelled
    }

    /// Takes the first failure out.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.living.lock().failure.take()
    }

    /// Waits until no child runs. A cancellation point.
    pub(super) fn wait(&self) {
        // Acquire pairs with the Release in `finished`.
        while self.running.load(Ordering::Acquire) > 0 {
            self.done.take(Reason::Join, None);
        }
    }

    /// Waits until no child runs, whatever happens to the caller.
    pub(super) fn wait_shielded(&self) {
        {
            let _shield = Shield::new();
            self.wait();
        }
        // No child runs, so none is added. The tasks own this set in their turn.
        let rest = mem::take(&mut self.living.lock().tasks);
        drop(rest);
    }

    /// The children that run. Figures for people.
    pub(super) fn running(&self) -> usize {
        // Relaxed: nothing rides on it.
        self.running.load(Ordering::Relaxed)
    }

    /// Tells whether a child has panicked and no join has taken that. Called after all have ended.
    pub(super) fn has_panicked(&self) -> bool {
        // Relaxed: ordered by the Acquire in `wait`; the joins were made in the scope.
        self.panicked.load(Ordering::Relaxed) > 0
    }

    /// Counts off a panic that a join has taken, so that the scope does not raise it again.
    pub(super) fn taken<T>(&self, result: Result<T, JoinError>) -> Result<T, JoinError> {
        if let Err(JoinError::Panicked(_)) = result {
            // Relaxed: as in `finished`; a child that joins another does so before its own end.
            self.panicked.fetch_sub(1, Ordering::Relaxed);
        }
        result
    }
}

/// Held by each child; says that it has ended.
pub(super) struct Child(Arc<Children>);

impl Hook for Child {
    fn failed(&self, id: u64, error: &mut JoinError) {
        if self.0.fails_fast
            && let JoinError::Panicked(payload) = mem::replace(error, JoinError::Cancelled)
        {
            self.0.fail_unwound(id, payload);
        }
    }

    fn finished(&self, id: u64, panicked: bool) {
        if panicked {
            // Relaxed: the decrement below publishes it.
            self.0.panicked.fetch_add(1, Ordering::Relaxed);
        }
        self.0.remove(id);
        // Release: what the child did comes before the parent goes on; pairs with the Acquire in `wait`.
        if self.0.running.fetch_sub(1, Ordering::Release) == 1 {
            self.0.done.give();
        }
    }
}

/// Uncounts a child that was not spawned after all: a bad stack size, or no runtime, which panics.
pub(super) struct Uncount<'a>(pub(super) &'a Children);

impl Drop for Uncount<'_> {
    fn drop(&mut self) {
        // Relaxed: this thread has just added it, and the scope still runs here.
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
