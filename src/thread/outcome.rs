//! Where the end of one task is put, and who is told of it: for tasks of both kinds of pool.
#![forbid(unsafe_code)]

use std::panic::{self, AssertUnwindSafe};

use crate::base::notice;
use crate::coroutine::unwind;
use crate::sync::{Event, Mutex};

type Callback<V> = Box<dyn FnOnce(&V) + Send>;

struct State<V> {
    end: Option<V>,
    callbacks: Vec<Callback<V>>,
}

/// The end of a task, when it is there.
pub(crate) struct Outcome<V> {
    state: Mutex<State<V>>,
    done: Event,
}

impl<V> Outcome<V> {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { end: None, callbacks: Vec::new() }), done: Event::new() }
    }

    /// Set when the end is there, and all who are called with it have returned.
    pub(crate) fn done(&self) -> &Event {
        &self.done
    }

    /// Stores the end, and tells those who wait; gives it back if somebody is to be called with it.
    pub(crate) fn finish_quietly(&self, end: V) -> Result<(), V> {
        let mut state = self.state.lock();
        if !state.callbacks.is_empty() {
            return Err(end);
        }
        state.end = Some(end);
        drop(state);
        self.done.set();
        Ok(())
    }

    /// As [`finish_quietly`](Self::finish_quietly), but calls those who are to be called first, here.
    pub(crate) fn finish(&self, mut end: V) {
        while let Err(back) = self.finish_quietly(end) {
            end = back;
            let callbacks = core::mem::take(&mut self.state.lock().callbacks);
            for callback in callbacks {
                if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| callback(&end))) {
                    unwind::report(|| notice::error!("a callback of a pool's task has panicked"));
                    unwind::discard(payload);
                }
            }
        }
    }

    /// Has `f` called with the end: at once, here, if it is there (then this is false). Called by the one handle.
    pub(crate) fn then(&self, f: impl FnOnce(&V) + Send + 'static) -> bool {
        let mut state = self.state.lock();
        let Some(end) = state.end.take() else {
            state.callbacks.push(Box::new(f));
            return true;
        };
        // The callback is foreign code, so not under the lock. Nobody looks for the end meanwhile: the handle is
        // here. If `f` panics, the handle is lost, and the end with it.
        drop(state);
        f(&end);
        self.state.lock().end = Some(end);
        false
    }

    /// Looks at the end, if it is there.
    pub(crate) fn look<X>(&self, f: impl FnOnce(&V) -> X) -> Option<X> {
        self.state.lock().end.as_ref().map(f)
    }

    /// Takes the end; the right of the one handle, when it is done.
    pub(crate) fn take(&self) -> V {
        let end = self.state.lock().end.take();
        end.unwrap_or_else(|| unreachable!("the one handle takes the result once, when it is there"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn callbacks_run_without_the_lock_and_before_the_end_can_be_taken() {
        let outcome = Arc::new(Outcome::new());
        let calls = Arc::new(Mutex::new(Vec::new()));
        let call = || {
            let (outcome, calls) = (Arc::clone(&outcome), Arc::clone(&calls));
            move |end: &u8| {
                let state = (outcome.state.is_locked(), outcome.done().is_set());
                calls.lock().push((*end, state));
            }
        };
        assert!(outcome.then(call()));
        assert_eq!(outcome.finish_quietly(7), Err(7));
        outcome.finish(7);
        assert!(!outcome.then(call()));
        assert_eq!(*calls.lock(), [(7, (false, false)), (7, (false, true))]);
        assert_eq!((outcome.look(|end| *end), outcome.take()), (Some(7), 7));
    }
}
