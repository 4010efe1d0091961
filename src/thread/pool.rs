//! The pool behind [`ThreadPool`](super::ThreadPool): tasks in a queue, threads that take them.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::task::{RanOn, SubmitError};
use crate::base::{notice, own_rights};
use crate::coroutine::unwind;
use crate::queue::{GetError, Queue};
use crate::sync::{Event, Semaphore, WaitGroup};
use crate::sys::thread::explain_start;

/// A task, as the queue holds it: run it, or (`None`) tell that the pool was terminated.
pub(super) type Job = Box<dyn FnOnce(Option<RanOn>) + Send>;

/// What to do with a task when as many wait as may.
///
/// # Examples
/// ```
/// use ropewalk::thread::{ThreadPool, WhenFull};
///
/// let (pool, gate) = (ThreadPool::builder(1).bound(1, WhenFull::Reject).build(), ropewalk::channel::bounded::<()>(0));
/// let wait = gate.1.clone();
/// let tries: Vec<_> = (0..9).map(|_| { let wait = wait.clone(); pool.apply_async(move || drop(wait.recv())) }).collect();
/// assert!(tries.iter().any(Result::is_err));
/// drop(gate.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The caller waits until there is room.
    Block,
    /// The caller gets an error.
    Reject,
}

/// What a pool is built from.
#[derive(Clone)]
pub(super) struct Config {
    pub(super) name: Arc<str>,
    pub(super) threads: usize,
    pub(super) stack_size: Option<usize>,
    pub(super) bound: Option<usize>,
    pub(super) when_full: WhenFull,
    pub(super) initializer: Option<Arc<dyn Fn(usize) + Send + Sync>>,
    pub(super) idle: Duration,
    /// The pool is closed when it is dropped, and what waits still runs.
    pub(super) finishes: bool,
}

pub(super) struct Core {
    pub(super) config: Config,
    pub(super) jobs: Queue<Job>,
    /// Places for waiting tasks, if they are bounded.
    room: Option<Semaphore>,
    /// Threads that live; those of them that wait for a task.
    threads: AtomicUsize,
    idle: AtomicUsize,
    next_worker: AtomicUsize,
    pub(super) alive: WaitGroup,
}

thread_local! {
    /// The pool whose thread this is, as an address, and the worker's number.
    static OWN: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

impl Core {
    pub(super) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            room: config.bound.map(Semaphore::new),
            config,
            jobs: Queue::unbounded(),
            threads: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            next_worker: AtomicUsize::new(0),
            alive: WaitGroup::new(),
        })
    }

    pub(super) fn is_own_thread(&self) -> bool {
        OWN.get().0 == ptr::from_ref(self).addr()
    }

    /// Threads that live now.
    pub(super) fn threads(&self) -> usize {
        self.threads.load(Ordering::SeqCst)
    }

    pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<(), SubmitError> {
        let closed = || SubmitError::Closed { pool: Arc::clone(&self.config.name) };
        if self.jobs.is_closed() {
            return Err(closed());
        }
        self.make_room()?;
        // A thread first, so that nothing is queued that nobody will take.
        if self.threads() == 0 {
            self.start_thread().map_err(|error| {
                self.leave_room();
                SubmitError::NoThread { pool: Arc::clone(&self.config.name), error: error.to_string() }
            })?;
        }
        if self.jobs.put(job).is_err() {
            self.leave_room();
            return Err(closed());
        }
        self.grow();
        Ok(())
    }

    /// Starts a thread if more tasks wait than threads.
    fn grow(self: &Arc<Self>) {
        // SeqCst: against a thread that is about to end because it has had nothing to do, or that has taken another task
        // and still counts as idle (see `work`).
        let short = self.jobs.len() > self.idle.load(Ordering::SeqCst);
        let wanted = short && self.threads() < self.config.threads || self.threads() == 0;
        if wanted && let Err(error) = self.start_thread() {
            unwind::report(|| {
                notice::warn!("pool '{}' goes on with {} threads: {error}", self.config.name, self.threads());
            });
        }
    }

    fn make_room(&self) -> Result<(), SubmitError> {
        let Some(room) = &self.room else { return Ok(()) };
        loop {
            if room.try_acquire() {
                return Ok(());
            }
            match self.config.when_full {
                WhenFull::Reject => return Err(SubmitError::Full { pool: Arc::clone(&self.config.name) }),
                // A thread of the pool that waited here might be the one that would make room.
                WhenFull::Block if self.is_own_thread() => {
                    if !self.run_one() {
                        crate::sys::thread::yield_now();
                    }
                }
                WhenFull::Block => {
                    room.acquire();
                    return Ok(());
                }
            }
        }
    }

    fn leave_room(&self) {
        if let Some(room) = &self.room {
            let _ = room.release();
        }
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<()> {
        let worker = self.next_worker.fetch_add(1, Ordering::Relaxed);
        let mut builder = thread::Builder::new().name(format!("{}-{worker}", self.config.name));
        if let Some(bytes) = self.config.stack_size {
            builder = builder.stack_size(bytes);
        }
        let core = Arc::clone(self);
        self.threads.fetch_add(1, Ordering::SeqCst);
        self.alive.add(1);
        let rights = own_rights::get();
        let started = builder.spawn(move || {
            own_rights::set(rights);
            core.work(worker);
        });
        if started.is_err() {
            self.threads.fetch_sub(1, Ordering::SeqCst);
            self.alive.done();
        }
        started.map(drop).map_err(explain_start).map_err(|error| match self.config.stack_size {
            Some(bytes) => io::Error::new(error.kind(), format!("{error}, for a stack of {bytes} bytes")),
            None => error,
        })
    }

    /// The life of a thread.
    fn work(self: &Arc<Self>, worker: usize) {
        /// Counts the thread out, whatever happens.
        struct Alive<'a>(&'a Core);
        impl Drop for Alive<'_> {
            fn drop(&mut self) {
                self.0.alive.done();
            }
        }
        let _alive = Alive(self);
        OWN.set((Arc::as_ptr(self).addr(), worker));
        if let Some(initializer) = &self.config.initializer
            && let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| initializer(worker)))
        {
            // The next thread would fail as well; nobody is to wait for tasks that none will run.
            self.threads.fetch_sub(1, Ordering::SeqCst);
            self.terminate();
            unwind::discard(payload);
            unwind::report(|| {
                notice::error!(
                    "pool '{}' is terminated: the initialiser of worker {worker} has panicked",
                    self.config.name
                );
            });
            return;
        }
        loop {
            self.idle.fetch_add(1, Ordering::SeqCst);
            let job = self.jobs.get_timeout(self.config.idle);
            self.idle.fetch_sub(1, Ordering::SeqCst);
            match job {
                Ok(job) => {
                    // A task that was put meanwhile may have counted on this thread. What runs may wait for that task.
                    if !self.jobs.is_empty() {
                        self.grow();
                    }
                    self.run(job);
                }
                Err(GetError::Closed) => {
                    self.threads.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
                Err(GetError::Empty) => {
                    self.threads.fetch_sub(1, Ordering::SeqCst);
                    // A task put before that may have counted on this thread.
                    if self.jobs.is_empty() {
                        return;
                    }
                    self.threads.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    }

    fn run(&self, job: Job) {
        self.leave_room();
        let thread = super::kernel_thread();
        self.call(job, Some(RanOn { worker: OWN.get().1, thread }));
        self.jobs.task_done();
    }

    /// Runs a task, or fails it (`None`). The closure and a result that nobody waits for are dropped here; if that
    /// panics, neither the thread nor the tasks behind go with it.
    fn call(&self, job: Job, ran_on: Option<RanOn>) {
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| job(ran_on))) {
            unwind::report(|| {
                notice::error!(
                    "pool '{}': what a task has left panicked while it was dropped",
                    self.config.name
                );
            });
            unwind::discard(payload);
        }
    }

    /// Runs one waiting task on the calling thread; false if there is none.
    pub(super) fn run_one(&self) -> bool {
        match self.jobs.try_get() {
            Ok(job) => {
                self.run(job);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for `done`; a thread of this pool runs other tasks meanwhile. False if the deadline came.
    pub(super) fn help_until(&self, done: &Event, deadline: Option<Instant>) -> bool {
        if self.is_own_thread() {
            while !done.is_set() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                // With no task waiting, ours is in the hands of another thread, which helps itself.
                if !self.run_one() {
                    break;
                }
            }
        }
        match deadline {
            None => {
                done.wait();
                true
            }
            Some(deadline) => done.wait_deadline(deadline),
        }
    }

    /// Closes, and tells all tasks that have not begun.
    pub(super) fn terminate(&self) {
        for job in self.jobs.close_now() {
            self.leave_room();
            self.call(job, None);
        }
    }
}
