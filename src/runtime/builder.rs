//! A runtime of one's own: how it is built, used and ended.
#![forbid(unsafe_code)]

use crate::base::notice;
use core::fmt;
use core::ptr;
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use super::core::{Config, Core};
use super::metrics::{Metrics, WorkerMetrics};
use super::spawn::{Builder, JoinHandle};
use super::{far, orphan, panic_hook, sample, worker};
use crate::base::own_rights;
use crate::sys::thread::explain_start;

/// Bytes of a stack unless the builder says otherwise.
pub(crate) const DEFAULT_STACK: usize = 256 * 1024;
/// More than any machine has cores; each has a thread, an epoll instance and an event descriptor.
const MOST_WORKERS: usize = 1 << 16;
const THRESHOLD: Duration = Duration::from_millis(100);
/// By default ignored by the kernel, and hardly used by anybody.
const SIGNAL: i32 = libc::SIGURG;

/// Sets up a [`Runtime`].
///
/// # Examples
/// ```
/// let runtime = ropewalk::Runtime::builder().name("crunch").workers(2).stack_size(64 * 1024).build()?;
/// assert_eq!(runtime.spawn(|| 6 * 7).join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct RuntimeBuilder {
    name: Box<str>,
    workers: Option<usize>,
    stack_size: usize,
    threshold: Option<Duration>,
    signal: Option<i32>,
}

impl Default for RuntimeBuilder {
    fn default() -> Self {
        Self {
            name: "ropewalk".into(),
            workers: None,
            stack_size: DEFAULT_STACK,
            threshold: Some(THRESHOLD),
            signal: Some(SIGNAL),
        }
    }
}

impl RuntimeBuilder {
    /// Sets the name that threads, reports and messages carry; default `ropewalk`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into().into_boxed_str();
        self
    }

    /// Sets the number of worker threads; default one a core.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets the bytes of each coroutine's stack; default 256 KiB. See
    /// [`CoroutineBuilder::stack_size`](crate::coroutine::CoroutineBuilder::stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Sets after how long without a wait or a yield the monitor reports a coroutine; default 100 ms.
    /// `None`: never.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// // Reports whoever computes for a second without a wait.
    /// let runtime = ropewalk::Runtime::builder().monitor_threshold(Duration::from_secs(1)).build()?;
    /// // Reports nobody.
    /// let silent = ropewalk::Runtime::builder().monitor_threshold(None).build()?;
    /// assert_eq!(runtime.workers(), silent.workers());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn monitor_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.threshold = threshold.into();
        self
    }

    /// Sets the signal by which the monitor asks a worker's thread what it runs; default `SIGURG`.
    ///
    /// It is sent once for each report, and to that thread only. Its handler looks, and
    /// changes nothing; but system calls that no signal handler can restart (`poll`, `nanosleep`, and those
    /// of sockets with a timeout) then return `EINTR`. Whoever handles the same signal gets all those that
    /// were not asked for. `None`: never; reports then name the worker, but not the coroutine.
    pub fn monitor_signal(mut self, signal: impl Into<Option<i32>>) -> Self {
        self.signal = signal.into();
        self
    }

    /// Starts the workers.
    ///
    /// # Examples
    /// ```
    /// assert!(ropewalk::Runtime::builder().workers(0).build().is_err());
    /// let runtime = ropewalk::Runtime::builder().name("small").workers(1).stack_size(64 * 1024).build()?;
    /// assert_eq!((runtime.name(), runtime.workers()), ("small", 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for zero or far too many workers, an impossible name, stack size or signal; otherwise what the kernel says
    /// when a thread or an epoll instance cannot be made. A child that was forked after a runtime had started cannot
    /// have one.
    pub fn build(self) -> io::Result<Runtime> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
        let workers = self.workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        if workers == 0 {
            return Err(invalid(format!(
                "runtime '{}': zero workers can run nothing; give at least 1",
                self.name
            )));
        }
        if workers > MOST_WORKERS {
            return Err(invalid(format!(
                "runtime '{}': {workers} workers are too many; give at most {MOST_WORKERS}",
                self.name
            )));
        }
        if self.name.contains('\0') {
            return Err(invalid(format!("runtime {:?}: a name of threads holds no zero byte", self.name)));
        }
        crate::coroutine::stack::check_size(self.stack_size)
            .map_err(|error| invalid(format!("runtime '{}': {error}", self.name)))?;
        if let Some(signal) = self.signal
            && !sample::is_usable(signal)
        {
            return Err(invalid(format!(
                "runtime '{}': signal {signal} cannot serve the monitor; give another, or None",
                self.name
            )));
        }
        orphan::begin()?;
        panic_hook::install();
        let Self { name, stack_size, threshold, signal, .. } = self;
        let core = Core::new(Config { name, workers, stack_size, threshold, signal })?;
        let runtime = Runtime { core, threads: Mutex::default() };
        for index in 0..workers {
            let handle = start_worker(&runtime.core, index)?;
            runtime.threads().push(handle);
        }
        runtime.threads().push(super::monitor::start(&runtime.core)?);
        Ok(runtime)
    }
}

pub(crate) fn start_worker(core: &Arc<Core>, index: usize) -> io::Result<thread::JoinHandle<()>> {
    let core = Arc::clone(core);
    let name = format!("{}-{index}", core.name);
    let rights = own_rights::get();
    let run = move || {
        own_rights::set(rights);
        core.all()[index].run();
    };
    thread::Builder::new().name(name).spawn(run).map_err(explain_start)
}

/// A set of workers with coroutines of their own.
///
/// Several can live side by side. Code on a coroutine spawns into its own runtime; code on a plain
/// thread into the global one, which starts on first use and never ends.
///
/// Dropping a runtime cancels every coroutine in it (those that wait unwind, with their destructors),
/// and waits until the last has ended; a coroutine that computes on is waited for, and one that catches
/// its unwinding, or ignores that its calls fail, for ever ends the process with its name. Those whose waits
/// are not cancelled are waited for as well, and a warning names them. Dropped by one of its own coroutines, it
/// ends in the background.
///
/// # Examples
/// ```
/// use ropewalk::Runtime;
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let doubled = runtime.run(|| ropewalk::spawn(|| 21).join().unwrap() * 2);
/// assert_eq!(doubled, 42);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Runtime {
    pub(crate) core: Arc<Core>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Runtime {
    /// Starts a runtime with one worker a core.
    ///
    /// # Errors
    /// As for [`RuntimeBuilder::build`].
    pub fn new() -> io::Result<Self> {
        Self::builder().build()
    }

    /// Sets up a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<thread::JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name given to the builder.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// The number of workers; grows if the monitor has had to add one.
    pub fn workers(&self) -> usize {
        self.core.workers().len()
    }

    /// Spawns a coroutine in this runtime; never blocks.
    ///
    /// # Panics
    /// In a child that was forked after the runtime had started.
    ///
    /// # Examples
    /// ```
    /// let runtime = ropewalk::Runtime::builder().workers(2).build()?;
    /// let handle = runtime.spawn(|| "from a plain thread");
    /// assert_eq!(handle.join().unwrap(), "from a plain thread");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match Builder::new().spawn_in(self, f) {
            Ok(handle) => handle,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs `f` as a coroutine of this runtime and waits for it.
    ///
    /// # Examples
    /// ```
    /// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    /// assert!(runtime.run(ropewalk::is_coroutine));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// With the payload of `f`, if that panics, and if the coroutine is cancelled.
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn(f).join().unwrap_or_else(|error| error.resume())
    }

    /// Figures of what has happened so far. Takes no lock; costs some loads a worker.
    ///
    /// # Examples
    /// ```
    /// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    /// runtime.run(|| (0..10).for_each(|_| ropewalk::yield_now()));
    /// assert!(runtime.metrics().total.switches >= 10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn metrics(&self) -> Metrics {
        metrics_of(&self.core)
    }

    /// Cancels all coroutines and waits for the end, but not longer than `limit`.
    ///
    /// True if everything has ended; otherwise the rest goes on unwinding in the background.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    /// let waits = runtime.spawn(ropewalk::park);
    /// assert!(runtime.shutdown_timeout(Duration::from_secs(5)));
    /// assert!(waits.join().unwrap_err().is_cancelled());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_timeout(self, limit: Duration) -> bool {
        let deadline = far::after(limit);
        self.core.end();
        let threads = core::mem::take(&mut *self.threads());
        let mut nap = Duration::from_micros(50);
        // There is no join with a deadline for threads, so this looks again after growing naps.
        while !threads.iter().all(thread::JoinHandle::is_finished) {
            let now = Instant::now();
            if now >= deadline {
                return false;
            }
            super::sleep(nap.min(deadline - now));
            nap = (nap * 2).min(Duration::from_millis(10));
        }
        true
    }
}

pub(crate) fn metrics_of(core: &Core) -> Metrics {
    let workers: Vec<_> = core.workers().iter().map(|worker| WorkerMetrics::of(&worker.counters)).collect();
    let mut total = WorkerMetrics { spawned: core.spawned_outside(), ..WorkerMetrics::default() };
    workers.iter().for_each(|worker| total += *worker);
    Metrics { workers, total }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("name", &self.name()).field("workers", &self.workers()).finish()
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if orphan::is_orphan() {
            // None of its threads is here to be waited for.
            return;
        }
        self.core.end();
        let threads = core::mem::take(&mut *self.threads());
        let own = thread::current().id();
        // A worker that the monitor has added is not among the threads: the monitor joins it.
        let is_worker = worker::current().is_some_and(|worker| ptr::eq(worker.core(), &raw const *self.core));
        if is_worker || threads.iter().any(|thread| thread.thread().id() == own) {
            return;
        }
        let _shield = super::shield::Shield::new();
        if worker::current().is_some() {
            // On a coroutine of another runtime: its worker goes on meanwhile.
            while !threads.iter().all(thread::JoinHandle::is_finished) {
                super::sleep(Duration::from_micros(200));
            }
        }
        for thread in threads {
            let name = thread.thread().name().unwrap_or("unnamed").to_owned();
            if thread.join().is_err() {
                notice::error!("worker thread '{name}' of runtime '{}' has panicked", self.core.name);
            }
        }
    }
}
