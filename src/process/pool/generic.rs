//! One vocabulary for pools of threads and of processes.
#![forbid(unsafe_code)]

use core::error::Error;
use core::time::Duration;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{process, thread};

/// What can cross a process border; every type that serde can encode and decode.
///
/// # Examples
/// ```
/// use ropewalk::process::{Portable, Process};
///
/// fn there<A: Portable, R: Portable>(f: fn(A) -> R, argument: A) -> R {
///     Process::spawn(f, argument).unwrap().join().unwrap()
/// }
/// assert_eq!(there(|word: String| word.len(), "rope".into()), 4);
/// ```
pub trait Portable: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Portable for T {}

/// A result that is not there yet.
///
/// # Examples
/// ```
/// use ropewalk::{Pending, Pool, process, thread};
///
/// fn double(pool: &impl Pool) {
///     let (sender, told) = ropewalk::channel::bounded(1);
///     let task = pool.apply_async(|n: u32| n * 2, 21).unwrap();
///     let task = task.on_success(move |value| sender.send(*value).unwrap());
///     assert_eq!(told.recv(), Ok(42));
///     task.wait();
///     assert_eq!((task.is_ready(), task.successful(), task.worker()), (true, Some(true), Some(0)));
///     assert_eq!(task.get().unwrap(), 42);
/// }
/// double(&thread::ThreadPool::new(1));
/// double(&process::Pool::new(1)?);
/// # Ok::<(), process::SpawnError>(())
/// ```
pub trait Pending<R>: Sized {
    /// Why there is no value.
    type Error: Error + Send + 'static;

    /// Waits for the result and takes it.
    ///
    /// # Errors
    /// If there is no value.
    fn get(self) -> Result<R, Self::Error>;

    /// As [`get`](Self::get), but waits no longer than `limit`.
    ///
    /// # Errors
    /// This very handle, if the task is not done by then.
    fn get_timeout(self, limit: Duration) -> Result<Result<R, Self::Error>, Self>;

    /// As [`get`](Self::get), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// This very handle, if the task is not done by then.
    fn get_deadline(self, deadline: Instant) -> Result<Result<R, Self::Error>, Self>;

    /// Waits until the task is done.
    fn wait(&self);

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    fn wait_timeout(&self, limit: Duration) -> bool;

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    fn wait_deadline(&self, deadline: Instant) -> bool;

    /// Tells whether the result is there. Never waits.
    fn is_ready(&self) -> bool;

    /// Tells whether the task has returned a value; `None` while it is not done. Never waits.
    fn successful(&self) -> Option<bool>;

    /// The number of the worker that ran the task, when it is done. Never waits.
    fn worker(&self) -> Option<usize>;

    /// Calls `f` with the value, on a thread of the pool in this process; at once, here, if it is done already.
    #[must_use = "the handle comes back"]
    fn on_success(self, f: impl FnOnce(&R) + Send + 'static) -> Self;

    /// As [`on_success`](Self::on_success), with the error.
    #[must_use = "the handle comes back"]
    fn on_error(self, f: impl FnOnce(&Self::Error) + Send + 'static) -> Self;
}

/// A pool of threads or of processes, for code that does not mind which.
///
/// # Examples
/// ```
/// use ropewalk::{Pending, Pool, process, thread};
///
/// fn all_verbs(pool: &impl Pool) {
///     let (add, square) = (|a: u64, b: u64| a + b, |n: u64| n * n);
///     assert_eq!(pool.apply(square, 7).unwrap(), 49);
///     assert_eq!(pool.apply_async(square, 8).unwrap().get().unwrap(), 64);
///     assert_eq!(pool.map(square, 0..4).unwrap(), [0, 1, 4, 9]);
///     assert_eq!(pool.map_chunked(square, 0..4, 3).unwrap(), [0, 1, 4, 9]);
///     assert_eq!(pool.starmap(add, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
///     assert_eq!(pool.starapply(add, (5, 6)).unwrap(), 11);
///     assert!(pool.imap(square, 0..).take(3).map(Result::unwrap).eq([0, 1, 4]));
///     assert_eq!(pool.imap_unordered(square, 0..4).map(Result::unwrap).sum::<u64>(), 14);
///     let mut last = (0, 0);
///     pool.map_progress(square, 0..10, |done, of| last = (done, of)).unwrap();
///     assert_eq!(last, (10, 10));
///     let (sender, told) = ropewalk::channel::bounded(1);
///     pool.apply_callback(square, 9, move |result| sender.send(result.unwrap()).unwrap()).unwrap();
///     assert_eq!(told.recv(), Ok(81));
///     pool.close();
///     assert!(pool.apply(square, 1).is_err());
///     pool.join().unwrap();
///     pool.terminate();
/// }
/// all_verbs(&thread::ThreadPool::new(2));
/// all_verbs(&process::Pool::new(2)?);
/// # Ok::<(), process::SpawnError>(())
/// ```
pub trait Pool {
    /// Why a task has no value.
    type Error: Error + From<Self::Refusal> + Send + 'static;
    /// Why a task was not taken.
    type Refusal: Error + Send + 'static;
    /// A result that is not there yet.
    type Pending<R: Portable>: Pending<R, Error = Self::Error>;

    /// The pool's name.
    fn name(&self) -> &str;

    /// How many workers it has at most.
    fn size(&self) -> usize;

    /// Tasks that have not ended, those that run among them.
    fn unfinished(&self) -> usize;

    /// Runs `f` in the pool, and waits for its value.
    ///
    /// # Errors
    /// If there is no value.
    fn apply<A: Portable, R: Portable>(&self, f: fn(A) -> R, arguments: A) -> Result<R, Self::Error> {
        self.apply_async(f, arguments)?.get()
    }

    /// As [`apply`](Self::apply), for a function of two arguments.
    ///
    /// # Errors
    /// If there is no value.
    fn starapply<A: Portable, B: Portable, R: Portable>(
        &self,
        f: fn(A, B) -> R,
        arguments: (A, B),
    ) -> Result<R, Self::Error>;

    /// Queues `f`. Waits only if the pool is bounded, full, and blocks.
    ///
    /// # Errors
    /// If the pool does not take it.
    fn apply_async<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        arguments: A,
    ) -> Result<Self::Pending<R>, Self::Refusal>;

    /// As [`apply_async`](Self::apply_async), and gives the result to `callback`, on a thread of the pool in this
    /// process.
    ///
    /// # Errors
    /// If the pool does not take it; the callback is not called then.
    fn apply_callback<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        arguments: A,
        callback: impl FnOnce(Result<R, Self::Error>) + Send + 'static,
    ) -> Result<(), Self::Refusal>;

    /// Runs `f` on every item, and gives the values in the order of the items.
    ///
    /// # Errors
    /// The first error in that order.
    fn map<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
    ) -> Result<Vec<R>, Self::Error>;

    /// As [`map`](Self::map), in tasks of `chunk` items.
    ///
    /// # Errors
    /// The first error in that order; it fails a whole chunk.
    ///
    /// # Panics
    /// For chunks of 0 items.
    fn map_chunked<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        chunk: usize,
    ) -> Result<Vec<R>, Self::Error>;

    /// As [`map`](Self::map), and tells `progress`, here, as items are done: how many, and of how many.
    ///
    /// # Errors
    /// As for `map`, when all items are done.
    fn map_progress<A: Portable, R: Portable>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        progress: impl FnMut(usize, usize),
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

    /// As [`map`](Self::map), lazily and one by one: items are taken as values are asked for, some ahead.
    fn imap<A: Portable, R: Portable, I: IntoIterator<Item = A>>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> impl Iterator<Item = Result<R, Self::Error>>;

    /// As [`imap`](Self::imap), but gives values as they are done.
    fn imap_unordered<A: Portable, R: Portable, I: IntoIterator<Item = A>>(
        &self,
        f: fn(A) -> R,
        items: I,
    ) -> impl Iterator<Item = Result<R, Self::Error>>;

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

/// Hands calls of a trait's methods on to the methods of the type that have the same names.
macro_rules! forward {
    ($($name:ident $([$($bounds:tt)*])? ($($self:ident $(, $arg:ident: $type:ty)*)?) $(-> $result:ty)?;)*) => {$(
        fn $name $(<$($bounds)*>)? ($(&$self $(, $arg: $type)*)?) $(-> $result)? {
            $(Self::$name($self $(, $arg)*))?
        }
    )*};
}

/// Makes a pool one of the trait's: `$call` is what its `apply_async` takes for `f` and `arguments`.
macro_rules! pool {
    ($pool:ty, $module:ident, |$f:ident, $arguments:ident| ($($call:tt)*)) => {
        impl<R: Portable> Pending<R> for $module::AsyncResult<R> {
            type Error = $module::TaskError;

            fn get(self) -> Result<R, Self::Error> {
                self.get()
            }

            fn get_timeout(self, limit: Duration) -> Result<Result<R, Self::Error>, Self> {
                self.get_timeout(limit)
            }

            fn get_deadline(self, deadline: Instant) -> Result<Result<R, Self::Error>, Self> {
                self.get_deadline(deadline)
            }

            fn on_success(self, f: impl FnOnce(&R) + Send + 'static) -> Self {
                self.on_success(f)
            }

            fn on_error(self, f: impl FnOnce(&Self::Error) + Send + 'static) -> Self {
                self.on_error(f)
            }

            fn worker(&self) -> Option<usize> {
                if self.is_ready() { self.ran_on().map(|ran_on| ran_on.worker) } else { None }
            }

            forward! {
                wait(self);
                wait_timeout(self, limit: Duration) -> bool;
                wait_deadline(self, deadline: Instant) -> bool;
                is_ready(self) -> bool;
                successful(self) -> Option<bool>;
            }
        }

        impl Pool for $pool {
            type Error = $module::TaskError;
            type Refusal = $module::SubmitError;
            type Pending<R: Portable> = $module::AsyncResult<R>;

            fn apply_async<A: Portable, R: Portable>(
                &self,
                $f: fn(A) -> R,
                $arguments: A,
            ) -> Result<Self::Pending<R>, Self::Refusal> {
                self.apply_async($($call)*)
            }

            fn apply_callback<A: Portable, R: Portable>(
                &self,
                $f: fn(A) -> R,
                $arguments: A,
                callback: impl FnOnce(Result<R, Self::Error>) + Send + 'static,
            ) -> Result<(), Self::Refusal> {
                self.apply_callback($($call)*, callback)
            }

            forward! {
                name(self) -> &str;
                size(self) -> usize;
                unfinished(self) -> usize;
                starapply[A: Portable, B: Portable, R: Portable]
                    (self, f: fn(A, B) -> R, arguments: (A, B)) -> Result<R, Self::Error>;
                map[A: Portable, R: Portable]
                    (self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>, Self::Error>;
                map_chunked[A: Portable, R: Portable]
                    (self, f: fn(A) -> R, items: impl IntoIterator<Item = A>, chunk: usize)
                    -> Result<Vec<R>, Self::Error>;
                map_progress[A: Portable, R: Portable]
                    (self, f: fn(A) -> R, items: impl IntoIterator<Item = A>, progress: impl FnMut(usize, usize))
                    -> Result<Vec<R>, Self::Error>;
                starmap[A: Portable, B: Portable, R: Portable]
                    (self, f: fn(A, B) -> R, items: impl IntoIterator<Item = (A, B)>)
                    -> Result<Vec<R>, Self::Error>;
                imap[A: Portable, R: Portable, I: IntoIterator<Item = A>]
                    (self, f: fn(A) -> R, items: I) -> impl Iterator<Item = Result<R, Self::Error>>;
                imap_unordered[A: Portable, R: Portable, I: IntoIterator<Item = A>]
                    (self, f: fn(A) -> R, items: I) -> impl Iterator<Item = Result<R, Self::Error>>;
                close(self);
                join(self) -> Result<(), thread::NotClosed>;
                terminate(self);
            }
        }
    };
}

pool!(thread::ThreadPool, thread, |f, arguments| (move || f(arguments)));
pool!(process::Pool, process, |f, arguments| (f, arguments));
