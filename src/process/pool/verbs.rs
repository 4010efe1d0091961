//! The pool of processes, with the verbs of Python's `multiprocessing.pool`.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::build::PoolBuilder;
use super::core::{Core, End};
use super::error::{SubmitError, TaskError};
use super::task::{AsyncResult, Slot};
use crate::process::call::Call;
use crate::process::codec;
use crate::process::error::SpawnError;
use crate::thread::NotClosed;

/// Processes that run tasks: work that is to use all cores, that leaks, or that may crash.
///
/// A task is a `fn`, or a closure that captures nothing, and its arguments; these and the value travel with
/// serde. Workers take tasks one by one, so a long one holds up nobody. One that dies, in whatever way and
/// whenever, fails the one task in its hands and is replaced; no other task is lost, and none runs twice
/// unless [`retries`](PoolBuilder::retries) allows it. Dropping the pool terminates it.
///
/// # Examples
/// ```
/// use ropewalk::process::Pool;
///
/// let pool = Pool::new(3)?;
/// assert_eq!(pool.apply(|n: u32| n * 2, 21).unwrap(), 42);
/// assert_eq!(pool.map(|n: u64| n * n, 0..4).unwrap(), [0, 1, 4, 9]);
/// assert_eq!(pool.starmap(|a: u32, b: u32| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
/// pool.close();
/// pool.join().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct Pool {
    pub(super) core: Arc<Core>,
}

/// A worker, as [`Pool::workers`] tells of it.
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(1)?;
/// let pid = pool.apply(|()| std::process::id(), ()).unwrap();
/// assert_eq!((pool.workers()[0].worker, pool.workers()[0].pid), (0, pid));
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its number in the pool.
    pub worker: usize,
    /// Its process.
    pub pid: u32,
    /// The task in its hands: the how manyth that the pool has taken.
    pub task: Option<u64>,
}

impl Pool {
    /// Makes a pool of `workers` processes.
    ///
    /// # Errors
    /// As for [`PoolBuilder::build`].
    ///
    /// # Panics
    /// For zero workers.
    pub fn new(workers: usize) -> Result<Self, SpawnError> {
        Self::builder(workers).build()
    }

    /// Sets up a pool of `workers` processes.
    pub fn builder(workers: usize) -> PoolBuilder {
        PoolBuilder::new(workers)
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.core.config.name
    }

    /// How many workers it has, or is about to have.
    pub fn size(&self) -> usize {
        self.core.config.workers
    }

    /// Tasks that have not ended, those that run among them.
    pub fn unfinished(&self) -> usize {
        self.core.help();
        self.core.state().tasks.len()
    }

    /// The workers that live now, and what they have in their hands.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let state = self.core.state();
        let workers = state.workers.iter().enumerate();
        let info = |(worker, it): (usize, &Option<super::core::Worker>)| {
            let pid = it.as_ref()?.child.pid;
            Some(WorkerInfo { worker, pid, task: self.core.board.post(worker).running().map(|(id, _)| id) })
        };
        workers.filter_map(info).collect()
    }

    /// Runs `f` in a worker, and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`] if there is no value.
    pub fn apply<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.apply_async(f, arguments)?.get()
    }

    /// Queues `f` for a worker. Waits only if the pool is bounded, full, and blocks.
    ///
    /// # Errors
    /// [`SubmitError`] if the pool does not take it; nothing has run then.
    pub fn apply_async<A, R>(&self, f: fn(A) -> R, arguments: A) -> Result<AsyncResult<R>, SubmitError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit(Call::new(f)?, &arguments)
    }

    /// As [`apply_async`](Self::apply_async), and gives the result to `callback`, which runs on a thread of
    /// the pool in this process.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::process::Pool::new(1)?;
    /// let (sender, told) = ropewalk::channel::bounded(1);
    /// pool.apply_callback(|n: u32| n * 2, 21, move |result| sender.send(result.unwrap()).unwrap()).unwrap();
    /// assert_eq!(told.recv(), Ok(42));
    /// # Ok::<(), ropewalk::process::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// As for `apply_async`; the callback is not called then.
    pub fn apply_callback<A, R>(
        &self,
        f: fn(A) -> R,
        arguments: A,
        callback: impl FnOnce(Result<R, TaskError>) + Send + 'static,
    ) -> Result<(), SubmitError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let end = End::Callback(Box::new(move |finished| callback(finished.value())));
        self.core.submit(Call::new(f)?, codec::encode(&arguments, Vec::new())?, end)
    }

    pub(super) fn submit<A: Serialize + ?Sized, R>(
        &self,
        call: Call,
        arguments: &A,
    ) -> Result<AsyncResult<R>, SubmitError> {
        let slot = Arc::new(Slot::new());
        let end = End::Slot(Arc::clone(&slot));
        self.core.submit(call, codec::encode(arguments, Vec::new())?, end)?;
        Ok(AsyncResult { slot, core: Arc::clone(&self.core), value: PhantomData })
    }

    pub(super) fn submit_quick<A: Serialize + ?Sized>(
        &self,
        call: Call,
        arguments: &A,
        end: impl FnOnce(super::task::Finished) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.core.submit(call, codec::encode(arguments, Vec::new())?, End::Quick(Box::new(end)))
    }

    /// Takes no more tasks; those it has still run. Never waits.
    pub fn close(&self) {
        self.core.close();
    }

    /// Waits until all tasks have ended, and all workers with them. A cancellation point.
    ///
    /// # Errors
    /// [`NotClosed`] if the pool is still open.
    pub fn join(&self) -> Result<(), NotClosed> {
        if !self.core.state().closed {
            return Err(NotClosed(Arc::clone(&self.core.config.name)));
        }
        self.core.ended.wait();
        Ok(())
    }

    /// Takes no more tasks, gives up those it has, and kills the workers. Never waits.
    pub fn terminate(&self) {
        self.core.terminate();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.core.owner == std::process::id() {
            self.core.terminate();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("size", &self.size())
            .field("unfinished", &self.unfinished())
            .finish()
    }
}
