//! A worker: one thread that runs the coroutines bound to it.
//!
//! ```text
//!            ┌ lifo: one coroutine just made ready by the running one (budgeted)
//! next() ──▶ ├ ready: started coroutines, owner only            ◀── inbox: wakes from other threads
//!            ├ fresh: never-started ones, may be stolen         ◀── injector: spawns from outside; given: births
//!            └ steal from another worker's fresh                 timers, epoll ──▶ ready
//! ```
//!
//! Fairness, as a contract (a "turn" is one switch into a coroutine):
//! * the lifo slot serves at most `LIFO_BUDGET` turns in a row, then its coroutine goes to the tail;
//! * every `FRESH_EVERY` turns, so every other one, a fresh coroutine (of the own deque, or of the
//!   injector if that is empty) goes before the ready ones;
//! * the inbox is looked at every turn, timers and epoll every `MAINTENANCE_EVERY` turns.
//!
//! Invariants:
//! * I1: `owner` is touched by the worker's thread only, and never borrowed across a switch or a
//!   call into user code.
//! * I2: a started coroutine that waits is in no queue; its claim puts it in exactly one.
//! * I3: `ready` has room for every started coroutine, so no wake and no yield allocates.

use core::cell::{Cell, UnsafeCell};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::births::Births;
use super::clock::Clock;
use super::core::Core;
use super::inbox::Inbox;
use super::injector::Injector;
use super::metrics::Counters;
use super::park::Waiter;
use super::reactor::Reactor;
use super::start;
use super::started::Started;
use super::task::{Task, TaskRef};
use super::unwinding::Unwinders;
use super::{ahead, cancel, idle, party, timers};
use crate::base::deque::Deque;
use crate::base::wheel::Wheel;
use crate::coroutine::stack::{Stack, StackCache};
use crate::coroutine::strand::Strand;

const LIFO_BUDGET: u32 = 16;
const FRESH_EVERY: u64 = 2;
const MAINTENANCE_EVERY: u64 = 64;
/// Yields of an unwinding coroutine before it really gives way.
const UNWINDING_YIELDS: u32 = 1000;

/// What other threads may touch, and the owner's part behind `owner`.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) index: usize,
    /// The runtime it is a part of: the worker lives inside it.
    pub(super) core: *const Core,
    pub(crate) reactor: Arc<Reactor>,
    pub(crate) inbox: Inbox,
    pub(crate) fresh: Deque<Task>,
    /// Fresh tasks that other workers have handed to this one; see `births`.
    pub(crate) given: Injector,
    /// Set by the worker before it sleeps; whoever resets it has to notify the reactor.
    pub(crate) sleeping: AtomicBool,
    /// Set by the monitor while the worker has not come back to its scheduler for a tick.
    pub(crate) stuck: AtomicBool,
    /// The kernel's id of the worker's thread, for the monitor.
    pub(crate) thread: AtomicU32,
    pub(crate) counters: Counters,
    owner: UnsafeCell<Owner>,
    /// The task that runs now: written by the owner, and looked at by the monitor.
    pub(crate) running: AtomicPtr<Task>,
}

/// The owner's part.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) ready: VecDeque<NonNull<Task>>,
    pub(crate) lifo: Option<NonNull<Task>>,
    pub(crate) lifo_left: u32,
    pub(crate) wheel: Wheel<Waiter>,
    pub(crate) clock: Clock,
    pub(crate) stacks: StackCache,
    /// All started coroutines of this worker.
    pub(crate) started: Started,
    pub(crate) births: Births,
    /// Where the next steal begins.
    pub(crate) victim: usize,
    /// See `tired_of_unwinding`.
    pub(crate) unwinding_yields: u32,
    pub(crate) unwinders: Unwinders,
    /// When the owner has seen first that the runtime ends.
    pub(crate) ending_since: Option<Instant>,
    /// See `cancel::name_the_rest`.
    pub(crate) has_named_the_rest: bool,
}

// SAFETY: `owner` is touched by the worker's thread only (I1); `core` points to what the worker is a
// part of; the rest is Sync.
unsafe impl Sync for Worker {}
// SAFETY: as for Sync; the tasks in it are tied to the thread only once that thread runs `run`.
unsafe impl Send for Worker {}

thread_local! {
    static WORKER: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

/// The worker whose thread this is, if any. The reference must not outlive the thread's `run`.
#[inline]
pub(crate) fn current<'a>() -> Option<&'a Worker> {
    // SAFETY: set while `run` borrows it, on this thread.
    unsafe { WORKER.get().as_ref() }
}

impl Worker {
    /// Makes a worker whose thread has not started.
    ///
    /// # Safety
    /// * It will live inside `*core`, and is not used before that is complete.
    pub(crate) unsafe fn new(index: usize, core: *const Core, reactor: Arc<Reactor>) -> Self {
        let clock = Clock::new();
        Self {
            index,
            core,
            reactor,
            inbox: Inbox::new(),
            fresh: Deque::new(),
            given: Injector::new(),
            sleeping: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            thread: AtomicU32::new(0),
            counters: Counters::default(),
            owner: UnsafeCell::new(Owner {
                ready: VecDeque::with_capacity(256),
                lifo: None,
                lifo_left: LIFO_BUDGET,
                wheel: Wheel::new(clock.now()),
                clock,
                stacks: StackCache::new(),
                started: Started::new(),
                births: Births::default(),
                victim: index + 1,
                unwinding_yields: 0,
                unwinders: Unwinders::default(),
                ending_since: None,
                has_named_the_rest: false,
            }),
            running: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// The runtime this worker belongs to.
    #[inline]
    pub(crate) fn core(&self) -> &Core {
        // SAFETY: the worker lives inside it.
        unsafe { &*self.core }
    }

    /// The owner's part.
    ///
    /// # Safety
    /// * Called on the worker's thread, and no other borrow of it is alive (I1).
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the cell is the owner's alone; see I1")]
    pub(crate) unsafe fn owner(&self) -> &mut Owner {
        // SAFETY: the caller is the owner and holds no other borrow.
        unsafe { &mut *self.owner.get() }
    }

    /// Runs the worker until its runtime ends.
    pub(crate) fn run(&self) {
        WORKER.set(self);
        crate::coroutine::overflow::ensure_thread();
        super::exiting::arm();
        self.thread.store(crate::sys::thread::id().unsigned_abs(), Ordering::Relaxed);
        loop {
            match self.next() {
                Some(task) => self.turn(task),
                None => {
                    if idle::wait(self).is_break() {
                        break;
                    }
                }
            }
        }
        WORKER.set(ptr::null());
        // Descriptors that others still use move to another reactor.
        self.reactor.shutdown();
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.stacks.clear();
    }

    /// Takes what runs next, by the rules of fairness above.
    #[inline]
    fn next(&self) -> Option<NonNull<Task>> {
        let tick = self.counters.switches.get();
        if tick.is_multiple_of(MAINTENANCE_EVERY) {
            self.maintain();
        }
        if !self.inbox.is_empty(Ordering::Relaxed) {
            self.drain_inbox();
        }
        if tick.is_multiple_of(FRESH_EVERY) {
            self.take_given();
            if let Some(task) = self.pop_fresh().or_else(|| self.pop_injected()) {
                return Some(task);
            }
        }
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        if let Some(task) = owner.lifo.take() {
            if owner.lifo_left > 0 {
                owner.lifo_left -= 1;
                return Some(task);
            }
            owner.ready.push_back(task);
        }
        owner.lifo_left = LIFO_BUDGET;
        if let Some(task) = owner.ready.pop_front() {
            ahead::fetch(&owner.ready);
            return Some(task);
        }
        self.pop_fresh().or_else(|| self.search())
    }

    /// Tells whether the worker has nothing left to do for a runtime that ends.
    ///
    /// Nobody can give it work then: wakes go to started coroutines, fresh ones that others spawn are taken by those
    /// others, and what was handed over too late is taken back (`births`).
    pub(crate) fn is_done(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        owner.started.is_empty()
            && self.fresh.is_empty()
            && self.given.len() == 0
            && self.core().injector.len() == 0
    }

    /// True every `UNWINDING_YIELDS` calls: a destructor that yields in a loop waits for somebody.
    pub(crate) fn tired_of_unwinding(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        owner.unwinding_yields = (owner.unwinding_yields + 1) % UNWINDING_YIELDS;
        owner.unwinding_yields == 0
    }

    /// Tells whether it was said who keeps a runtime that ends.
    pub(crate) fn has_named_the_rest(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.has_named_the_rest
    }

    /// Tells whether a coroutine is ready to go on.
    pub(crate) fn has_ready(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        owner.lifo.is_some() || !owner.ready.is_empty()
    }

    /// Takes a ready coroutine out again; false if it is not in the queues of the owner.
    pub(crate) fn withdraw(&self, task: NonNull<Task>) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        if owner.lifo == Some(task) {
            owner.lifo = None;
            return true;
        }
        let found = owner.ready.iter().position(|ready| *ready == task);
        found.and_then(|index| owner.ready.remove(index)).is_some()
    }

    /// Runs `task` until it waits, yields or ends.
    #[inline]
    fn turn(&self, task: NonNull<Task>) {
        // SAFETY: a task taken from a queue is alive.
        let header = unsafe { task.as_ref() };
        if header.party.home().is_null() && (self.gives(task) || !start::bind(self, task)) {
            return;
        }
        let strand: *mut Strand = header.strand.get().cast();
        self.counters.switches.add(1);
        // Relaxed: the owner reads it back; the monitor only compares it with null.
        self.running.store(task.as_ptr(), Ordering::Relaxed);
        // By the task's own pointer, which reaches all of it. SAFETY: the party is its first field, and it lives
        // through its turn.
        unsafe { party::set_current(task.as_ptr().cast()) };
        // SAFETY: `bind` has initialised the strand, and it is suspended: it came from a queue (I2).
        let finished = unsafe { Strand::resume(strand) };
        // SAFETY: null is allowed.
        unsafe { party::set_current(ptr::null()) };
        // Relaxed: as above.
        self.running.store(ptr::null_mut(), Ordering::Relaxed);
        if finished {
            self.retire(task);
        }
    }

    /// Gives back what a finished task held.
    #[inline]
    fn retire(&self, task: NonNull<Task>) {
        // SAFETY: the scheduler's reference is counted, and given up here.
        let task = unsafe { TaskRef::from_raw(task) };
        let strand: *const Strand = task.strand.get().cast_const().cast();
        // SAFETY: it was initialised when the task started, and it has finished: it is moved out once.
        let strand = unsafe { strand.read() };
        // SAFETY: it has finished.
        let mut stack = Some(unsafe { strand.into_stack() });
        if !task.party.holds_nothing() {
            // A mutex may have its id, by a guard that lives on: then nobody gets that id again.
            stack = stack.and_then(Stack::renumber);
        }
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        if let Some(stack) = stack {
            owner.stacks.put(stack);
        }
        self.counters.cached.set(owner.stacks.cached() as u64);
        owner.started.remove(&task);
        self.counters.finished.add(1);
    }

    /// Tells whether somebody has got no stack, and needs those that this worker keeps.
    pub(crate) fn is_asked_for_stacks(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.stacks.is_asked()
    }

    /// Gives them back, if so.
    pub(crate) fn share_stacks(&self) {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        if owner.stacks.is_asked() {
            owner.stacks.answer();
            self.counters.cached.set(0);
        }
    }

    /// Tells whether stacks it keeps may have memory below their top pages.
    pub(crate) fn has_deep_stacks(&self) -> bool {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        !unsafe { self.owner() }.stacks.is_flat()
    }

    /// Gives that memory to the kernel.
    pub(crate) fn flatten_stacks(&self) {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.stacks.flatten();
    }

    /// Makes a coroutine of this worker ready, at the tail. Called on the worker's thread.
    #[inline]
    pub(crate) fn push_ready(&self, task: NonNull<Task>) {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        unsafe { self.owner() }.ready.push_back(task);
    }

    /// As [`push_ready`](Self::push_ready), after a wait.
    #[inline]
    pub(crate) fn push_woken(&self, task: NonNull<Task>) {
        self.counters.wakes.add(1);
        self.push_ready(task);
    }

    /// Makes a coroutine of this worker ready, to run next. Called on the worker's thread.
    #[inline]
    pub(crate) fn push_next(&self, task: NonNull<Task>) {
        // SAFETY: this is the worker's thread, and no other borrow is alive.
        let owner = unsafe { self.owner() };
        self.counters.wakes.add(1);
        if let Some(before) = owner.lifo.replace(task) {
            owner.ready.push_back(before);
        }
    }

    pub(crate) fn drain_inbox(&self) {
        // SAFETY: this is the worker's thread; `take` runs no user code.
        let ready = &mut unsafe { self.owner() }.ready;
        let before = ready.len();
        self.inbox.take(|task| ready.push_back(task));
        self.counters.wakes.add((ready.len() - before) as u64);
        for task in self.inbox.take_control() {
            cancel::deliver(self, &task);
        }
    }

    /// Looks at what does not come by itself: timers, epoll.
    #[cold]
    fn maintain(&self) {
        timers::fire(self);
        self.share_stacks();
        self.take_from_stuck();
        #[cfg(feature = "monkey")]
        super::guest::look();
        if self.reactor.has_sources() {
            idle::poll(self, Some(core::time::Duration::ZERO));
        }
        cancel::look(self);
    }
}
