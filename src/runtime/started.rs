//! The coroutines that have started on a worker and not ended: one word each.
//!
//! Invariant I1: the task at index `i` has `i` as its party's `place`. So removing one is moving the last
//! into its place.

use core::ptr::NonNull;

use super::task::Task;

#[derive(Debug, Default)]
pub(crate) struct Started(Vec<NonNull<Task>>);

impl Started {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Enters a task that is alive.
    #[inline]
    pub(crate) fn insert(&mut self, task: NonNull<Task>) {
        let place = u32::try_from(self.0.len()).expect("fewer than 2^32 coroutines at once");
        // SAFETY: the caller has just taken it from a queue, so it is alive; it is this worker's.
        unsafe { task.as_ref() }.party.place.set(place);
        self.0.push(task);
    }

    /// Takes a task out, which is in it.
    #[inline]
    pub(crate) fn remove(&mut self, task: &Task) {
        let place = task.party.place.get();
        self.0.swap_remove(place as usize);
        if let Some(moved) = self.0.get(place as usize) {
            // SAFETY: whatever is in the table has not ended, and is this worker's.
            unsafe { moved.as_ref() }.party.place.set(place);
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = NonNull<Task>> {
        self.0.iter().copied()
    }
}
