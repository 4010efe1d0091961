//! Processes that were started before anybody knew for what.
#![forbid(unsafe_code)]

use core::fmt;
use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::{Builder, first_message};
use super::error::SpawnError;
use super::handle::{Child, Process};
use super::stdio::Pipes;
use super::{first, start};
use crate::base::lock::Lock;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::thread::spawn_blocking;

/// One that waits for its function.
struct Ready {
    child: Arc<Child>,
    pipes: Pipes,
}

struct Shared {
    builder: Builder,
    count: usize,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Ready>,
    /// A thread is about to start what is missing.
    filling: bool,
    /// Nobody wants any.
    ended: bool,
}

/// Processes that are set up and wait for a function, so that one begins within a wake instead of a fork.
///
/// Made by [`Builder::warm`]. A process that is taken is replaced in the background. Name, environment and folder are
/// those of the moment when it was started. Dropping this lets those that wait end.
///
/// # Examples
/// ```
/// use ropewalk::process::Process;
///
/// let warm = Process::builder().name("ready").warm(2)?;
/// assert_eq!(warm.ready(), 2);
/// let child = warm.spawn(|(a, b): (u32, u32)| a * b, (6, 7))?;
/// assert_eq!(child.join().unwrap(), 42);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct Warm {
    shared: Arc<Shared>,
}

impl Warm {
    pub(super) fn new(builder: Builder, count: usize) -> Result<Self, SpawnError> {
        assert!(count > 0, "Builder::warm: 0 processes would never be ready; give at least 1");
        let shared = Arc::new(Shared { builder, count, state: Lock::new(State::default()) });
        // From here on dropping it lets them end.
        let warm = Self { shared };
        while warm.shared.add()? {}
        Ok(warm)
    }

    /// How many processes wait now, as far as is known.
    pub fn ready(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Gives `f` to a process that waits; starts one if none does. See [`Process::spawn`].
    ///
    /// # Errors
    /// [`SpawnError`] if the arguments cannot be encoded, or the kernel refuses; nothing has run then.
    pub fn spawn<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<Process<R>, SpawnError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let message = first_message(f, &arguments)?;
        loop {
            let waiting = self.shared.state.lock().ready.pop_front();
            let Ready { child, pipes } = match waiting {
                Some(ready) => ready,
                None => self.shared.start()?,
            };
            // It may have been killed while it waited; nothing has run then.
            let begun = !child.has_ended() && first::send_first(&message, &child)?;
            // Made in any case, so that its end is taken in.
            let process = Process::of(child, pipes);
            if begun {
                Shared::fill(&self.shared);
                return Ok(process);
            }
        }
    }
}

impl Shared {
    fn start(&self) -> Result<Ready, SpawnError> {
        let builder = self.builder.try_clone().map_err(SpawnError::kernel("a descriptor"))?;
        let (plan, pipes) = builder.plan(None)?;
        Ok(Ready { child: start::start(&plan)?, pipes })
    }

    /// Starts one more if one is missing; false if not.
    fn add(&self) -> Result<bool, SpawnError> {
        {
            let state = self.state.lock();
            if state.ended || state.ready.len() >= self.count {
                return Ok(false);
            }
        }
        let ready = self.start()?;
        let mut state = self.state.lock();
        if state.ended {
            drop(state);
            ready.dismiss();
            return Ok(false);
        }
        state.ready.push_back(ready);
        Ok(true)
    }

    /// Has what is missing started in the background.
    fn fill(this: &Arc<Self>) {
        if core::mem::replace(&mut this.state.lock().filling, true) {
            return;
        }
        let own = Arc::clone(this);
        let work = move || {
            loop {
                let added = own.add();
                let mut state = own.state.lock();
                // Under the lock: whoever takes one after this look starts another thread.
                let is_done = added.is_err() || state.ended || state.ready.len() >= own.count;
                state.filling = !is_done;
                drop(state);
                // After that: a logger is foreign code.
                if let Err(error) = &added {
                    unwind::report(|| notice::warn!("no process could be started ahead: {error}"));
                }
                if is_done {
                    return;
                }
            }
        };
        // Without a thread they are missing, and are started when they are asked for.
        if panic::catch_unwind(AssertUnwindSafe(|| drop(spawn_blocking(work)))).is_err() {
            this.state.lock().filling = false;
        }
    }
}

impl Ready {
    fn dismiss(self) {
        first::dismiss(&self.child);
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.state.lock();
            state.ended = true;
            core::mem::take(&mut state.ready)
        };
        waiting.into_iter().for_each(Ready::dismiss);
    }
}

impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warm").field("ready", &self.ready()).field("count", &self.shared.count).finish()
    }
}
