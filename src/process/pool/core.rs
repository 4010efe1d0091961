//! What a pool knows: its tasks, its workers, and how results come in.
//!
//! ```text
//! submit ─▶ tasks, waiting ─▶ board (ring) ─▶ worker ─▶ its outbox (or channel), bell ─┬▶ inner epoll ─▶ whoever waits
//!                                                            (nobody waits) outer epoll ─┴▶ manager
//! ```
//!
//! See `results` for who reads them. The manager's thread does all the rest: deaths, starts, timeouts,
//! callbacks.
//!
//! Invariants:
//! * I1: a task is in `tasks` until its end is known, and leaves it once: so each ends once.
//! * I2: messages are received and deaths are decided under `pump`; so what a worker has sent before it
//!   died is read before its task is given up.
#![forbid(unsafe_code)]

use core::fmt;
use core::hash::{BuildHasher, Hasher};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::error::{SubmitError, TaskError};
use super::outbox::Outboxes;
use super::ring::{ASKED, Board, Body, INLINE};
use super::task::{Finished, Slot};
use crate::base::notice;
use crate::coroutine::unwind;
use crate::io::pollable::Pollable;
use crate::process::StartMethod;
use crate::process::call::Call;
use crate::process::channel::{Channel, Message};
use crate::process::handle::Child;
use crate::runtime::shield::Shield;
use crate::sync::{Event, Mutex, MutexGuard, Semaphore};
use crate::sys::epoll;
use crate::thread::WhenFull;

/// A submitter whose task has to wait looks for results each time that as many more wait.
const HELP: usize = 32;

/// What a pool is built from.
pub(super) struct Config {
    pub(super) name: Arc<str>,
    pub(super) workers: usize,
    pub(super) method: StartMethod,
    pub(super) initializer: Option<(Call, Message)>,
    pub(super) most_tasks: Option<u64>,
    pub(super) bound: Option<usize>,
    pub(super) when_full: WhenFull,
    pub(super) limit: Option<Duration>,
    /// How long a worker may take to become ready.
    pub(super) start_limit: Duration,
    pub(super) retries: u32,
}

/// Where the end of a task goes.
pub(super) enum End {
    Slot(Arc<Slot>),
    /// Code of this crate: short, and does not wait.
    Quick(Box<dyn FnOnce(Finished) + Send>),
    /// Code of the user: runs on the manager's thread; so does that which a slot has.
    Callback(Box<dyn FnOnce(Finished) + Send>),
}

pub(super) struct Task {
    call: Call,
    pub(super) arguments: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
    end: End,
    pub(super) retries: u32,
}

pub(super) struct Worker {
    pub(super) child: Arc<Child>,
    pub(super) channel: Arc<Channel>,
    /// Its initialiser has returned.
    pub(super) ready: bool,
    pub(super) started: Instant,
    /// It was killed because it was not ready in time.
    pub(super) late: bool,
    /// The task that it was killed for.
    pub(super) overdue: Option<u64>,
}

/// Numbers that follow each other need no hash but to be spread.
#[derive(Clone, Copy, Default)]
pub(super) struct Spread(u64);

impl BuildHasher for Spread {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio of 2^64: upper and lower bits differ for numbers nearby.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) tasks: HashMap<u64, Task, Spread>,
    /// Tasks that are not on the board yet.
    waiting: VecDeque<u64>,
    /// Where the next task goes on the board.
    position: u64,
    latest_id: u64,
    pub(super) workers: Vec<Option<Worker>>,
    pub(super) closed: bool,
    pub(super) terminated: bool,
    pub(super) broken: Option<Arc<str>>,
    /// Workers that failed before they were ready, since the last one that was.
    pub(super) failures: u32,
    /// As above, for reasons that may pass.
    pub(super) kills: u32,
    /// What the latest of them said.
    pub(super) cause: String,
    /// Ends that the manager is to call.
    pub(super) callbacks: Vec<(End, Finished)>,
    /// What the manager is to log, without a lock: a logger may use the pool.
    pub(super) reports: Vec<(log::Level, String)>,
}

pub(super) struct Core {
    /// The process that has made it: a copy in one that it forks by itself is nobody's.
    pub(super) owner: u32,
    pub(super) config: Config,
    pub(super) board: Board,
    pub(super) outboxes: Outboxes,
    state: Mutex<State>,
    pub(super) pump: Mutex<()>,
    room: Option<Semaphore>,
    /// Results: the workers' channels, their bell, and the nudge.
    pub(super) inner: Pollable,
    pub(super) results: OwnedFd,
    pub(super) nudge: OwnedFd,
    /// For the manager: the bell, `inner`, the workers' ends.
    pub(super) outer: OwnedFd,
    pub(super) bell: OwnedFd,
    pub(super) led: AtomicBool,
    /// Whether the manager looks at the clock.
    pub(super) watched: AtomicBool,
    pub(super) ended: Event,
}

pub(super) const KEY_BELL: u64 = 0;
pub(super) const KEY_INNER: u64 = 1;
/// Keys of the workers' ends begin here.
pub(super) const KEY_WORKERS: u64 = 2;
pub(super) const KEY_NUDGE: u64 = u64::MAX;
pub(super) const KEY_RESULTS: u64 = u64::MAX - 1;

impl Core {
    pub(super) fn new(config: Config) -> io::Result<Arc<Self>> {
        let (inner, outer) = (epoll::create()?, epoll::create()?);
        let (nudge, results, bell) = (epoll::eventfd()?, epoll::eventfd()?, epoll::eventfd()?);
        epoll::add_level(&inner, results.as_raw_fd(), libc::EPOLLIN, KEY_RESULTS)?;
        epoll::add_level(&inner, nudge.as_raw_fd(), libc::EPOLLIN, KEY_NUDGE)?;
        epoll::add_level(&outer, bell.as_raw_fd(), libc::EPOLLIN, KEY_BELL)?;
        epoll::add_level(&outer, inner.as_raw_fd(), libc::EPOLLIN, KEY_INNER)?;
        let mut state = State::default();
        state.workers.resize_with(config.workers, || None);
        Ok(Arc::new(Self {
            owner: std::process::id(),
            board: Board::new(config.workers)?,
            outboxes: Outboxes::new(config.workers)?,
            state: Mutex::new(state),
            pump: Mutex::new(()),
            room: config.bound.map(|bound| Semaphore::new(bound + config.workers)),
            inner: inner.into(),
            results,
            nudge,
            outer,
            bell,
            led: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            ended: Event::new(),
            config,
        }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn refusal(&self, state: &State) -> Option<SubmitError> {
        let pool = Arc::clone(&self.config.name);
        match &state.broken {
            Some(cause) => Some(SubmitError::Broken { pool, cause: Arc::clone(cause) }),
            None => state.closed.then_some(SubmitError::Closed { pool }),
        }
    }

    /// Takes a task. Waits only if the pool is bounded, full, and blocks; that is a cancellation point.
    pub(super) fn submit(&self, call: Call, (arguments, fds): Message, end: End) -> Result<(), SubmitError> {
        if let Some(room) = &self.room
            && !room.try_acquire()
        {
            if let Some(refusal) = self.refusal(&self.state()) {
                return Err(refusal);
            }
            match self.config.when_full {
                WhenFull::Reject => return Err(SubmitError::Full { pool: Arc::clone(&self.config.name) }),
                WhenFull::Block => room.acquire(),
            }
        }
        let _shield = Shield::new();
        let mut state = self.state();
        if let Some(refusal) = self.refusal(&state) {
            drop(state);
            self.leave_room();
            return Err(refusal);
        }
        state.latest_id += 1;
        let id = state.latest_id;
        if self.is_prompt(&end) {
            self.outboxes.want();
        }
        state.tasks.insert(id, Task { call, arguments, fds, end, retries: self.config.retries });
        state.waiting.push_back(id);
        self.fill(&mut state);
        let behind = state.waiting.len();
        drop(state);
        // The board is full: what is done makes room.
        if behind % HELP == 1 {
            self.help();
        }
        // SeqCst: the manager resets it before it looks whether there are tasks.
        if self.config.limit.is_some() && !self.watched.swap(true, Ordering::SeqCst) {
            epoll::signal(&self.bell);
        }
        Ok(())
    }

    /// Tells whether somebody is to know at once of the end of a task, without having to ask.
    fn is_prompt(&self, end: &End) -> bool {
        self.room.is_some() || !matches!(end, End::Slot(_))
    }

    fn leave_room(&self) {
        if let Some(room) = &self.room {
            let _ = room.release();
        }
    }

    /// Puts waiting tasks on the board as long as there is room.
    pub(super) fn fill(&self, state: &mut State) {
        while let Some(id) = state.waiting.front() {
            let Some(task) = state.tasks.get(id) else {
                state.waiting.pop_front();
                continue;
            };
            let mut body = Body { id: *id, call: task.call, len: ASKED, bytes: [0; INLINE] };
            if task.fds.is_empty() && task.arguments.len() <= INLINE {
                body.len = task.arguments.len() as u32;
                body.bytes[..task.arguments.len()].copy_from_slice(&task.arguments);
            }
            let Some(next) = self.board.put(state.position, &body) else { return };
            state.position = next;
            state.waiting.pop_front();
            self.board.wake_one(state.position);
        }
    }

    /// Takes a task out, and leaves its place to another.
    pub(super) fn retire(&self, state: &mut State, id: u64) -> Option<End> {
        let task = state.tasks.remove(&id)?;
        if self.is_prompt(&task.end) {
            self.outboxes.unwant();
        }
        self.leave_room();
        Some(task.end)
    }

    /// Lets a task be done once more, before all that wait.
    pub(super) fn again(&self, state: &mut State, id: u64) {
        state.waiting.push_front(id);
        self.fill(state);
    }

    /// Lets the workers end if nothing is left to do.
    pub(super) fn end_if_done(&self, state: &State) {
        if state.closed && state.tasks.is_empty() {
            self.board.end();
        }
    }

    /// Ends all tasks that have not ended, with the same error.
    pub(super) fn give_up(&self, error: &TaskError) {
        let mut state = self.state();
        let ids: Vec<u64> = state.tasks.keys().copied().collect();
        let ends = ids.into_iter().filter_map(|id| self.retire(&mut state, id));
        let finished = || Finished { result: Err(error.clone()), ran_on: None };
        let ends: Vec<_> = ends.map(|end| (end, finished())).collect();
        state.waiting.clear();
        self.end_if_done(&state);
        drop(state);
        self.finish_and_nudge(ends);
    }

    /// Has the manager log a line.
    pub(super) fn report(&self, state: &mut State, level: log::Level, text: fmt::Arguments<'_>) {
        state.reports.push((level, format!("pool '{}': {text}", self.config.name)));
        epoll::signal(&self.bell);
    }

    /// Logs what is to be logged. Called by the manager, without a lock.
    pub(super) fn log_reports(&self) {
        let reports = core::mem::take(&mut self.state().reports);
        for (level, text) in reports {
            unwind::report(|| notice::tell!(level, "{text}"));
        }
    }

    /// Takes no more tasks.
    pub(super) fn close(&self) {
        let _shield = Shield::new();
        let mut state = self.state();
        state.closed = true;
        self.end_if_done(&state);
        drop(state);
        epoll::signal(&self.bell);
    }

    /// Takes no more tasks, gives up those there are, and kills the workers.
    pub(super) fn terminate(&self) {
        let _shield = Shield::new();
        let workers: Vec<_> = {
            let mut state = self.state();
            (state.closed, state.terminated) = (true, true);
            state.workers.iter().flatten().map(|worker| Arc::clone(&worker.child)).collect()
        };
        for child in workers {
            if let Err(error) = child.signal(libc::SIGKILL) {
                self.report(
                    &mut self.state(),
                    log::Level::Error,
                    format_args!("worker {} cannot be killed: {error}", child.pid),
                );
            }
        }
        self.give_up(&TaskError::Terminated { pool: Arc::clone(&self.config.name) });
        epoll::signal(&self.bell);
    }
}
