//! Coroutines for which there is no stack, until they are ended.
//!
//! Ending one drops its closure: foreign code, which may wait. On a worker, between two turns, that would hold all
//! coroutines of the worker up, those included for which it waits; and there is no stack to do it on a coroutine.
//! So the monitor's thread does it, as it logs what workers have to say.

use core::ptr::NonNull;

use super::task::{Task, TaskRef};
use crate::base::lock::Lock;

/// A coroutine that cannot start.
#[derive(Debug)]
pub(crate) struct Refused {
    task: TaskRef,
    why: String,
}

impl Refused {
    /// Says why a task cannot start.
    ///
    /// # Safety
    /// * The task has not started, and the caller has taken it out of its queue.
    pub(crate) unsafe fn new(task: NonNull<Task>, why: String) -> Self {
        // SAFETY: the scheduler's reference is counted, and given up here.
        Self { task: unsafe { TaskRef::from_raw(task) }, why }
    }

    /// Drops its closure, and gives its joiner a panic that says why.
    pub(crate) fn end(self) {
        // SAFETY: the duty of `new`, and this is the only one of it.
        unsafe { self.task.refuse(self.why) };
    }
}

/// Those that wait to be ended by the monitor's thread.
#[derive(Debug)]
pub(crate) struct List(Lock<State>);

#[derive(Debug)]
struct State {
    waiting: Vec<Refused>,
    /// The thread has ended: whoever comes now ends it himself.
    closed: bool,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self(Lock::new(State { waiting: Vec::new(), closed: false }))
    }

    /// Hands one over; gives it back if nobody will take it.
    pub(crate) fn push(&self, refused: Refused) -> Option<Refused> {
        let mut state = self.0.lock();
        if state.closed {
            return Some(refused);
        }
        state.waiting.push(refused);
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().waiting.is_empty()
    }

    /// Ends those that are here.
    pub(crate) fn end_all(&self) {
        let waiting = core::mem::take(&mut self.0.lock().waiting);
        waiting.into_iter().for_each(Refused::end);
    }

    /// Ends those that are here, and takes no more.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
        self.end_all();
    }
}
