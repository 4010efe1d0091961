//! The calling coroutine, or thread: who it is, and how it gives way, sleeps and parks.

use core::fmt;
use core::ptr::NonNull;
use core::time::Duration;
use std::cell::RefCell;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::extra::Extra;
#[cfg(feature = "monkey")]
pub(crate) use super::extra::Parked;
use super::park::{self, Outcome, Reason, Waiter, raise_cancelled};
use super::permit::Permit;
use super::shield::{self, Shield};
use super::task::{Task, TaskRef};
use super::unwinding::Unwinds;
use super::worker::Worker;
use super::{exiting, far, party};
use crate::coroutine::id;
use crate::sys;

/// A handle to a coroutine or a plain thread: its name, its number, and the right to unpark it.
///
/// # Examples
/// ```
/// let main = ropewalk::current();
/// let waker = ropewalk::spawn(move || main.unpark());
/// ropewalk::park();
/// waker.join().unwrap();
/// ```
#[derive(Clone)]
pub struct Handle(Kind);

#[derive(Clone)]
enum Kind {
    /// What is left of it once it has ended is kept by the handle.
    Coroutine(TaskRef),
    Thread(Arc<Thread>),
}

struct Thread {
    id: u64,
    name: Option<String>,
    permit: Permit,
}

impl Handle {
    pub(crate) fn of(task: &TaskRef) -> Self {
        Self(Kind::Coroutine(task.clone()))
    }

    fn of_thread() -> Self {
        let name = thread::current().name().map(str::to_owned);
        Self(Kind::Thread(Arc::new(Thread { id: thread_number(), name, permit: Permit::default() })))
    }

    /// The number; coroutines and threads share one sequence, and no number is used twice.
    pub fn id(&self) -> u64 {
        match &self.0 {
            Kind::Coroutine(task) => task.id,
            Kind::Thread(thread) => thread.id,
        }
    }

    /// The name, if there is one.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Kind::Coroutine(task) => task.name(),
            Kind::Thread(thread) => thread.name.as_deref(),
        }
    }

    /// Gives the token that [`park`] waits for. Never blocks; a second token is not kept.
    pub fn unpark(&self) {
        self.permit().give();
    }

    fn permit(&self) -> &Permit {
        match &self.0 {
            Kind::Coroutine(task) => Extra::permit(task),
            Kind::Thread(thread) => &thread.permit,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.id()).field("name", &self.name()).finish_non_exhaustive()
    }
}

thread_local! {
    /// A plain thread's number. Without a destructor, so it is there as long as the thread.
    static NUMBER: u64 = id::next();
    static OWN: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// The task that runs on this thread now, if the caller is on one.
#[inline]
pub(crate) fn task() -> Option<NonNull<Task>> {
    // A party with a home is the first field of a task.
    party::is_coroutine().then(|| party::current().cast())
}

/// The handle of the calling coroutine, or of the calling plain thread.
///
/// # Examples
/// ```
/// let handle = ropewalk::Builder::new().name("reader").spawn(|| ropewalk::current().id())?;
/// let id = handle.id();
/// assert_eq!(handle.join().unwrap(), id);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn current() -> Handle {
    match task() {
        // SAFETY: the task that runs is alive.
        Some(task) => Handle(Kind::Coroutine(unsafe { TaskRef::retain(task) })),
        // A thread whose locals are gone gets a handle for the moment.
        None => OWN
            .try_with(|own| own.borrow_mut().get_or_insert_with(Handle::of_thread).clone())
            .unwrap_or_else(|_| Handle::of_thread()),
    }
}

/// Tells whether the caller runs on a spawned coroutine.
///
/// # Examples
/// ```
/// assert!(!ropewalk::is_coroutine());
/// assert!(ropewalk::spawn(ropewalk::is_coroutine).join().unwrap());
/// ```
#[inline]
pub fn is_coroutine() -> bool {
    party::is_coroutine()
}

/// Waits until [`Handle::unpark`] has been called, and takes that token. A cancellation point.
///
/// # Examples
/// ```
/// let parked = ropewalk::spawn(|| {
///     ropewalk::park();
///     "woken"
/// });
/// parked.handle().unpark();
/// assert_eq!(parked.join().unwrap(), "woken");
/// ```
pub fn park() {
    take_permit(None);
}

/// As [`park`], but waits no longer than `limit`. False if no token came.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// assert!(!ropewalk::park_timeout(Duration::from_millis(1)));
/// ropewalk::current().unpark();
/// assert!(ropewalk::park_timeout(Duration::from_secs(5)));
/// ```
pub fn park_timeout(limit: Duration) -> bool {
    park_deadline(far::after(limit))
}

/// As [`park`], but waits no longer than until `deadline`. False if no token came.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// ropewalk::current().unpark();
/// let deadline = Instant::now() + Duration::from_millis(1);
/// assert!(ropewalk::coroutine::park_deadline(deadline));
/// assert!(!ropewalk::coroutine::park_deadline(deadline), "the token is taken");
/// ```
pub fn park_deadline(deadline: Instant) -> bool {
    take_permit(Some(deadline))
}

fn take_permit(deadline: Option<Instant>) -> bool {
    match task() {
        // SAFETY: the task that runs is alive.
        Some(task) => Extra::permit(unsafe { task.as_ref() }).take(Reason::Park, deadline),
        None => current().permit().take(Reason::Park, deadline),
    }
}

/// Lets the other ready coroutines of the worker run first; on a plain thread, yields to the kernel.
/// A cancellation point.
///
/// # Examples
/// ```
/// use std::sync::{Arc, Mutex};
///
/// let runtime = ropewalk::Runtime::builder().workers(1).build()?;
/// let order = Arc::new(Mutex::new(Vec::new()));
/// let inner = Arc::clone(&order);
/// runtime.run(move || {
///     let child = ropewalk::spawn({ let order = Arc::clone(&inner); move || order.lock().unwrap().push(1) });
///     while !child.is_finished() { ropewalk::yield_now(); }
///     inner.lock().unwrap().push(2);
/// });
/// assert_eq!(*order.lock().unwrap(), [1, 2]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn yield_now() {
    match task() {
        // SAFETY: the task that runs is alive.
        Some(task) => unsafe { yield_task(task) },
        None => sys::thread::yield_now(),
    }
}

/// Inlined: see [`park::park`].
///
/// # Safety
/// * It is the task that runs.
#[inline(always)]
unsafe fn yield_task(running: NonNull<Task>) {
    // SAFETY: the task that runs is alive.
    let task = unsafe { running.as_ref() };
    let worker: *const Worker = task.party.home();
    // SAFETY: the worker that runs this very coroutine.
    let worker = unsafe { &*worker };
    if (thread::panicking() || task.is_cancelled() || exiting::is_here()) && stays(worker, task) {
        return;
    }
    worker.push_ready(running);
    park::suspend(task);
}

/// As [`yield_now`], for a caller that learns of a cancellation by an error number: nothing unwinds. True if the
/// coroutine is cancelled, or the time of a `timeout` around it is over; then that is noted as told.
#[cfg(feature = "monkey")]
pub(crate) fn give_turn() -> bool {
    let Some(running) = task() else {
        sys::thread::yield_now();
        return false;
    };
    // SAFETY: the task that runs is alive.
    let task = unsafe { running.as_ref() };
    let worker: *const Worker = task.party.home();
    // SAFETY: the worker that runs this very coroutine.
    let worker = unsafe { &*worker };
    if (thread::panicking() || exiting::is_here()) && keeps(worker, worker.unwinds(task)) {
        return false;
    }
    let turns = worker.counters.switches.get();
    worker.push_ready(running);
    park::suspend(task);
    if worker.counters.switches.get() == turns + 1 {
        // Nobody else was ready here. What the caller waits for may be another thread's.
        sys::thread::yield_now();
    }
    let is_over = || task.party.scopes.earliest().is_some_and(|end| end <= Instant::now());
    let ends = (task.is_cancelled() || is_over())
        && worker.unwinds(task) == Unwinds::No
        && !shield::covers(&task.party);
    if ends {
        super::cancel::tell();
    }
    ends
}

/// Whether a coroutine that unwinds, or has called `exit`, keeps its worker.
///
/// # Panics
/// If the coroutine is cancelled, with the payload of that.
#[cold]
fn stays(worker: &Worker, task: &Task) -> bool {
    let unwinds = worker.unwinds(task);
    if keeps(worker, unwinds) {
        return true;
    }
    if task.is_cancelled() && unwinds == Unwinds::No && !shield::covers(&task.party) {
        raise_cancelled();
    }
    false
}

/// As [`stays`], without a look at cancellations.
#[cold]
fn keeps(worker: &Worker, unwinds: Unwinds) -> bool {
    if exiting::is_here() {
        sys::thread::yield_now();
        worker.drain_inbox();
        return true;
    }
    if unwinds == Unwinds::Yes {
        // As in `unwinding`: nobody else of the worker is to see this.
        sys::thread::yield_now();
        worker.drain_inbox();
        return !worker.tired_of_unwinding();
    }
    false
}

/// Waits for `limit`. Other coroutines of the worker run meanwhile. A cancellation point.
///
/// Never shorter than asked for; at rest, later by less than a millisecond.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// let began = Instant::now();
/// let naps = (0..100).map(|_| ropewalk::spawn(|| ropewalk::sleep(Duration::from_millis(5))));
/// ropewalk::join_all(naps).into_iter().for_each(|nap| nap.unwrap());
/// assert!(began.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep(limit: Duration) {
    sleep_until(far::after(limit));
}

/// Waits until `deadline`; returns at once if that has passed. A cancellation point.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// ropewalk::coroutine::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    let waiter = Waiter::open();
    if park::park(waiter, Reason::Sleep, 0, Some(deadline)) == Outcome::Cancelled {
        raise_cancelled();
    }
}

/// Runs `f` with cancellations and [`timeout`](super::timeout) deadlines held back until it returns.
///
/// # Examples
/// ```
/// use ropewalk::sync::Mutex;
///
/// let log = Mutex::new(Vec::new());
/// ropewalk::shield(|| log.lock().push("written whole, or not at all"));
/// assert_eq!(log.lock().len(), 1);
/// ```
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    let _shield = Shield::new();
    f()
}

/// The index of the calling worker; the largest number on a plain thread.
#[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "its counters are sharded by it"))]
pub(crate) fn worker_index() -> usize {
    super::worker::current().map_or(usize::MAX, |worker| worker.index)
}

/// Turns that the calling worker has begun; 0 on other threads.
#[cfg(feature = "monkey")]
pub(crate) fn turns() -> u64 {
    super::worker::current().map_or(0, |worker| worker.counters.switches.get())
}

/// What the calling coroutine knew when its last `thread::park` ended. The first time this may wait: for memory.
///
/// # Panics
/// On a plain thread.
#[cfg(feature = "monkey")]
pub(crate) fn parked() -> Parked {
    let task = task().expect("a coroutine parks");
    // SAFETY: the task that runs is alive.
    Extra::parked(unsafe { task.as_ref() }).get()
}

/// Notes what it knows now. Does not wait, after [`parked`].
///
/// # Panics
/// On a plain thread.
#[cfg(feature = "monkey")]
pub(crate) fn note_parked(now: Parked) {
    let task = task().expect("a coroutine parks");
    // SAFETY: the task that runs is alive.
    Extra::parked(unsafe { task.as_ref() }).set(now);
}

/// The number of the calling plain thread.
pub(crate) fn thread_number() -> u64 {
    NUMBER.with(|number| *number)
}

/// The number of the calling coroutine or thread.
pub(crate) fn current_number() -> u64 {
    match task() {
        // SAFETY: the task that runs is alive.
        Some(task) => unsafe { task.as_ref() }.id,
        None => thread_number(),
    }
}
