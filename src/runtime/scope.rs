//! Coroutines that borrow from the frame that spawned them: std's scoped threads.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::current::Handle;
use super::join::{self, JoinError};
use super::park::Reason;
use super::permit::Permit;
use super::shield::Shield;
use super::spawn::{Builder, JoinHandle};
use super::task::{Hook, TaskRef};
use super::{cancel, far, timeout};
use crate::base::lock::Lock;
use crate::coroutine::unwind;

#[derive(Debug, Default)]
struct Children {
    running: AtomicUsize,
    /// Children that have panicked, less the panics that a join has taken; below zero while a child is
    /// joined, and has not counted its own yet.
    panicked: AtomicIsize,
    /// Given by the last child.
    done: Permit,
    living: Lock<Living>,
}

/// The children that a cancellation has to reach, by their ids.
#[derive(Debug, Default)]
struct Living {
    tasks: HashMap<u64, TaskRef>,
    /// The scope is cancelled: a child that comes later is cancelled at once.
    cancelled: bool,
}

impl Children {
    /// Adds a child, which may have ended by now.
    fn add(&self, task: &TaskRef) {
        let mut living = self.living.lock();
        let cancelled = living.cancelled;
        if !cancelled {
            living.tasks.insert(task.id, task.clone());
        }
        drop(living);
        if cancelled {
            cancel::request(task);
        }
        // A child that ended before the insertion has not found itself in the map. One that ends later does.
        if join::is_done(task) {
            self.remove(task.id);
        }
    }

    fn remove(&self, id: u64) {
        let removed = self.living.lock().tasks.remove(&id);
        // Here, because the lock is free again.
        drop(removed);
    }

    /// Cancels all children, and those that are spawned later.
    fn cancel(&self) {
        let mut living = self.living.lock();
        living.cancelled = true;
        let tasks = core::mem::take(&mut living.tasks);
        drop(living);
        tasks.values().for_each(cancel::request);
    }

    /// Waits until no child runs. A cancellation point.
    fn wait(&self) {
        // Acquire pairs with the Release in `finished`.
        while self.running.load(Ordering::Acquire) > 0 {
            self.done.take(Reason::Join, None);
        }
    }
}

/// Held by each child; says that it has ended.
struct Child(Arc<Children>);

impl Hook for Child {
    fn finished(&self, id: u64, panicked: bool) {
        if panicked {
            // Relaxed: the decrement below publishes it.
            self.0.panicked.fetch_add(1, Ordering::Relaxed);
        }
        self.0.remove(id);
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
/// The caller waits: a coroutine without its worker, a plain thread in the kernel. If the caller is
/// cancelled, or the time of a [`timeout`](super::timeout()) around the scope is over, the scope cancels its
/// coroutines, waits for them, and then unwinds as cancelled or elapsed. A panic of `f` cancels nothing: the
/// coroutines run to their end.
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
    {
        let _shield = Shield::new();
        children.wait();
    }
    // No child runs, so none is added. The tasks own the children's count in their turn.
    let rest = core::mem::take(&mut children.living.lock().tasks);
    drop(rest);
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
        self.children.add(handle.task());
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
