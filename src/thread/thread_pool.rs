//! The thread pool, with the verbs of Python's `multiprocessing.pool`.
#![forbid(unsafe_code)]

use core::fmt;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::time::Duration;
use std::sync::Arc;

use super::pool::{Config, Core, WhenFull};
use super::task::{self, AsyncResult, Shared, SubmitError, TaskError};

/// Sets up a [`ThreadPool`].
///
/// # Examples
/// ```
/// use ropewalk::thread::{ThreadPool, WhenFull};
///
/// let builder = ThreadPool::builder(2).name("disk").bound(16, WhenFull::Block);
/// let pool = builder.initializer(|worker| assert!(worker < 2)).build();
/// assert_eq!(pool.apply(|| std::thread::current().name().is_some()).unwrap(), true);
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ThreadPoolBuilder(Config);

impl fmt::Debug for ThreadPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPoolBuilder").field("name", &self.0.name).finish_non_exhaustive()
    }
}

impl ThreadPoolBuilder {
    /// Sets the name that threads and errors carry; default `pool`.
    pub fn name(mut self, name: &str) -> Self {
        self.0.name = Arc::from(name);
        self
    }

    /// Lets the tasks that wait run to their end when the pool is dropped.
    pub(super) fn finishes(mut self) -> Self {
        self.0.finishes = true;
        self
    }

    /// Sets the bytes of each thread's stack. If the kernel has no room for that, the pool takes no task
    /// ([`SubmitError::NoThread`](super::SubmitError::NoThread)).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.0.stack_size = Some(bytes);
        self
    }

    /// Sets how many tasks may wait, and what happens to those that are too much; default no bound.
    pub fn bound(mut self, tasks: usize, when_full: WhenFull) -> Self {
        (self.0.bound, self.0.when_full) = (Some(tasks), when_full);
        self
    }

    /// Sets what each thread runs first, with the worker's number. If it panics, the pool is terminated: tasks
    /// that wait are told so, and no further thread is tried.
    pub fn initializer(mut self, f: impl Fn(usize) + Send + Sync + 'static) -> Self {
        self.0.initializer = Some(Arc::new(f));
        self
    }

    /// Sets after how long without a task a thread ends; default 10 s.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let pool = ropewalk::thread::ThreadPool::builder(4).idle_timeout(Duration::from_millis(1)).build();
    /// pool.apply(|| ()).unwrap();
    /// while pool.threads() > 0 { std::thread::sleep(Duration::from_millis(1)); }
    /// assert_eq!(pool.apply(|| 7).unwrap(), 7); // by a new one
    /// ```
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.0.idle = limit;
        self
    }

    /// Makes the pool; threads start when there is work.
    ///
    /// # Panics
    /// For zero threads, for a bound of zero (nothing could ever run), and for a name with a zero byte.
    pub fn build(self) -> ThreadPool {
        assert!(self.0.threads > 0, "pool '{}': zero threads can run nothing; give at least 1", self.0.name);
        assert!(!self.0.name.contains('\0'), "pool {:?}: a name of threads holds no zero byte", self.0.name);
        assert!(
            self.0.bound != Some(0),
            "pool '{}': with a bound of 0 no task could ever wait for a thread; give at least 1",
            self.0.name
        );
        ThreadPool(Core::new(self.0))
    }
}

/// Threads that run tasks: blocking calls, long computations.
///
/// Usable from coroutines and plain threads. A task that panics fails only its own result. Dropping the
/// pool terminates it without waiting for the tasks that run.
///
/// # Examples
/// ```
/// use ropewalk::thread::ThreadPool;
///
/// let pool = ThreadPool::new(2);
/// assert_eq!(pool.apply(|| 6 * 7).unwrap(), 42);
/// assert_eq!(pool.map(|n| n * n, 0..4).unwrap(), [0, 1, 4, 9]);
/// pool.close();
/// pool.join()?;
/// # Ok::<(), ropewalk::thread::NotClosed>(())
/// ```
pub struct ThreadPool(pub(super) Arc<Core>);

/// A pool was joined before it was closed: the join might never end.
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(1);
/// assert!(pool.join().unwrap_err().to_string().contains("still open"));
/// pool.close();
/// assert!(pool.join().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotClosed(pub(crate) Arc<str>);

impl fmt::Display for NotClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pool '{}' was joined, but is still open; close or terminate it first", self.0)
    }
}

impl core::error::Error for NotClosed {}

// A task that panics fails its own result, and leaves nothing of the pool's in between.
impl UnwindSafe for ThreadPool {}
impl RefUnwindSafe for ThreadPool {}

impl ThreadPool {
    /// Makes a pool of up to `threads` threads.
    ///
    /// # Panics
    /// For zero threads.
    pub fn new(threads: usize) -> Self {
        Self::builder(threads).build()
    }

    /// Sets up a pool of up to `threads` threads.
    pub fn builder(threads: usize) -> ThreadPoolBuilder {
        ThreadPoolBuilder(Config {
            name: Arc::from("pool"),
            threads,
            stack_size: None,
            bound: None,
            when_full: WhenFull::Block,
            initializer: None,
            idle: Duration::from_secs(10),
            finishes: false,
        })
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// How many threads it may have.
    pub fn size(&self) -> usize {
        self.0.config.threads
    }

    /// Tasks that have not ended, those that run among them.
    pub fn unfinished(&self) -> usize {
        self.0.jobs.unfinished_tasks()
    }

    /// Threads that live now.
    pub fn threads(&self) -> usize {
        self.0.threads()
    }

    /// Tasks that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.0.jobs.len()
    }

    /// Runs `f` on a thread of the pool, and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`] if it panicked, or the pool did not take it or was terminated.
    pub fn apply<T, F>(&self, f: F) -> Result<T, TaskError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.apply_async(f)?.get()
    }

    /// Queues `f` for a thread of the pool. Waits only if the pool is bounded, full, and blocks.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// let (a, b) = (pool.apply_async(|| 20)?, pool.apply_async(|| 22)?);
    /// assert_eq!(a.get().unwrap() + b.get().unwrap(), 42);
    /// # Ok::<(), ropewalk::thread::SubmitError>(())
    /// ```
    ///
    /// # Errors
    /// [`SubmitError`] if the pool is closed, or full and rejects.
    pub fn apply_async<T, F>(&self, f: F) -> Result<AsyncResult<T>, SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let shared = Shared::new();
        let (result, name) = (Arc::clone(&shared), Arc::clone(&self.0.config.name));
        self.0.submit(Box::new(move |ran_on| match ran_on {
            Some(ran_on) => result.run(f, ran_on),
            None => result.finish(Err(TaskError::Terminated { pool: name })),
        }))?;
        Ok(AsyncResult { shared, pool: Arc::clone(&self.0) })
    }

    /// As [`apply_async`](Self::apply_async), and gives the result to `callback`, which runs on the thread that
    /// ran the task.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(1);
    /// let (sender, told) = ropewalk::channel::bounded(1);
    /// pool.apply_callback(|| 6 * 7, move |result| sender.send(result.unwrap()).unwrap())?;
    /// assert_eq!(told.recv(), Ok(42));
    /// # Ok::<(), ropewalk::thread::SubmitError>(())
    /// ```
    ///
    /// # Errors
    /// As for `apply_async`; the callback is not called then.
    pub fn apply_callback<T, F>(
        &self,
        f: F,
        callback: impl FnOnce(Result<T, TaskError>) + Send + 'static,
    ) -> Result<(), SubmitError>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name = Arc::clone(&self.0.config.name);
        self.0.submit(Box::new(move |ran_on| {
            callback(match ran_on {
                Some(_) => task::run(f),
                None => Err(TaskError::Terminated { pool: name }),
            });
        }))
    }

    /// Twice the threads: each has a task while the next one waits.
    pub(super) fn window(&self) -> usize {
        self.0.config.threads.saturating_mul(2)
    }

    /// Takes no more tasks; those that wait still run. Never waits.
    pub fn close(&self) {
        self.0.jobs.close();
    }

    /// Waits until all tasks are done and all threads have ended.
    ///
    /// # Errors
    /// [`NotClosed`] if the pool is still open.
    ///
    /// # Panics
    /// If a thread of the pool calls it.
    pub fn join(&self) -> Result<(), NotClosed> {
        if !self.0.jobs.is_closed() {
            return Err(NotClosed(Arc::clone(&self.0.config.name)));
        }
        assert!(
            !self.0.is_own_thread(),
            "pool '{}' is joined by one of its own threads: it would wait for ever",
            self.name()
        );
        self.0.alive.wait();
        Ok(())
    }

    /// Closes, and gives up the tasks that have not begun: their results say so. Never waits.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::thread::{TaskError, ThreadPool};
    ///
    /// let pool = ThreadPool::new(1);
    /// pool.terminate();
    /// assert!(pool.apply(|| ()).is_err());
    /// assert!(pool.join().is_ok());
    /// ```
    pub fn terminate(&self) {
        self.0.terminate();
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        if self.0.config.finishes {
            return self.close();
        }
        self.0.terminate();
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("name", &self.name())
            .field("threads", &self.threads())
            .field("waiting", &self.waiting())
            .finish()
    }
}
