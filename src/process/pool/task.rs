//! One task of a pool of processes: where its value goes.
#![forbid(unsafe_code)]

use core::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::core::Core;
use super::error::TaskError;
use crate::process::call;
use crate::process::channel::Message;
use crate::thread::outcome::Outcome;
use crate::thread::verbs::async_result;

/// Who ran a task.
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(1)?;
/// let task = pool.apply_async(|()| std::process::id(), ()).unwrap();
/// task.wait();
/// let ran_on = task.ran_on().unwrap();
/// assert_eq!((ran_on.worker, ran_on.pid), (0, task.get().unwrap()));
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RanOn {
    /// The worker's number in its pool.
    pub worker: usize,
    /// Its process.
    pub pid: u32,
}

/// What has become of a task: its reply, still encoded, and who sent it.
pub(super) struct Finished {
    pub(super) result: Result<Message, TaskError>,
    pub(super) ran_on: Option<RanOn>,
}

impl Finished {
    /// The value. `Drop` of the descriptors that nobody takes closes them.
    pub(super) fn value<R: DeserializeOwned>(self) -> Result<R, TaskError> {
        let (bytes, fds) = self.result?;
        value(&bytes, fds)
    }

    /// A value of its own for one who only looks at it.
    fn copy<R: DeserializeOwned>(&self) -> Result<R, TaskError> {
        let (bytes, fds) = self.result.as_ref().map_err(TaskError::clone)?;
        let copies: Result<Vec<OwnedFd>, _> = fds.iter().map(OwnedFd::try_clone).collect();
        value(bytes, copies.map_err(|error| TaskError::Transfer(error.to_string()))?)
    }
}

/// The value that a reply holds.
fn value<R: DeserializeOwned>(bytes: &[u8], fds: Vec<OwnedFd>) -> Result<R, TaskError> {
    match call::read_reply(bytes, fds) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(failure.into()),
        Err(error) => Err(TaskError::Decode(error)),
    }
}

/// Where the end of one task is put.
pub(super) type Slot = Outcome<Finished>;

/// The result of a task, when it is there. Dropping it lets the task go on.
///
/// On a coroutine, waiting leaves the worker thread to others.
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(1)?;
/// let (sender, told) = ropewalk::channel::bounded(1);
/// let task = pool.apply_async(|n: u32| n * 2, 21).unwrap();
/// let task = task.on_success(move |value| sender.send(*value).unwrap());
/// assert_eq!(told.recv(), Ok(42));
/// task.wait();
/// assert!(task.is_ready() && task.ran_on().is_some());
/// assert_eq!(task.successful(), Some(true));
/// assert_eq!(task.get().unwrap(), 42);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct AsyncResult<T> {
    pub(super) slot: Arc<Slot>,
    pub(super) core: Arc<Core>,
    pub(super) value: PhantomData<fn() -> T>,
}

async_result!(AsyncResult<T: DeserializeOwned>, TaskError, called "a thread of the pool in this process");

impl<T> AsyncResult<T> {
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        self.core.wait_for(self.slot.done(), deadline)
    }

    fn is_done(&self) -> bool {
        let done = self.slot.done();
        if !done.is_set() {
            self.core.help();
        }
        done.is_set()
    }

    /// Who ran the task; `None` before it is done, and if no worker finished it. Never waits.
    pub fn ran_on(&self) -> Option<RanOn> {
        self.slot.look(|finished| finished.ran_on).flatten()
    }
}

impl<T: DeserializeOwned> AsyncResult<T> {
    fn take(self) -> Result<T, TaskError> {
        self.slot.take().value()
    }

    fn ok(&self) -> Option<bool> {
        self.slot.look(|finished| finished.copy::<T>().is_ok())
    }

    fn then(&self, f: impl FnOnce(Result<&T, &TaskError>) + Send + 'static)
    where
        T: 'static,
    {
        // From now on its end is to be known at once.
        let wanted = Core::want(&self.core);
        let waits = self.slot.then(move |finished: &Finished| {
            f(finished.copy().as_ref());
            drop(wanted);
        });
        if waits {
            // It may have come already without a word.
            self.core.hand_over();
        }
    }
}
