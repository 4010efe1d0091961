//! How a pool of processes is set up.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::core::{Config, Core};
use super::manage;
use super::verbs::Pool;
use crate::process::call::Call;
use crate::process::codec;
use crate::process::error::SpawnError;
use crate::process::{StartMethod, start};
use crate::thread::WhenFull;

/// How long a worker may take to become ready, if nothing else is said.
const START_LIMIT: Duration = Duration::from_secs(60);

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
    pub(super) fn new(workers: usize) -> Self {
        let config = Config {
            name: Arc::from("pool"),
            workers,
            method: StartMethod::default(),
            initializer: None,
            most_tasks: None,
            bound: None,
            when_full: WhenFull::Block,
            limit: None,
            start_limit: START_LIMIT,
            retries: 0,
        };
        Self { config, wrong: None }
    }

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
            Ok((call, message)) => self.config.initializer = Some((call, message)),
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

    /// Sets how long a worker may take to start and run its initialiser; default one minute. After that it is
    /// killed, which counts as a failure: after three in a row the pool is broken.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.config.start_limit = limit;
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
