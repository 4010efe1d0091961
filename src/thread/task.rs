//! One task of a pool: where its result goes, and who ran it.
#![forbid(unsafe_code)]

use core::any::Any;
use core::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::outcome::Outcome;
use super::pool::Core;
use super::verbs::async_result;

/// Why a task has no value to give.
///
/// # Examples
/// ```
/// use ropewalk::thread::{TaskError, ThreadPool};
///
/// let error = ThreadPool::new(1).apply(|| panic!("no rope")).unwrap_err();
/// assert!(matches!(error, TaskError::Panicked(_)));
/// assert_eq!(error.to_string(), "the task panicked: no rope");
/// ```
pub enum TaskError {
    /// It panicked; this is what it panicked with.
    Panicked(Box<dyn Any + Send + 'static>),
    /// The pool was terminated before the task began.
    Terminated {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// The pool did not take it.
    Refused(SubmitError),
}

impl TaskError {
    /// Carries the task's panic on in the caller.
    ///
    /// # Panics
    /// Always: with the payload of the task, or with a message.
    pub fn resume(self) -> ! {
        match self {
            Self::Panicked(payload) => panic::resume_unwind(payload),
            other => panic!("{other}"),
        }
    }
}

impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskError({self})")
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(payload) => match payload.downcast_ref::<&str>() {
                Some(text) => write!(f, "the task panicked: {text}"),
                None => match payload.downcast_ref::<String>() {
                    Some(text) => write!(f, "the task panicked: {text}"),
                    None => f.write_str("the task panicked"),
                },
            },
            Self::Terminated { pool } => write!(f, "pool '{pool}' was terminated before the task began"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TaskError {}

impl From<SubmitError> for TaskError {
    fn from(error: SubmitError) -> Self {
        Self::Refused(error)
    }
}

/// Why a pool of threads did not take a task.
///
/// `Closed` and `Full` are what they are of a pool of processes ([`process::SubmitError`](crate::process::SubmitError));
/// code for either kind has [`Pool::Refusal`](crate::Pool::Refusal).
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(1);
/// pool.close();
/// let error = pool.apply_async(|| ()).unwrap_err();
/// assert_eq!(error.to_string(), "pool 'pool' is closed and takes no more tasks");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// It is closed.
    Closed {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// As many tasks wait as may, and the pool rejects what is too much.
    Full {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// It has no thread, and the kernel gave it none.
    NoThread {
        /// The name of the pool.
        pool: Arc<str>,
        /// What the kernel said, and of a stack of how many bytes, if the pool sets that.
        error: String,
    },
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { pool } => f.write_str(&closed(pool)),
            Self::Full { pool } => f.write_str(&full(pool)),
            Self::NoThread { pool, error } => write!(f, "pool '{pool}' cannot start a thread: {error}"),
        }
    }
}

impl core::error::Error for SubmitError {}

/// What every pool says that is closed.
pub(crate) fn closed(pool: &str) -> String {
    format!("pool '{pool}' is closed and takes no more tasks")
}

/// What every pool says that is full.
pub(crate) fn full(pool: &str) -> String {
    format!("pool '{pool}' has as many waiting tasks as it may; try again later, or let it block")
}

/// Who ran a task.
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(1);
/// let task = pool.apply_async(|| ())?;
/// task.wait();
/// assert_eq!(task.ran_on().unwrap().worker, 0);
/// # Ok::<(), ropewalk::thread::SubmitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RanOn {
    /// The worker's number in its pool.
    pub worker: usize,
    /// The kernel's id of its thread.
    pub thread: i32,
}

/// A task on its way: its end, and who runs it.
pub(super) struct Shared<T> {
    outcome: Outcome<Result<T, TaskError>>,
    ran_on: OnceLock<RanOn>,
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { outcome: Outcome::new(), ran_on: OnceLock::new() })
    }

    /// Runs the task, stores its result and tells those who wait.
    pub(super) fn run(&self, task: impl FnOnce() -> T, ran_on: RanOn) {
        let _ = self.ran_on.set(ran_on);
        self.finish(run(task));
    }

    pub(super) fn finish(&self, result: Result<T, TaskError>) {
        self.outcome.finish(result);
    }
}

/// Runs a task; its panic is an error.
pub(super) fn run<T>(task: impl FnOnce() -> T) -> Result<T, TaskError> {
    panic::catch_unwind(AssertUnwindSafe(task)).map_err(TaskError::Panicked)
}

/// The result of a task, when it is there.
///
/// Waiting for it on a thread of the same pool runs other tasks meanwhile, so a pool that waits for
/// itself does not deadlock. On a coroutine, waiting leaves the worker to others.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let pool = ropewalk::thread::ThreadPool::new(1);
/// let (sender, told) = ropewalk::channel::bounded(1);
/// let (go, wait) = ropewalk::channel::bounded::<u8>(0);
/// let task = pool.apply_async(move || wait.recv().unwrap())?;
/// let task = task.on_success(move |value| sender.send(*value).unwrap());
/// let task = task.get_timeout(Duration::from_millis(1)).expect_err("it waits");
/// assert_eq!((task.is_ready(), task.successful()), (false, None));
/// go.send(42).unwrap();
/// assert_eq!(told.recv(), Ok(42));
/// task.wait();
/// assert_eq!(task.successful(), Some(true));
/// assert_eq!(task.get().unwrap(), 42);
/// # Ok::<(), ropewalk::thread::SubmitError>(())
/// ```
pub struct AsyncResult<T> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) pool: Arc<Core>,
}

async_result!(AsyncResult<T: Send>, TaskError, called "the thread that ran the task");

impl<T> AsyncResult<T> {
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        self.pool.help_until(self.shared.outcome.done(), deadline)
    }

    fn is_done(&self) -> bool {
        self.shared.outcome.done().is_set()
    }

    fn take(self) -> Result<T, TaskError> {
        self.shared.outcome.take()
    }

    fn ok(&self) -> Option<bool> {
        self.shared.outcome.look(Result::is_ok)
    }

    fn then(&self, f: impl FnOnce(Result<&T, &TaskError>) + Send + 'static)
    where
        T: 'static,
    {
        self.shared.outcome.then(|result| f(result.as_ref()));
    }

    /// Who ran the task; `None` before it begins. Never waits.
    pub fn ran_on(&self) -> Option<RanOn> {
        self.shared.ran_on.get().copied()
    }
}
