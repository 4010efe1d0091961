//! The pool of processes, with the verbs of Python's `multiprocessing.pool`.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Config, Core, End};
use super::lazy::{Imap, ImapUnordered};
use super::manage;
use super::task::{AsyncResult, Slot, SubmitError, TaskError};
use crate::process::call::Call;
use crate::process::codec;
use crate::process::error::SpawnError;
use crate::process::{StartMethod, start};
use crate::thread::{NotClosed, WhenFull};

/// Sets up a [`Pool`].
///
/// # Examples
/// ```
/// use ropewalk::process::{Pool, TaskError};
/// use std::time::Duration;
///
/// let pool = Pool::builder(1).task_timeout(Duration::from_millis(50)).build()?;
/// let late = pool.apply(|()| std::thread::sleep(Duration::from_secs(3600)), ());
/// assert!(matches!(late, Err(TaskError::TimedOut(_))));
/// assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap(), 2);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder {
    config: Config,
    wrong: Option<SpawnError>,
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("name", &self.config.name).finish_non_exhaustive()
    }
}

impl PoolBuilder {
    /// Sets the name that workers and errors carry; default `pool`.
    pub fn name(mut self, name: &str) -> Self {
        self.config.name = Arc::from(name);
        self
    }

    /// Sets how workers start; default [`StartMethod::Zygote`].
    pub fn start_method(mut self, method: StartMethod) -> Self {
        self.config.method = method;
        self
    }

    /// Sets what each worker runs first. One that panics does not become a worker; after three in a row
    /// the pool is broken, and its tasks fail with what the last one said.
    pub fn initializer<A, R>(mut self, f: fn(A) -> R, arguments: A) -> Self
    where
        A: Serialize + DeserializeOwned,
        R: Serialize,
    {
        match Call::new(f).and_then(|call| Ok((call, codec::encode(&arguments, Vec::new())?))) {
            Ok((call, (bytes, _))) => self.config.initializer = Some((call, bytes)),
            Err(error) => self.wrong = Some(error),
        }
        self
    }

    /// Sets after how many tasks a worker is replaced by a new one; default never.
    pub fn max_tasks_per_child(mut self, tasks: u64) -> Self {
        self.config.most_tasks = Some(tasks);
        self
    }

    /// Sets how many tasks may wait besides those that run, and what happens to those that are too much;
    /// default no bound.
    pub fn bound(mut self, tasks: usize, when_full: WhenFull) -> Self {
        (self.config.bound, self.config.when_full) = (Some(tasks), when_full);
        self
    }

    /// Sets how long a task may take from its beginning. After that its worker is killed and replaced.
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.config.limit = Some(limit);
        self
    }

    /// Sets how often a task is tried again whose worker died. For tasks that may run twice; default 0.
    pub fn retries(mut self, retries: u32) -> Self {
        self.config.retries = retries;
        self
    }

    /// Makes the pool, and begins to start its workers.
    ///
    /// # Errors
    /// [`SpawnError`] if the first process cannot be started, or the initialiser cannot be sent.
    ///
    /// # Panics
    /// For zero workers, zero tasks for each, or a bound of zero: nothing could ever run.
    pub fn build(self) -> Result<Pool, SpawnError> {
        let config = self.config;
        let name = &config.name;
        assert!(config.workers > 0, "pool '{name}': zero workers can run nothing; give at least 1");
        assert!(config.workers < 1 << 14, "pool '{name}': {} workers are too many", config.workers);
        assert!(config.most_tasks != Some(0), "pool '{name}': a worker must be allowed at least 1 task");
        assert!(config.bound != Some(0), "pool '{name}': with a bound of 0 no task could ever wait");
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if config.method == StartMethod::Zygote {
            start::prepare()?;
        }
        let core = Core::new(config).map_err(SpawnError::kernel("the memory and descriptors of a pool"))?;
        manage::start_manager(&core).map_err(SpawnError::kernel("the thread that manages a pool"))?;
        Ok(Pool { core })
    }
}

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
    core: Arc<Core>,
}

/// A worker, as [`Pool::workers`] tells of it.
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
        let config = Config {
            name: Arc::from("pool"),
            workers,
            method: StartMethod::default(),
            initializer: None,
            most_tasks: None,
            bound: None,
            when_full: WhenFull::Block,
            limit: None,
            retries: 0,
        };
        PoolBuilder { config, wrong: None }
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
        self.core.state().tasks.len()
    }

    /// The workers that live now, and what they have in their hands.
    pub fn workers(&self) -> Vec<WorkerInfo> {
        let state = self.core.state();
        let workers = state.workers.iter().enumerate();
        let info = |(worker, it): (usize, &Option<super::core::Worker>)| {
            let pid = it.as_ref()?.child.pid;
            Some(WorkerInfo { worker, pid, task: self.core.board.running(worker).map(|(id, _)| id) })
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
        let slot = Arc::new(Slot::default());
        let end = End::Slot(Arc::clone(&slot));
        self.core.submit(call, codec::encode(arguments, Vec::new())?, end)?;
        Ok(AsyncResult { slot, core: Arc::clone(&self.core), value: PhantomData })
    }

    pub(super) fn submit_quick<A: Serialize>(
        &self,
        call: Call,
        arguments: &A,
        end: impl FnOnce(super::task::Finished) + Send + 'static,
    ) -> Result<(), SubmitError> {
        self.core.submit(call, codec::encode(arguments, Vec::new())?, End::Quick(Box::new(end)))
    }

    /// Runs `f` on every item, and gives the values in the order of the items. Items go to the workers in
    /// chunks, four for each worker.
    ///
    /// # Errors
    /// The first error in that order; it fails a whole chunk, and the other chunks run all the same.
    pub fn map<A, R>(&self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items: Vec<A> = items.into_iter().collect();
        let chunk = items.len().div_ceil(4 * self.size());
        self.map_chunked(f, items, chunk.max(1))
    }

    /// As [`map`](Self::map), with chunks of `chunk` items. With 1, a death loses one item only.
    ///
    /// # Errors
    /// As for `map`.
    ///
    /// # Panics
    /// For chunks of 0 items.
    pub fn map_chunked<A, R>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        chunk: usize,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let call = Call::each(f).map_err(SubmitError::from)?;
        self.in_chunks(call, items.into_iter().collect(), chunk)
    }

    /// As [`map`](Self::map), for a function of two arguments.
    ///
    /// # Errors
    /// As for `map`.
    pub fn starmap<A, B, R>(
        &self,
        f: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items: Vec<(A, B)> = items.into_iter().collect();
        let chunk = items.len().div_ceil(4 * self.size());
        self.in_chunks(Call::star_each(f).map_err(SubmitError::from)?, items, chunk.max(1))
    }

    /// Runs `f` with two arguments in a worker, and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`] if there is no value.
    pub fn starapply<A, B, R>(&self, f: fn(A, B) -> R, arguments: (A, B)) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit(Call::star(f).map_err(SubmitError::from)?, &arguments)?.get()
    }

    fn in_chunks<A, R>(&self, call: Call, items: Vec<A>, chunk: usize) -> Result<Vec<R>, TaskError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        assert!(chunk > 0, "pool '{}': chunks of 0 items would never come to an end", self.name());
        let submit = |chunk: &[A]| self.submit::<[A], Vec<R>>(call, chunk);
        let chunks = items.chunks(chunk).map(submit).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<_> = chunks.into_iter().map(AsyncResult::get).collect();
        let mut all = Vec::with_capacity(items.len());
        for chunk in values {
            all.extend(chunk?);
        }
        Ok(all)
    }

    /// As [`map`](Self::map), lazily and one by one: items are taken as values are asked for, some ahead.
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, A, R>
    where
        I: IntoIterator<Item = A>,
    {
        Imap::new(self, f, items.into_iter())
    }

    /// As [`imap`](Self::imap), but gives values as they are done.
    pub fn imap_unordered<A, R, I>(&self, f: fn(A) -> R, items: I) -> ImapUnordered<'_, I::IntoIter, A, R>
    where
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self, f, items.into_iter())
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
        self.core.terminate();
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
