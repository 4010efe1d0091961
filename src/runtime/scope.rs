//! Coroutines that borrow from the frame that spawned them: std's scoped threads.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::current::Handle;
use super::far;
use super::join::JoinError;
use super::park::Reason;
use super::permit::Permit;
use super::shield::Shield;
use super::spawn::{Builder, JoinHandle};
use super::task::Hook;

#[derive(Debug, Default)]
struct Children {
    running: AtomicUsize,
    /// Children that have panicked, less the panics that a join has taken; below zero while a child is
    /// joined, and has not counted its own yet.
    panicked: AtomicIsize,
    /// Given by the last child.
    done: Permit,
}

/// Held by each child; says that it has ended.
struct Child(Arc<Children>);

impl Hook for Child {
    fn finished(&self, panicked: bool) {
        if panicked {
            // Relaxed: the decrement below publishes it.
            self.0.panicked.fetch_add(1, Ordering::Relaxed);
        }
        // Release: what the child did comes before the parent goes on; pairs with the Acquire in `wait`.
        if self.0.running.fetch_sub(1, Ordering::Release) == 1 {
            self.0.done.give();
        }
    }
}

/// Uncounts a child that was not spawned after all: a bad stack size, or no runtime, which panics.
struct Uncount<'a>(&'a Children);

impl Drop for Uncount<'_> {
    fn drop(&mut self) {
        // Relaxed: this thread has just added it, and the scope still runs here.
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

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
/// The caller waits: a coroutine without its worker, a plain thread in the kernel. That wait is not
/// cancelled, because the children borrow; if the caller unwinds or is cancelled inside `f`, the
/// children are waited for just the same.
///
/// # Panics
/// With the payload of `f` if that panics, and if a child that nobody joined has panicked.
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
    let scope = Scope { children: Arc::default(), scope: PhantomData, env: PhantomData };
    let result = panic::catch_unwind(AssertUnwindSafe(|| f(&scope)));
    {
        let _shield = Shield::new();
        // Acquire pairs with the Release in `finished`.
        while scope.children.running.load(Ordering::Acquire) > 0 {
            scope.children.done.take(Reason::Join, None);
        }
    }
    match result {
        Err(payload) => panic::resume_unwind(payload),
        // Relaxed: ordered by the Acquire above; the joins were made in the scope.
        Ok(_) if scope.children.panicked.load(Ordering::Relaxed) > 0 => {
            panic!("a scoped coroutine panicked, and nobody joined it")
        }
        Ok(value) => value,
    }
}

impl<'scope> Scope<'scope, '_> {
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
        let child = self.count();
        let uncount = Uncount(&self.children);
        // SAFETY: `scope` does not return before the child has ended, and `'scope` outlives that.
        let handle = unsafe { builder.spawn_hooked(f, child) }?;
        core::mem::forget(uncount);
        Ok(ScopedJoinHandle { handle, children: &self.children })
    }

    fn count(&self) -> Child {
        // Relaxed: the scope's frame, or a child that is itself counted, does this before its end.
        self.children.running.fetch_add(1, Ordering::Relaxed);
        Child(Arc::clone(&self.children))
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Relaxed: a figure for people.
        f.debug_struct("Scope").field("running", &self.children.running.load(Ordering::Relaxed)).finish()
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
        taken(self.children, self.handle.join())
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
            Ok(result) => Ok(taken(children, result)),
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

/// Counts off a panic that a join has taken, so that the scope does not raise it again.
fn taken<T>(children: &Children, result: Result<T, JoinError>) -> Result<T, JoinError> {
    if let Err(JoinError::Panicked(_)) = result {
        // Relaxed: as in `finished`; a child that joins another does so before its own end.
        children.panicked.fetch_sub(1, Ordering::Relaxed);
    }
    result
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
