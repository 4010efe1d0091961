//! Coroutines that borrow from the frame that spawned them: std's scoped threads.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::children::{Children, Uncount};
use super::current::Handle;
use super::join::JoinError;
use super::spawn::{Builder, JoinHandle};
use super::{far, timeout};
use crate::coroutine::unwind;

/// Where borrowing coroutines are spawned; see [`scope`].
///
/// # Examples
/// ```
/// let mut numbers = [1, 2, 3, 4];
/// ropewalk::scope(|s| {
///     for half in numbers.chunks_mut(2) {
///         s.spawn(move || half.iter_mut().for_each(|n| *n *= 10));
///     }
/// });
/// assert_eq!(numbers, [10, 20, 30, 40]);
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    children: Arc<Children>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Runs `f`, and returns when all coroutines spawned in the scope have ended.
///
/// The caller waits: a coroutine without its worker, a plain thread in the kernel. If the caller is
/// cancelled, or the time of a [`timeout`](super::timeout()) around the scope is over, the scope cancels its
/// coroutines, waits for them, and then unwinds as cancelled or elapsed. A panic of `f` cancels nothing: the
/// coroutines run to their end.
///
/// # Panics
/// With the payload of `f` if that panics, and if a child that nobody joined has panicked. In a
/// [`nursery`](super::nursery()) the first panic or error cancels the other coroutines.
///
/// # Examples
/// ```
/// let words = ["stack", "ful"];
/// let total: usize = ropewalk::scope(|s| {
///     let handles = words.map(|word| s.spawn(|| word.len()));
///     handles.into_iter().map(|handle| handle.join().unwrap()).sum()
/// });
/// assert_eq!(total, 8);
/// ```
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    // SAFETY: `f` is caught, and this function waits for the children before it ends.
    let scope = unsafe { Scope::new(Children::default()) };
    let children = &scope.children;
    let mut result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    let ends = |payload: &(dyn Any + Send)| unwind::is_request(payload) || timeout::is_expired(payload);
    let mut cancelled = result.as_ref().is_err_and(|payload| ends(&**payload));
    if !cancelled && let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| children.wait())) {
        cancelled = true;
        match result {
            Ok(_) => result = Err(payload),
            // A panic of `f` goes on.
            Err(_) => unwind::discard(payload),
        }
    }
    if cancelled {
        children.cancel();
    }
    children.wait_shielded();
    match result {
        Err(payload) => panic::resume_unwind(payload),
        Ok(_) if children.has_panicked() => {
            panic!("a scoped coroutine panicked, and nobody joined it")
        }
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Makes a scope without children.
    ///
    /// # Safety
    /// * The scope is lent for `'scope` only by a frame that calls `wait_shielded` on its children before it ends,
    ///   also if it unwinds.
    pub(super) unsafe fn new(children: Children) -> Self {
        Self { children: Arc::new(children), scope: PhantomData, env: PhantomData }
    }

    pub(super) fn children(&self) -> &Arc<Children> {
        &self.children
    }

    /// Spawns a coroutine that may borrow whatever outlives the scope. Never blocks.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        match self.spawn_with(Builder::new(), f) {
            Ok(handle) => handle,
            Err(error) => {
                unreachable!("a default stack size was checked when the runtime was built: {error}")
            }
        }
    }

    /// As [`spawn`](Self::spawn), with a name or a stack size.
    ///
    /// # Examples
    /// ```
    /// let text = String::from("borrowed");
    /// let length = ropewalk::scope(|s| {
    ///     let builder = ropewalk::Builder::new().name("counter").stack_size(64 * 1024);
    ///     s.spawn_with(builder, || text.len()).unwrap().join().unwrap()
    /// });
    /// assert_eq!(length, 8);
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` if the stack size is impossible.
    pub fn spawn_with<F, T>(&'scope self, builder: Builder, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let child = self.children.count();
        let uncount = Uncount(&self.children);
        // SAFETY: the scope's frame does not end before the child has (see `new`), and `'scope` outlives that.
        let handle = unsafe { builder.spawn_hooked(f, child) }?;
        core::mem::forget(uncount);
        self.children.add(handle.task());
        Ok(ScopedJoinHandle { handle, children: &self.children })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("running", &self.children.running()).finish()
    }
}

/// The right to a scoped coroutine's result.
///
/// # Examples
/// ```
/// ropewalk::scope(|s| {
///     let sleeper = s.spawn(ropewalk::park);
///     sleeper.cancel();
///     assert!(sleeper.join().unwrap_err().is_cancelled());
/// });
/// ```
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    children: &'scope Children,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the coroutine to end and takes its result.
    ///
    /// # Errors
    /// As for [`JoinHandle::join`]; a panic taken here is not raised again by the scope.
    pub fn join(self) -> Result<T, JoinError> {
        self.children.taken(self.handle.join())
    }

    /// As [`join`](Self::join), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let word = String::from("borrowed");
    /// ropewalk::scope(|s| {
    ///     let sleeper = s.spawn(|| { ropewalk::park(); word.len() });
    ///     let sleeper = sleeper.join_timeout(Duration::from_millis(1)).expect_err("it waits");
    ///     sleeper.handle().unpark();
    ///     assert_eq!(sleeper.join_timeout(Duration::from_secs(60)).unwrap().unwrap(), 8);
    /// });
    /// ```
    ///
    /// # Errors
    /// The handle, if the coroutine has not ended by then.
    ///
    /// # Panics
    /// If a coroutine joins itself.
    pub fn join_timeout(self, limit: Duration) -> Result<Result<T, JoinError>, Self> {
        self.join_deadline(far::after(limit))
    }

    /// As [`join`](Self::join), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// The handle, if the coroutine has not ended by then.
    ///
    /// # Panics
    /// If a coroutine joins itself.
    pub fn join_deadline(self, deadline: Instant) -> Result<Result<T, JoinError>, Self> {
        let Self { handle, children } = self;
        match handle.join_deadline(deadline) {
            Ok(result) => Ok(children.taken(result)),
            Err(handle) => Err(Self { handle, children }),
        }
    }

    /// Tells whether the coroutine has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Asks the coroutine to end; see [`JoinHandle::cancel`].
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

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
