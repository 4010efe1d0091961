//! One task of a pool: where its result goes, and who ran it.
#![forbid(unsafe_code)]

use core::any::Any;
use core::fmt;
use core::time::Duration;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::pool::Core;
use crate::coroutine::unwind;
use crate::runtime::far;
use crate::sync::{Event, Mutex};

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

/// Why a pool did not take a task.
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
        /// What the kernel said.
        error: String,
    },
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { pool } => write!(f, "pool '{pool}' is closed and takes no more tasks"),
            Self::Full { pool } => {
                write!(
                    f,
                    "pool '{pool}' has as many waiting tasks as it may; try again later, or let it block"
                )
            }
            Self::NoThread { pool, error } => write!(f, "pool '{pool}' cannot start a thread: {error}"),
        }
    }
}

impl core::error::Error for SubmitError {}

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

type Callback<V> = Box<dyn FnOnce(&V) + Send>;

struct State<T> {
    result: Option<Result<T, TaskError>>,
    ran_on: Option<RanOn>,
    on_success: Vec<Callback<T>>,
    on_error: Vec<Callback<TaskError>>,
}

pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
    done: Event,
}

impl<T: Send + 'static> Shared<T> {
    pub(super) fn new() -> Arc<Self> {
        let state = State { result: None, ran_on: None, on_success: Vec::new(), on_error: Vec::new() };
        Arc::new(Self { state: Mutex::new(state), done: Event::new() })
    }

    /// Runs the task, stores its result and tells those who wait.
    pub(super) fn run(&self, task: impl FnOnce() -> T, ran_on: RanOn) {
        self.state.lock().ran_on = Some(ran_on);
        let result = panic::catch_unwind(AssertUnwindSafe(task)).map_err(TaskError::Panicked);
        self.finish(result);
    }

    pub(super) fn finish(&self, result: Result<T, TaskError>) {
        loop {
            let (on_success, on_error) = {
                let mut state = self.state.lock();
                if state.on_success.is_empty() && state.on_error.is_empty() {
                    state.result = Some(result);
                    break;
                }
                (core::mem::take(&mut state.on_success), core::mem::take(&mut state.on_error))
            };
            // Callbacks come before the result can be taken away; new ones may come meanwhile.
            match &result {
                Ok(value) => on_success.into_iter().for_each(|callback| call(callback, value)),
                Err(error) => on_error.into_iter().for_each(|callback| call(callback, error)),
            }
        }
        self.done.set();
    }
}

impl<T> Shared<T> {
    /// Calls `f` with what it is for, if the result is there; otherwise when it comes. Called by the one handle.
    fn call_back<V>(
        &self,
        wanted: impl FnOnce(&Result<T, TaskError>) -> Option<&V>,
        list: impl FnOnce(&mut State<T>) -> &mut Vec<Callback<V>>,
        f: Callback<V>,
    ) {
        let mut state = self.state.lock();
        let Some(result) = state.result.take() else { return list(&mut state).push(f) };
        // The callback is foreign code, so not under the lock. Nobody looks for the result meanwhile: the handle
        // is here. If `f` panics, the handle is lost, and the result with it.
        drop(state);
        if let Some(value) = wanted(&result) {
            f(value);
        }
        self.state.lock().result = Some(result);
    }
}

fn call<V>(callback: Callback<V>, value: &V) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| callback(value))) {
        unwind::report(|| log::error!("a callback of a pool's task has panicked"));
        unwind::discard(payload);
    }
}

/// The result of a task, when it is there.
///
/// Waiting for it on a thread of the same pool runs other tasks meanwhile, so a pool that waits for
/// itself does not deadlock. On a coroutine, waiting leaves the worker to others.
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(1);
/// let (sender, told) = ropewalk::channel::bounded(1);
/// let task = pool.apply_async(|| 6 * 7)?.on_success(move |value| sender.send(*value).unwrap());
/// assert_eq!(told.recv(), Ok(42));
/// assert_eq!(task.get().unwrap(), 42);
/// # Ok::<(), ropewalk::thread::SubmitError>(())
/// ```
pub struct AsyncResult<T> {
    pub(super) shared: Arc<Shared<T>>,
    pub(super) pool: Arc<Core>,
}

impl<T: Send + 'static> AsyncResult<T> {
    /// Waits for the result and takes it. A cancellation point; the task goes on without us.
    ///
    /// # Errors
    /// [`TaskError`] if the task panicked, or its pool was terminated before it began.
    ///
    /// # Panics
    /// Never: the result is there when the wait is over.
    pub fn get(self) -> Result<T, TaskError> {
        self.wait();
        self.take()
    }

    /// As [`get`](Self::get), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let (go, wait) = ropewalk::channel::bounded::<u8>(0);
    /// let task = ropewalk::thread::spawn_blocking(move || wait.recv());
    /// let task = task.get_timeout(Duration::from_millis(1)).expect_err("it waits");
    /// go.send(1).unwrap();
    /// assert_eq!(task.get().unwrap(), Ok(1));
    /// ```
    ///
    /// # Errors
    /// This very handle, if the task is not done by then.
    ///
    /// # Panics
    /// Never: as for `get`.
    pub fn get_timeout(self, limit: Duration) -> Result<Result<T, TaskError>, Self> {
        if self.wait_timeout(limit) { Ok(self.take()) } else { Err(self) }
    }

    fn take(self) -> Result<T, TaskError> {
        let result = self.shared.state.lock().result.take();
        result.unwrap_or_else(|| unreachable!("the one handle takes the result once, when it is there"))
    }

    /// Waits until the task is done.
    pub fn wait(&self) {
        self.pool.help_until(&self.shared.done, None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_deadline(far::after(limit))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.pool.help_until(&self.shared.done, Some(deadline))
    }

    /// Tells whether the task is done. Never waits.
    pub fn is_ready(&self) -> bool {
        self.shared.done.is_set()
    }

    /// Tells whether the task has returned a value; `None` while it is not done. Never waits.
    ///
    /// # Examples
    /// ```
    /// let task = ropewalk::thread::spawn_blocking(|| -> u8 { panic!("on purpose") });
    /// task.wait();
    /// assert_eq!((task.is_ready(), task.successful()), (true, Some(false)));
    /// ```
    pub fn successful(&self) -> Option<bool> {
        self.shared.state.lock().result.as_ref().map(Result::is_ok)
    }

    /// Who ran the task; `None` before it begins. Never waits.
    pub fn ran_on(&self) -> Option<RanOn> {
        self.shared.state.lock().ran_on
    }

    /// Calls `f` with the value, on the thread that ran the task; at once, here, if it is done already.
    pub fn on_success(self, f: impl FnOnce(&T) + Send + 'static) -> Self {
        self.shared.call_back(|result| result.as_ref().ok(), |state| &mut state.on_success, Box::new(f));
        self
    }

    /// Calls `f` with the error, on the thread that ran the task; at once, here, if it is done already.
    pub fn on_error(self, f: impl FnOnce(&TaskError) + Send + 'static) -> Self {
        self.shared.call_back(|result| result.as_ref().err(), |state| &mut state.on_error, Box::new(f));
        self
    }
}

impl<T> fmt::Debug for AsyncResult<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult").field("ready", &self.shared.done.is_set()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread::ThreadPool;

    #[test]
    fn a_late_callback_runs_without_the_lock_of_the_result() {
        let pool = ThreadPool::new(1);
        let good = pool.apply_async(|| 7).unwrap();
        good.wait();
        let (shared, tried) = (Arc::clone(&good.shared), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&tried);
        let good =
            good.on_success(move |value| *count.lock() += value * i32::from(!shared.state.is_locked()));
        assert_eq!((*tried.lock(), good.successful(), good.get().unwrap()), (7, Some(true), 7));
        let bad = pool.apply_async(|| -> i32 { panic!("on purpose") }).unwrap();
        bad.wait();
        let (shared, count) = (Arc::clone(&bad.shared), Arc::clone(&tried));
        let bad = bad.on_error(move |_| *count.lock() += i32::from(!shared.state.is_locked()));
        assert_eq!((*tried.lock(), bad.on_success(|_| unreachable!()).get().is_err()), (8, true));
    }
}
