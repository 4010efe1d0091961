//! One vocabulary for pools of threads and of processes.
#![forbid(unsafe_code)]

use core::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{process, thread};

/// What can cross a process border; every type that serde can encode and decode.
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// A result that is not there yet.
pub trait Pending<R> {
    /// Why there is no value.
    type Error: Error + Send + 'static;

    /// Waits for the result and takes it.
    ///
    /// # Errors
    /// If there is no value.
    fn get(self) -> Result<R, Self::Error>;

    /// Tells whether the result is there. Never waits.
    fn is_ready(&self) -> bool;
}

/// A pool of threads or of processes, for code that does not mind which.
///
/// # Examples
/// ```
/// use ropewalk::{Pool, process, thread};
///
/// fn squares(pool: &impl Pool) -> Vec<u64> {
///     pool.map(|n: u64| n * n, 0..4).unwrap()
/// }
/// assert_eq!(squares(&thread::ThreadPool::new(2)), [0, 1, 4, 9]);
/// assert_eq!(squares(&process::Pool::new(2)?), [0, 1, 4, 9]);
/// # Ok::<(), process::SpawnError>(())
/// ```
pub trait Pool {
    /// Why a task has no value.
    type Error: Error + Send + 'static;
    /// Why a task was not taken.
    type Refusal: Error + Send + 'static;
    /// A result that is not there yet.
    type Pending<R: Portable>: Pending<R, Error = Self::Error>;

    /// Runs `f` in the pool, and waits for its value.
    ///
    /// # Errors
    /// If there is no value.
    fn apply<A: Portable, R: Portable>(&self, f: fn(A) -> R, arguments: A) -> Result<R, Self::Error>;

    /// Queues `f`. Waits only if the pool is bounded, full, and blocks.
    ///
    /// # Errors
    /// If the pool does not take it.
    fn apply_async<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Self::Pending<R>, Self::Refusal>;

    /// Runs `f` on every item, and gives the values in the order of the items.
    ///
    /// # Errors
    /// The first error in that order.
    fn map<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Self::Error>;

    /// As [`map`](Self::map), for a function of two arguments.
    ///
    /// # Errors
    /// The first error in that order.
    fn starmap<A: Portable, B: Portable, R: Portable>(
        &self,
        f: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, Self::Error>;

    /// Takes no more tasks; those it has still run. Never waits.
    fn close(&self);

    /// Waits until all tasks have ended, and all workers with them.
    ///
    /// # Errors
    /// [`NotClosed`](thread::NotClosed) if the pool is still open.
    fn join(&self) -> Result<(), thread::NotClosed>;

    /// Closes, and gives up what can be given up. Never waits.
    fn terminate(&self);
}

impl<R: Portable> Pending<R> for thread::AsyncResult<R> {
    type Error = thread::TaskError;

    fn get(self) -> Result<R, Self::Error> {
        self.get()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }
}

impl Pool for thread::ThreadPool {
    type Error = thread::TaskError;
    type Refusal = thread::SubmitError;
    type Pending<R: Portable> = thread::AsyncResult<R>;

    fn apply<A: Portable, R: Portable>(&self, f: fn(A) -> R, arguments: A) -> Result<R, Self::Error> {
        self.apply(move || f(arguments))
    }

    fn apply_async<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Self::Pending<R>, Self::Refusal> {
        self.apply_async(move || f(arguments))
    }

    fn map<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Self::Error> {
        self.map(f, items)
    }

    fn starmap<A: Portable, B: Portable, R: Portable>(
        &self,
        f: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, Self::Error> {
        self.map(move |(a, b)| f(a, b), items)
    }

    fn close(&self) {
        self.close();
    }

    fn join(&self) -> Result<(), thread::NotClosed> {
        self.join()
    }

    fn terminate(&self) {
        self.terminate();
    }
}

impl<R: Portable> Pending<R> for process::AsyncResult<R> {
    type Error = process::TaskError;

    fn get(self) -> Result<R, Self::Error> {
        self.get()
    }

    fn is_ready(&self) -> bool {
        self.is_ready()
    }
}

impl Pool for process::Pool {
    type Error = process::TaskError;
    type Refusal = process::SubmitError;
    type Pending<R: Portable> = process::AsyncResult<R>;

    fn apply<A: Portable, R: Portable>(&self, f: fn(A) -> R, arguments: A) -> Result<R, Self::Error> {
        self.apply(f, arguments)
    }

    fn apply_async<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Self::Pending<R>, Self::Refusal> {
        self.apply_async(f, arguments)
    }

    fn map<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Self::Error> {
        self.map(f, items)
    }

    fn starmap<A: Portable, B: Portable, R: Portable>(
        &self,
        f: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, Self::Error> {
        self.starmap(f, items)
    }

    fn close(&self) {
        self.close();
    }

    fn join(&self) -> Result<(), thread::NotClosed> {
        self.join()
    }

    fn terminate(&self) {
        self.terminate();
    }
}
