//! The manager: a thread that starts workers, takes in their ends, and watches the clock.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, End, KEY_BELL, KEY_WORKERS, State, Worker};
use super::error::TaskError;
use super::task::Finished;
use super::worker::{Setup, work};
use super::{post, ring};
use crate::base::notice;
use crate::coroutine::unwind;
use crate::process::call::Call;
use crate::process::channel::Channel;
use crate::process::error::{SpawnError, signal_name};
use crate::process::handle::Child;
use crate::process::{Builder, Fd, codec, start};
use crate::sys::epoll;
use crate::sys::thread::explain_start;

/// Workers in a row that fail before they are ready, until the pool is broken.
const MOST_FAILURES: u32 = 3;
/// As above, for those that were killed, or for which the kernel had no process, descriptor or memory: that is
/// somebody else's doing, and may pass.
const MOST_KILLS: u32 = 20;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

struct Manager {
    core: Arc<Core>,
    /// Workers that are to be started, and when.
    due: BTreeMap<usize, Instant>,
    /// Claims that were there at the last look at the clock, and since when.
    claims: Vec<(ring::Claim, Instant)>,
}

/// Starts the manager of a pool.
pub(super) fn start_manager(core: &Arc<Core>) -> std::io::Result<()> {
    let now = Instant::now();
    let due = (0..core.config.workers).map(|worker| (worker, now)).collect();
    let manager = Manager { core: Arc::clone(core), due, claims: Vec::new() };
    let name = format!("{}-manager", core.config.name);
    std::thread::Builder::new().name(name).spawn(move || manager.run()).map(drop).map_err(explain_start)
}

impl Manager {
    fn run(mut self) {
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; 32];
        loop {
            self.start_due();
            self.run_callbacks();
            // Last: a logger that waits is not to hold results back.
            self.core.log_reports();
            if self.has_ended() {
                break;
            }
            let may_sleep = self.core.may_sleep();
            let pause = if may_sleep { self.until_next() } else { Some(Duration::ZERO) };
            let events = match epoll::wait(&self.core.outer, &mut buffer, pause) {
                Ok(events) => events,
                Err(error) => {
                    let text = format_args!("its workers cannot be waited for: {error}");
                    self.core.report(&mut self.core.state(), log::Level::Error, text);
                    &[]
                }
            };
            let keys: Vec<u64> = events.iter().map(|event| event.u64).collect();
            for key in keys {
                match key.checked_sub(KEY_WORKERS) {
                    Some(worker) => self.bury(worker as usize),
                    None if key == KEY_BELL => epoll::take_signal(&self.core.bell),
                    None => self.core.read_all(),
                }
            }
            if !may_sleep {
                self.core.read_all();
            }
            self.kill_overdue();
            self.kill_late();
        }
        self.core.ended.set();
    }

    /// Tells whether there is nothing left to do, now and for ever.
    fn has_ended(&self) -> bool {
        // Whoever has taken a task out has also told its end, before it leaves this lock.
        let _pump = self.core.pump.lock();
        let state = self.core.state();
        let over = state.closed || state.broken.is_some();
        over && state.tasks.is_empty()
            && state.callbacks.is_empty()
            && state.reports.is_empty()
            && state.workers.iter().all(Option::is_none)
    }

    /// How long nothing will happen by itself.
    fn until_next(&self) -> Option<Duration> {
        let next_start = self.due.values().min().map(|due| due.saturating_duration_since(Instant::now()));
        let limit = self.core.config.limit.and_then(|limit| self.until_overdue(limit));
        [next_start, limit, self.until_late()].into_iter().flatten().min()
    }

    /// How long no task can be overdue: one that begins now is after the whole limit.
    fn until_overdue(&self, limit: Duration) -> Option<Duration> {
        // SeqCst: pairs with the swap in `submit`: either it sees this, or this sees its task.
        self.core.watched.store(false, Ordering::SeqCst);
        if self.core.state().tasks.is_empty() {
            return None;
        }
        self.core.watched.store(true, Ordering::SeqCst);
        let now = post::now();
        let left = (0..self.core.config.workers).filter_map(|worker| {
            let (_, began) = self.core.board.post(worker).running()?;
            Some(limit.saturating_sub(Duration::from_nanos(now.saturating_sub(began))))
        });
        // Not zero: one that was killed for it is not gone yet.
        Some(left.min().unwrap_or(limit).max(Duration::from_millis(1)))
    }

    /// How long no worker can have taken too long to become ready.
    fn until_late(&self) -> Option<Duration> {
        let limit = self.core.config.start_limit;
        let state = self.core.state();
        let starting = state.workers.iter().flatten().filter(|it| !it.ready && !it.late);
        starting.map(|it| limit.saturating_sub(it.started.elapsed())).min()
    }

    /// Kills workers that take too long to become ready.
    fn kill_late(&self) {
        let limit = self.core.config.start_limit;
        let mut state = self.core.state();
        let mut any = false;
        for it in state.workers.iter_mut().flatten() {
            if !it.ready && !it.late && it.started.elapsed() >= limit {
                it.late = true;
                any = true;
                let _ = it.child.signal(libc::SIGKILL);
            }
        }
        if any {
            state.cause = format!("a worker was not ready after {limit:?}; its initialiser does not return");
        }
    }

    fn kill_overdue(&mut self) {
        let Some(limit) = self.core.config.limit else { return };
        self.kill_stopped(limit);
        for worker in 0..self.core.config.workers {
            let Some((id, began)) = self.core.board.post(worker).running() else { continue };
            if Duration::from_nanos(post::now().saturating_sub(began)) < limit {
                continue;
            }
            // It may have gone on to another task since; one that is condemned does not.
            if self.core.board.post(worker).condemn(id) {
                self.kill_for(worker, id, limit);
            }
        }
    }

    /// Kills a worker whose task has taken too long.
    fn kill_for(&self, worker: usize, task: u64, limit: Duration) {
        let Some(child) = self.core.state().workers.get_mut(worker).and_then(Option::as_mut).map(|it| {
            it.overdue = Some(task);
            Arc::clone(&it.child)
        }) else {
            return;
        };
        let _ = child.signal(libc::SIGKILL);
        let pid = child.pid;
        self.core.report(
            &mut self.core.state(),
            log::Level::Warn,
            format_args!("worker {worker} (pid {pid}) is killed: its task takes over {limit:?}"),
        );
    }

    /// As above, for workers that have claimed a task and do not come to copy it: they are stopped.
    fn kill_stopped(&mut self, limit: Duration) {
        let now = Instant::now();
        let found: Vec<ring::Claim> = self.core.board.claims().collect();
        self.claims.retain(|(claim, _)| found.contains(claim));
        for claim in found {
            let Some((_, since)) = self.claims.iter().find(|(known, _)| *known == claim) else {
                self.claims.push((claim, now));
                continue;
            };
            if now.duration_since(*since) >= limit {
                self.kill_for(claim.worker, claim.task, limit);
            }
        }
    }

    fn run_callbacks(&self) {
        let callbacks = core::mem::take(&mut self.core.state().callbacks);
        for (end, finished) in callbacks {
            match end {
                End::Callback(f) => {
                    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| f(finished))) {
                        unwind::report(|| {
                            notice::error!("a callback of pool '{}' has panicked", self.core.config.name);
                        });
                        unwind::discard(payload);
                    }
                }
                End::Slot(slot) => {
                    slot.finish(finished);
                    self.core.nudge();
                }
                End::Quick(f) => f(finished),
            }
        }
    }

    fn start_due(&mut self) {
        let now = Instant::now();
        let due: Vec<usize> =
            self.due.iter().filter(|(_, due)| **due <= now).map(|(worker, _)| *worker).collect();
        for worker in due {
            self.due.remove(&worker);
            if !self.wants_workers() {
                continue;
            }
            self.core.outboxes.hide(worker);
            let started = self.start_worker(worker);
            self.core.outboxes.show();
            epoll::signal(&self.core.results);
            if let Err(error) = started {
                // What the kernel does not have now it may have later.
                let shortage = matches!(error, SpawnError::Kernel { .. });
                self.failed(worker, Some(error.to_string()), shortage);
            }
        }
    }

    fn wants_workers(&self) -> bool {
        let state = self.core.state();
        let has_work = !state.closed || !state.tasks.is_empty();
        has_work && !state.terminated && state.broken.is_none()
    }

    fn start_worker(&self, worker: usize) -> Result<(), SpawnError> {
        let config = &self.core.config;
        let (channel, theirs) = Channel::pair().map_err(SpawnError::kernel("a socket"))?;
        let files = [self.core.board.file(), self.core.outboxes.file(), self.core.results.as_fd()];
        let copies = files.map(|file| file.try_clone_to_owned().map(Fd::from));
        let [board, outboxes, bell] = copies.map(|copy| copy.map_err(SpawnError::kernel("a descriptor")));
        let initializer = config.initializer.as_ref().map(|(call, (bytes, fds))| {
            let copies = fds.iter().map(|fd| fd.try_clone().map(Fd::from));
            copies.collect::<std::io::Result<Vec<_>>>().map(|fds| (*call, bytes.clone(), fds))
        });
        let setup = Setup {
            channel: Fd::from(theirs),
            board: board?,
            outboxes: outboxes?,
            bell: bell?,
            worker,
            workers: config.workers,
            initializer: initializer.transpose().map_err(SpawnError::kernel("a descriptor"))?,
            most_tasks: config.most_tasks,
        };
        let call = postcard::to_stdvec(&Call::new(work)?).unwrap_or_default();
        let first = codec::encode(&setup, call)?;
        let name = format!("{}-{worker}", config.name);
        let (plan, _) = Builder::new().name(name).start_method(config.method).plan(Some(first))?;
        let child = start::start(&plan)?;
        let mut state = self.core.state();
        let entered = self.enter(worker, &child, &channel);
        state.workers[worker] = Some(Worker {
            child: Arc::clone(&child),
            channel: Arc::new(channel),
            ready: false,
            started: Instant::now(),
            late: false,
            overdue: None,
        });
        let terminated = state.terminated;
        drop(state);
        if terminated || entered.is_err() {
            let _ = child.signal(libc::SIGKILL);
        }
        entered.map_err(SpawnError::kernel("a place in an epoll instance"))
    }

    fn enter(&self, worker: usize, child: &Child, channel: &Channel) -> std::io::Result<()> {
        let (pidfd, socket) = (child.as_fd().as_raw_fd(), channel.as_fd().as_raw_fd());
        epoll::add_level(&self.core.outer, pidfd, libc::EPOLLIN, KEY_WORKERS + worker as u64)?;
        epoll::add_level(&self.core.inner.as_fd(), socket, libc::EPOLLIN, worker as u64)
    }

    /// Takes in the end of a worker, and decides what becomes of what it had in its hands.
    fn bury(&mut self, worker: usize) {
        let Some(child) = self.core.state().workers[worker].as_ref().map(|it| Arc::clone(&it.child)) else {
            return;
        };
        if !child.has_ended() {
            return;
        }
        let core = Arc::clone(&self.core);
        let mut ends = Vec::new();
        let pump = core.pump.lock();
        // All that it has sent, however much: each call takes some. Of the others as well: it may have been
        // about to ring for them.
        while core.read_worker(worker, &mut ends) + core.read_boxes(&mut ends) > 0 {}
        let held = core.board.bury(worker);
        let mut state = core.state();
        let Some(dead) = state.workers[worker].take() else { return };
        epoll::remove(&core.outer, dead.child.as_fd().as_raw_fd());
        epoll::remove(&core.inner.as_fd(), dead.channel.as_fd().as_raw_fd());
        if let Some(id) = held {
            self.decide(&mut state, id, &dead, &mut ends);
        }
        core.end_if_done(&state);
        let ended = dead.child.status();
        let killed = ended.and_then(|status| status.signal()) == Some(libc::SIGKILL) && !dead.late;
        let cause = state.cause.is_empty().then(|| how(ended));
        drop(state);
        if dead.ready {
            self.due.insert(worker, Instant::now());
        } else {
            self.failed(worker, cause, killed);
        }
        core.finish_and_nudge(ends);
        drop(pump);
        core.hand_over();
    }

    /// What becomes of the task that a dead worker had.
    fn decide(&self, state: &mut State, id: u64, dead: &Worker, ends: &mut Vec<(End, Finished)>) {
        let Some(task) = state.tasks.get_mut(&id) else { return };
        let overdue = dead.overdue == Some(id);
        if !overdue && task.retries > 0 {
            task.retries -= 1;
            self.core.again(state, id);
            self.core.report(
                state,
                log::Level::Warn,
                format_args!("the task of a dead worker is tried again"),
            );
            return;
        }
        let error = match self.core.config.limit.filter(|_| overdue) {
            Some(limit) => TaskError::TimedOut(limit),
            None => {
                let status = dead.child.status();
                let (signal, code) =
                    (status.and_then(|status| status.signal()), status.and_then(|status| status.code()));
                TaskError::WorkerDied { pid: dead.child.pid, signal, code }
            }
        };
        if let Some(end) = self.core.retire(state, id) {
            ends.push((end, Finished { result: Err(error), ran_on: None }));
        }
    }

    /// Counts a worker that has not become ready: tries again after a pause, or breaks the pool.
    fn failed(&mut self, worker: usize, cause: Option<String>, may_pass: bool) {
        let mut state = self.core.state();
        if let Some(cause) = cause {
            state.cause = cause;
        }
        *(if may_pass { &mut state.kills } else { &mut state.failures }) += 1;
        let failures = state.failures + state.kills;
        let too_many = state.failures >= MOST_FAILURES || state.kills >= MOST_KILLS;
        let any_ready = state.workers.iter().flatten().any(|worker| worker.ready);
        if too_many && !any_ready && !state.terminated {
            let cause: Arc<str> = core::mem::take(&mut state.cause).into();
            let pool = Arc::clone(&self.core.config.name);
            let text = format_args!("it is broken: {failures} workers have not become ready: {cause}");
            self.core.report(&mut state, log::Level::Error, text);
            state.broken = Some(Arc::clone(&cause));
            for worker in state.workers.iter().flatten() {
                let _ = worker.child.signal(libc::SIGKILL);
            }
            drop(state);
            self.core.give_up(&TaskError::Broken { pool, cause });
            return;
        }
        drop(state);
        let pause = FIRST_PAUSE * 2u32.saturating_pow(failures.min(10) - 1);
        self.due.insert(worker, Instant::now() + pause.min(LONGEST_PAUSE));
    }
}

fn how(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("a worker was ended by {}", signal_name(signal)),
        Some((_, Some(code))) => format!("a worker exited with code {code}"),
        _ => "a worker ended".to_owned(),
    }
}
