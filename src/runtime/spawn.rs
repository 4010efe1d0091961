//! From a closure to a queued task: `spawn`, its builder, and the handle to the result.

use core::marker::PhantomData;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use core::{fmt, future::Future};
use core::{mem, ptr};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::builder::Runtime;
use super::current::Handle;
use super::extra::Extra;
use super::join::{self, JoinError};
use super::park::{Outcome, raise_cancelled};
use super::task::{Hook, TaskRef};
use super::{cancel, far, global, orphan, party, worker};
use crate::coroutine::id;

/// Spawns a coroutine: into the caller's runtime, or into the global one from a plain thread.
///
/// Never blocks. The coroutine may start on any worker and then stays there. A dropped handle lets it go on.
/// All coroutines of a worker share the thread-locals of its thread. Code that holds a thread-local across
/// a wait can be undefined behavior: see the [guide](crate::guide::thread_locals).
///
/// # Examples
/// ```
/// let handle = ropewalk::spawn(|| 6 * 7);
/// assert_eq!(handle.join().unwrap(), 42);
/// ```
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: 'static.
    unsafe { launch(Target::Current, ptr::null_mut(), f, ()) }
}

/// Sets up a coroutine before it is spawned: name and stack size.
///
/// # Examples
/// ```
/// let handle = ropewalk::Builder::new().name("reader").stack_size(64 * 1024).spawn(|| {
///     ropewalk::current().name().map(str::to_owned)
/// })?;
/// assert_eq!(handle.join().unwrap().as_deref(), Some("reader"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until `spawn`"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Starts with no name and the runtime's stack size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the coroutine; reports and errors carry the name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the bytes of the stack; see [the rules](crate::coroutine::CoroutineBuilder::stack_size).
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    fn extra(self) -> io::Result<*mut Extra> {
        orphan::check()?;
        if let Some(bytes) = self.stack_size {
            crate::coroutine::stack::check_size(bytes).map_err(|error| {
                let text = format!("coroutine '{}': {error}", self.name.as_deref().unwrap_or("unnamed"));
                io::Error::new(io::ErrorKind::InvalidInput, text)
            })?;
        }
        if self.name.is_none() && self.stack_size.is_none() {
            return Ok(ptr::null_mut());
        }
        Ok(Box::into_raw(Box::new(Extra::new(self.name.map(Arc::from), self.stack_size.unwrap_or(0)))))
    }

    /// Spawns into the caller's runtime, or into the global one from a plain thread.
    ///
    /// # Errors
    /// `InvalidInput` if the stack size is impossible; another in a child that was forked after a runtime had started.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let extra = self.extra()?;
        // SAFETY: 'static.
        Ok(unsafe { launch(Target::Current, extra, f, ()) })
    }

    /// Spawns into `runtime`.
    ///
    /// # Examples
    /// ```
    /// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    /// let handle = ropewalk::Builder::new().name("here").spawn_in(&runtime, || 7)?;
    /// assert_eq!((handle.name(), handle.id() > 0), (Some("here"), true));
    /// assert_eq!(handle.join().unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    pub fn spawn_in<F, T>(self, runtime: &Runtime, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let extra = self.extra()?;
        // SAFETY: 'static.
        Ok(unsafe { launch(Target::Runtime(runtime), extra, f, ()) })
    }

    /// As [`spawn`](Self::spawn), for what may borrow.
    ///
    /// # Safety
    /// * As for [`launch`].
    pub(crate) unsafe fn spawn_hooked<F, T, H>(self, f: F, hook: H) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
        H: Hook + Send,
    {
        let extra = self.extra()?;
        // SAFETY: the caller's duty.
        Ok(unsafe { launch(Target::Current, extra, f, hook) })
    }
}

pub(crate) enum Target<'a> {
    Current,
    Runtime(&'a Runtime),
}

/// Makes a task and queues it.
///
/// # Safety
/// * What `F`, `T` and `H` borrow outlives the run of the coroutine; what `T` borrows, the handle.
#[inline]
pub(crate) unsafe fn launch<F, T, H>(target: Target<'_>, extra: *mut Extra, f: F, hook: H) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send,
    T: Send,
    H: Hook + Send,
{
    orphan::refuse();
    if matches!(target, Target::Current) && worker::current().is_none() {
        global(); // Before there is a task: it panics if it cannot start.
    }
    // SAFETY: the caller's duty.
    let (handle, task) = unsafe { TaskRef::new(f, id::next(), extra, hook) };
    match (target, worker::current()) {
        (Target::Current, Some(worker)) => worker.push_fresh(task),
        (Target::Runtime(runtime), Some(worker)) if ptr::eq(worker.core(), &raw const *runtime.core) => {
            worker.push_fresh(task);
        }
        (Target::Runtime(runtime), _) => runtime.core.inject(task),
        (Target::Current, None) => global().core.inject(task),
    }
    JoinHandle { task: Some(handle), result: PhantomData }
}

/// The right to a coroutine's result: waited for by [`join`](Self::join), or as a future.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let handle = ropewalk::spawn(|| ropewalk::sleep(Duration::from_secs(3600)));
/// handle.cancel();
/// assert!(handle.join().unwrap_err().is_cancelled());
/// ```
pub struct JoinHandle<T> {
    /// `None` once the result has been taken.
    task: Option<TaskRef>,
    result: PhantomData<T>,
}

// SAFETY: the handle gives out a `T` from another thread, which `T: Send` allows, and the task's
// shared parts are atomics.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: nothing of `T` is reachable through a shared handle.
unsafe impl<T: Send> Sync for JoinHandle<T> {}
impl<T> Unpin for JoinHandle<T> {}

impl<T> JoinHandle<T> {
    #[inline]
    pub(super) fn task(&self) -> &TaskRef {
        self.task.as_ref().expect("a join handle was polled again after it had given its result")
    }

    /// Waits for the coroutine to end and takes its result. A coroutine that waits here leaves its
    /// worker to others.
    ///
    /// # Errors
    /// [`JoinError::Panicked`] with the payload, or [`JoinError::Cancelled`].
    ///
    /// # Panics
    /// If a coroutine joins itself.
    #[inline]
    pub fn join(self) -> Result<T, JoinError> {
        self.refuse_self();
        if join::wait(self.task(), None) == Outcome::Cancelled {
            drop(self);
            raise_cancelled();
        }
        self.take()
    }

    /// As [`join`](Self::join), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    ///
    /// let handle = ropewalk::spawn(ropewalk::park);
    /// let handle = handle.join_timeout(Duration::from_millis(1)).expect_err("it waits");
    /// handle.handle().unpark();
    /// assert!(handle.join().is_ok());
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
        self.refuse_self();
        match join::wait(self.task(), Some(deadline)) {
            Outcome::Notified => Ok(self.take()),
            Outcome::TimedOut => Err(self),
            Outcome::Cancelled => {
                drop(self);
                raise_cancelled()
            }
        }
    }

    fn refuse_self(&self) {
        let task = self.task();
        if ptr::eq(&raw const task.party, party::current().as_ptr()) {
            let name = task.name().unwrap_or("unnamed");
            panic!("coroutine '{name}' (#{}) joins itself: it would wait for ever", task.id);
        }
    }

    #[inline]
    fn take(mut self) -> Result<T, JoinError> {
        let task = self.task.take().expect("the result is taken once");
        // SAFETY: `join::wait` or `join::poll` has seen DONE, this is the one handle, and `T` is its type.
        unsafe { task.take() }
    }

    /// Tells whether the coroutine has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        join::is_done(self.task())
    }

    /// Waits for the coroutine to end, and leaves its result to [`join`](Self::join). A cancellation point.
    ///
    /// # Panics
    /// If a coroutine waits for itself.
    pub(crate) fn wait_finished(&mut self) {
        self.refuse_self();
        if join::wait(self.task(), None) == Outcome::Cancelled {
            raise_cancelled();
        }
    }

    /// Asks the coroutine to end. Never blocks.
    ///
    /// It unwinds at its next wait, or at once if it waits now; its destructors run. One that has not
    /// started never does. Under [`shield`](super::shield), and while it unwinds anyway, it is let be. If it
    /// catches the unwinding, its next wait unwinds again.
    pub fn cancel(&self) {
        cancel::request(self.task());
    }

    /// A handle that can cancel, while this one waits elsewhere.
    pub fn canceller(&self) -> Canceller {
        Canceller(self.task().clone())
    }

    /// The number of the coroutine, never used twice.
    pub fn id(&self) -> u64 {
        self.task().id
    }

    /// The coroutine's name, if the builder gave one.
    pub fn name(&self) -> Option<&str> {
        self.task().name()
    }

    /// The handle by which the coroutine can be unparked.
    pub fn handle(&self) -> Handle {
        Handle::of(self.task())
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(task) = self.task.take()
            && join::detach(&task)
        {
            // SAFETY: `detach` has seen DONE, and this is the one handle.
            unsafe { task.discard() };
        }
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    /// # Panics
    /// If it is polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if join::is_done(this.task()) || join::poll(this.task(), context.waker()) {
            let whole = mem::replace(this, Self { task: None, result: PhantomData });
            return Poll::Ready(whole.take());
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("JoinHandle");
        if let Some(task) = &self.task {
            debug.field("id", &task.id).field("name", &task.name()).field("finished", &join::is_done(task));
        }
        debug.finish_non_exhaustive()
    }
}

/// Cancels a coroutine; see [`JoinHandle::cancel`]. Cloned freely, and harmless once it has ended.
///
/// # Examples
/// ```
/// let handle = ropewalk::spawn(ropewalk::park);
/// let stop = handle.canceller();
/// ropewalk::spawn(move || stop.cancel());
/// assert!(handle.join().unwrap_err().is_cancelled());
/// ```
#[derive(Clone)]
pub struct Canceller(TaskRef);

impl Canceller {
    /// Asks the coroutine to end. Never blocks.
    pub fn cancel(&self) {
        cancel::request(&self.0);
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").field("id", &self.0.id).finish()
    }
}
