//! Coroutines that borrow, and of which the first failure cancels the others.

use core::fmt;
use core::time::Duration;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::time::Instant;

use super::children::{Children, Failure};
use super::current::{Handle, current_number};
use super::far;
use super::scope::{Scope, ScopedJoinHandle};
use super::spawn::Builder;
use crate::base::lock::Lock;
use crate::coroutine::unwind::{self, Ended, drop_quietly};

/// Where coroutines are spawned that succeed or fail together; see [`nursery`].
///
/// # Examples
/// ```
/// let mut numbers = [1, 2, 3, 4];
/// ropewalk::nursery(|n| {
///     for half in numbers.chunks_mut(2) {
///         n.spawn(move || {
///             half.iter_mut().for_each(|n| *n *= 10);
///             Ok::<(), ()>(())
///         });
///     }
///     Ok(())
/// })?;
/// assert_eq!(numbers, [10, 20, 30, 40]);
/// # Ok::<(), ()>(())
/// ```
// `E: 'env` lets the compiler prove that a borrow outlives `'scope` without its outliving `E`.
pub struct Nursery<'scope, 'env: 'scope, E: 'env> {
    scope: Scope<'scope, 'env>,
    /// Set by the coroutine that has recorded the first failure, if that is an error.
    error: Lock<Option<E>>,
}

/// Runs `f`, waits for all coroutines spawned in the nursery, and returns the value of `f` if none has failed.
///
/// The first failure cancels the other coroutines, and those that are spawned later. The nursery waits for
/// their end, and then returns the error or resumes the panic. A failure is an error or a panic of a coroutine
/// or of `f`. Later errors and payloads are dropped, and a panic of their destructors goes no further. A
/// coroutine that ends as cancelled has not failed.
///
/// `f` runs in place and is not cancelled. It is unwound where it
/// [joins](NurseryJoinHandle::join) a coroutine that has no value, and it may look at
/// [`is_cancelled`](Nursery::is_cancelled).
///
/// The caller waits: a coroutine without its worker, a plain thread in the kernel. A cancellation of the
/// caller, or the end of a [`timeout`](super::timeout()) around the nursery, counts as a failure of `f`: the
/// nursery cancels its coroutines, waits for them, and then unwinds as cancelled or elapsed.
///
/// # Errors
/// The first error, if it came before any panic.
///
/// # Panics
/// With the payload of the first panic, if it came before any error.
///
/// # Examples
/// ```
/// use std::num::ParseIntError;
///
/// fn sum(words: &[&str]) -> Result<u32, ParseIntError> {
///     ropewalk::nursery(|n| {
///         let parts: Vec<_> = words.iter().map(|word| n.spawn(|| word.parse::<u32>())).collect();
///         Ok(parts.into_iter().map(|part| part.join()).sum())
///     })
/// }
/// assert_eq!(sum(&["1", "20", "300"]), Ok(321));
/// assert!(sum(&["1", "twenty", "300"]).is_err());
/// ```
pub fn nursery<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(&'scope Nursery<'scope, 'env, E>) -> Result<T, E>,
    E: Send + 'env,
{
    // SAFETY: `f`, the first wait and all destructors until then are caught, and this function waits for the children
    // before it ends.
    let scope = unsafe { Scope::new(Children::failing_fast()) };
    let nursery = Nursery { scope, error: Lock::new(None) };
    let children = nursery.scope.children();
    let mut value = None;
    match panic::catch_unwind(AssertUnwindSafe(|| f(&nursery))) {
        Ok(Ok(returned)) => {
            value = Some(returned);
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| children.wait())) {
                children.fail_unwound(current_number(), payload);
            }
        }
        Ok(Err(error)) => nursery.fail(error),
        Err(payload) => children.fail_unwound(current_number(), payload),
    }
    children.wait_shielded();
    let Some(failure) = children.take_failure() else {
        return Ok(value.expect("a nursery without a failure has a value"));
    };
    // A destructor of a value that nobody gets is foreign code, and must not replace the failure.
    drop_quietly(value);
    match failure {
        Failure::Unwound(payload) => panic::resume_unwind(payload),
        Failure::Error => {
            let error = nursery.error.lock().take();
            Err(error.expect("the error is stored before its coroutine ends"))
        }
    }
}

impl<'scope, 'env, E: Send + 'env> Nursery<'scope, 'env, E> {
    /// Spawns a coroutine that may borrow whatever outlives the nursery. Never blocks.
    ///
    /// If the nursery is cancelled, the coroutine does not start.
    pub fn spawn<F, T>(&'scope self, f: F) -> NurseryJoinHandle<'scope, T>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        NurseryJoinHandle { handle: self.scope.spawn(self.wrap(f)), children: self.scope.children() }
    }

    /// As [`spawn`](Self::spawn), with a name or a stack size.
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// let length = ropewalk::nursery(|n| {
    ///     let builder = ropewalk::Builder::new().name("counter").stack_size(64 * 1024);
    ///     Ok::<_, std::io::Error>(n.spawn_with(builder, || Ok(text.len()))?.join())
    /// })?;
    /// assert_eq!(length, 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the stack size is impossible.
    pub fn spawn_with<F, T>(&'scope self, builder: Builder, f: F) -> io::Result<NurseryJoinHandle<'scope, T>>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let handle = self.scope.spawn_with(builder, self.wrap(f))?;
        Ok(NurseryJoinHandle { handle, children: self.scope.children() })
    }

    /// Tells whether the nursery has failed, and so has cancelled its coroutines. Never blocks.
    ///
    /// # Examples
    /// ```
    /// let result = ropewalk::nursery(|n| {
    ///     n.spawn(|| Err::<(), _>("no"));
    ///     while !n.is_cancelled() {
    ///         ropewalk::yield_now();
    ///     }
    ///     Ok(())
    /// });
    /// assert_eq!(result, Err("no"));
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.scope.children().is_cancelled()
    }

    /// The closure of a coroutine that runs `f`, and has no value if that fails.
    fn wrap<F, T>(&'scope self, f: F) -> impl FnOnce() -> Option<T> + Send + 'scope
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
    {
        // It may start before the cancellation reaches it, if it was spawned later.
        let run = move || if self.is_cancelled() { None } else { Some(f()) };
        move || match unwind::catch(run) {
            Ended::Value(Some(Ok(value))) => Some(value),
            Ended::Value(None) | Ended::Killed => None,
            Ended::Value(Some(Err(error))) => {
                self.fail(error);
                None
            }
            Ended::Panicked(payload) => {
                self.scope.children().fail_unwound(current_number(), payload);
                None
            }
        }
    }
}

impl<'env, E: 'env> Nursery<'_, 'env, E> {
    /// Keeps the first error, and drops a later one.
    fn fail(&self, error: E) {
        match self.scope.children().fail(current_number(), Failure::Error) {
            Ok(()) => *self.error.lock() = Some(error),
            Err(_) => drop_quietly(error),
        }
    }
}

impl<'env, E: 'env> fmt::Debug for Nursery<'_, 'env, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let children = self.scope.children();
        f.debug_struct("Nursery")
            .field("running", &children.running())
            .field("cancelled", &children.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// The right to the value of a nursery's coroutine. Dropping it changes nothing.
///
/// # Examples
/// ```
/// let result = ropewalk::nursery(|n| {
///     let sleeper = n.spawn(|| { ropewalk::park(); Ok(()) });
///     sleeper.cancel();
///     if n.is_cancelled() { Err("a cancelled coroutine has not failed") } else { Ok(()) }
/// });
/// assert_eq!(result, Ok(()));
/// ```
pub struct NurseryJoinHandle<'scope, T> {
    handle: ScopedJoinHandle<'scope, Option<T>>,
    children: &'scope Children,
}

impl<T> NurseryJoinHandle<'_, T> {
    /// Waits for the coroutine to end and takes its value.
    ///
    /// If there is none because the nursery has failed, the caller is unwound as by a cancellation: up to the
    /// nursery in its closure, up to the root in another coroutine. The panic hook is not called.
    ///
    /// # Panics
    /// If the coroutine was cancelled by itself, or joins itself.
    pub fn join(self) -> T {
        let Self { handle, children } = self;
        value(children, handle.join())
    }

    /// As [`join`](Self::join), but waits no longer than `limit`.
    ///
    /// # Errors
    /// The handle, if the coroutine has not ended by then.
    ///
    /// # Panics
    /// As for [`join`](Self::join).
    pub fn join_timeout(self, limit: Duration) -> Result<T, Self> {
        self.join_deadline(far::after(limit))
    }

    /// As [`join`](Self::join), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// The handle, if the coroutine has not ended by then.
    ///
    /// # Panics
    /// As for [`join`](Self::join).
    pub fn join_deadline(self, deadline: Instant) -> Result<T, Self> {
        let Self { handle, children } = self;
        match handle.join_deadline(deadline) {
            Ok(result) => Ok(value(children, result)),
            Err(handle) => Err(Self { handle, children }),
        }
    }

    /// Tells whether the coroutine has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks this coroutine to end; see [`JoinHandle::cancel`](super::JoinHandle::cancel). The others go on.
    pub fn cancel(&self) {
        self.handle.cancel();
    }

    /// The number of the coroutine, never used twice.
    pub fn id(&self) -> u64 {
        self.handle.id()
    }

    /// The coroutine's name, if the builder gave one.
    pub fn name(&self) -> Option<&str> {
        self.handle.name()
    }

    /// The handle by which the coroutine can be unparked.
    pub fn handle(&self) -> Handle {
        self.handle.handle()
    }
}

/// The value of a coroutine that has ended. Unwinds if there is none.
fn value<T>(children: &Children, result: Result<Option<T>, super::JoinError>) -> T {
    match result {
        Ok(Some(value)) => value,
        _ if children.is_cancelled() => unwind::raise_kill(),
        Ok(None) => super::JoinError::Cancelled.resume(),
        Err(error) => error.resume(),
    }
}

impl<T> fmt::Debug for NurseryJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
