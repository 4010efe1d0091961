//! How results come in, and how they are waited for.
//!
//! Results are read by whoever waits for one: a wake from the worker straight to it. That party is the
//! leader, one at a time; meanwhile the outer epoll is deaf to results, and hears them again when the
//! leader leaves. The manager's thread reads them when nobody leads; so does a submitter who finds the board
//! full.
//!
//! Invariants, besides those of `core`:
//! * I3: an end that was not brought about by the leader nudges it, so it looks whether it was its own.
//! * I4: while `asleep` of the outboxes is not set, some party of this process is awake and sets it before it
//!   sleeps or leaves, and looks at the boxes after that; or the bell has been rung; or the worker that was to
//!   ring is dead, and its burial does it.
#![forbid(unsafe_code)]

use core::borrow::Borrow;
use core::mem::MaybeUninit;
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, End, KEY_INNER, KEY_NUDGE, KEY_RESULTS};
use super::error::TaskError;
use super::task::{Finished, RanOn};
use super::worker;
use crate::base::backoff::Backoff;
use crate::io::pollable::Direction;
use crate::process::call;
use crate::process::channel::Lost;
use crate::runtime;
use crate::runtime::shield::Shield;
use crate::sync::Event;
use crate::sys::epoll;

/// Messages taken from one channel before another has its turn.
const BATCH: usize = 64;

impl Core {
    /// Receives what has come on the workers' channels, and what lies in their boxes. Called with `pump` held.
    fn read(&self, ends: &mut Vec<(End, Finished)>) -> bool {
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; 16];
        let events = epoll::wait(&self.inner.as_fd(), &mut buffer, Some(Duration::ZERO)).unwrap_or(&[]);
        for event in events {
            match event.u64 {
                KEY_NUDGE => epoll::take_signal(&self.nudge),
                KEY_RESULTS => epoll::take_signal(&self.results),
                worker => drop(self.read_worker(worker as usize, ends)),
            }
        }
        // After the bell was taken: what it was rung for is seen.
        self.read_boxes(ends) > 0 || !events.is_empty()
    }

    /// Receives all there is, by another than the leader.
    pub(super) fn read_all(&self) {
        let pump = self.pump.lock();
        let mut ends = Vec::new();
        self.read(&mut ends);
        self.finish_and_nudge(ends);
        drop(pump);
    }

    /// Empties the boxes, unless somebody is about it.
    pub(super) fn help(&self) {
        let Some(pump) = self.pump.try_lock() else { return };
        let mut ends = Vec::new();
        self.read_boxes(&mut ends);
        self.finish_and_nudge(ends);
        drop(pump);
    }

    /// Empties the boxes, and tells how many results there were. Called with `pump` held.
    pub(super) fn read_boxes(&self, ends: &mut Vec<(End, Finished)>) -> usize {
        let mut replies = Vec::new();
        for worker in 0..self.config.workers {
            self.outboxes.take(worker, |id, reply| replies.push((worker, id, reply)));
        }
        if self.outboxes.take_damage() {
            let text = "the memory for results was damaged by something else than this crate";
            self.report(&mut self.state(), log::Level::Error, format_args!("{text}"));
        }
        let count = replies.len();
        if count > 0 {
            let mut state = self.state();
            for (worker, id, reply) in replies {
                let pid = state.workers[worker].as_ref().map(|it| it.child.pid);
                let ran_on = pid.map(|pid| RanOn { worker, pid });
                if let Some(end) = self.retire(&mut state, id) {
                    ends.push((end, Finished { result: Ok((reply, Vec::new())), ran_on }));
                }
            }
            self.fill(&mut state);
            self.end_if_done(&state);
        }
        count
    }

    /// Lets the bell ring from now on, for whoever sleeps, and rings it for what has come before (I4).
    pub(super) fn hand_over(&self) {
        self.outboxes.arm();
        if self.outboxes.any() {
            epoll::signal(&self.results);
        }
    }

    /// Tells whether the manager may sleep.
    pub(super) fn may_sleep(&self) -> bool {
        // SeqCst: as in `finish_and_nudge`. A leader hands over when it leaves.
        if self.led.load(Ordering::SeqCst) {
            return true;
        }
        self.board.wake_behind();
        self.outboxes.arm();
        !self.outboxes.any()
    }

    /// Receives what one worker has sent, and tells how many messages. Called with `pump` held.
    pub(super) fn read_worker(&self, worker: usize, ends: &mut Vec<(End, Finished)>) -> usize {
        let found = self.state().workers[worker].as_ref().map(|it| (Arc::clone(&it.channel), it.child.pid));
        let Some((channel, pid)) = found else { return 0 };
        let ran_on = RanOn { worker, pid };
        let mut messages = Vec::new();
        while messages.len() < BATCH {
            match channel.try_recv_or_lost() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => {
                    // Nothing more will come; its end is told by its pidfd.
                    epoll::remove(&self.inner.as_fd(), channel.as_fd().as_raw_fd());
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        self.report(
                            &mut self.state(),
                            log::Level::Error,
                            format_args!("worker {worker} (pid {pid}): {error}"),
                        );
                    }
                    break;
                }
            }
        }
        let count = messages.len();
        let mut state = self.state();
        for message in messages {
            let (mut bytes, fds) = match message {
                Ok(whole) => whole,
                Err(Lost { first, error }) => {
                    self.report(
                        &mut state,
                        log::Level::Error,
                        format_args!("worker {worker} (pid {pid}): {error}"),
                    );
                    if let Some((worker::RESULT, id, _)) = worker::parts(&first)
                        && let Some(end) = self.retire(&mut state, id)
                    {
                        ends.push((end, not_across(&error, Some(ran_on))));
                    }
                    continue;
                }
            };
            let Some((kind, id, rest)) = worker::parts(&bytes) else { continue };
            match kind {
                worker::RESULT => {
                    if let Some(end) = self.retire(&mut state, id) {
                        let head = bytes.len() - rest.len();
                        bytes.drain(..head);
                        ends.push((end, Finished { result: Ok((bytes, fds)), ran_on: Some(ran_on) }));
                    }
                }
                worker::ASK => {
                    // It has one question at a time, so there is room.
                    let refused = state.tasks.get(&id).and_then(|task| {
                        let borrowed: Vec<_> = task.fds.iter().map(AsFd::as_fd).collect();
                        channel.send(&task.arguments, &borrowed, None).err()
                    });
                    // A death is told elsewhere.
                    if let Some(error) = refused.filter(|error| error.kind() != io::ErrorKind::BrokenPipe) {
                        let _ = channel.send(worker::REFUSED, &[], None);
                        if let Some(end) = self.retire(&mut state, id) {
                            ends.push((end, not_across(&error, None)));
                        }
                    }
                }
                worker::READY => {
                    (state.failures, state.kills) = (0, 0);
                    state.cause.clear();
                    if let Some(it) = &mut state.workers[worker] {
                        it.ready = true;
                    }
                }
                _ => state.cause = describe_failure(rest),
            }
        }
        self.fill(&mut state);
        self.end_if_done(&state);
        count
    }

    /// Brings ends to where they go. Called without the lock of the state.
    pub(super) fn finish(&self, ends: Vec<(End, Finished)>) {
        let mut callbacks = Vec::new();
        for (end, finished) in ends {
            match end {
                End::Slot(slot) => {
                    if let Err(finished) = slot.finish_quietly(finished) {
                        callbacks.push((End::Slot(slot), finished));
                    }
                }
                End::Quick(f) => f(finished),
                End::Callback(_) => callbacks.push((end, finished)),
            }
        }
        if !callbacks.is_empty() {
            self.state().callbacks.append(&mut callbacks);
            epoll::signal(&self.bell);
        }
    }

    /// As [`finish`](Self::finish), by another than the leader.
    pub(super) fn finish_and_nudge(&self, ends: Vec<(End, Finished)>) {
        let any = !ends.is_empty();
        self.finish(ends);
        if any {
            self.nudge();
        }
    }

    /// Lets the leader look whether what has ended was its own.
    pub(super) fn nudge(&self) {
        fence(Ordering::SeqCst);
        // SeqCst: the leader says that it leads before it looks at its event (I3).
        if self.led.load(Ordering::SeqCst) {
            epoll::signal(&self.nudge);
        }
    }

    /// Has workers ring for each result, until what this gives is dropped.
    pub(super) fn want<C: Borrow<Self> + Clone>(core: &C) -> Wanted<C> {
        core.borrow().outboxes.want();
        Wanted(core.clone())
    }

    /// Waits for the end of a task; false if the deadline came first. A cancellation point.
    pub(super) fn wait_for(&self, done: &Event, deadline: Option<Instant>) -> bool {
        if done.is_set() {
            return true;
        }
        let _wanted = Self::want(&self);
        // SeqCst: as in `finish_and_nudge`.
        if !self.led.swap(true, Ordering::SeqCst) {
            fence(Ordering::SeqCst);
            let mut lead = Lead::new(self);
            let waited = lead.wait(done, deadline);
            drop(lead);
            match waited {
                Ok(()) => return done.is_set(),
                Err(error) => {
                    self.report(
                        &mut self.state(),
                        log::Level::Error,
                        format_args!("results cannot be waited for: {error}"),
                    );
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
}

fn not_across(error: &io::Error, ran_on: Option<RanOn>) -> Finished {
    Finished { result: Err(TaskError::Transfer(error.to_string())), ran_on }
}

fn describe_failure(reply: &[u8]) -> String {
    match call::read_reply::<()>(reply, Vec::new()) {
        Ok(Err(failure)) => TaskError::from(failure).to_string().replace("the task", "the initialiser"),
        _ => "the initialiser failed".to_owned(),
    }
}

/// Has workers ring for each result, until dropped.
pub(super) struct Wanted<C: Borrow<Core>>(C);

impl<C: Borrow<Core>> Drop for Wanted<C> {
    fn drop(&mut self) {
        self.0.borrow().outboxes.unwant();
    }
}

/// Leads until dropped: results come to this party and not to the manager.
struct Lead<'a> {
    core: &'a Core,
    /// The outer epoll is deaf to results.
    deaf: bool,
}

/// Looks at the boxes until the channels are looked at as well, however many results lie in the boxes.
const LOOKS: u32 = 16;

impl<'a> Lead<'a> {
    fn new(core: &'a Core) -> Self {
        Self { core, deaf: false }
    }

    /// Reads results until one is there, or the deadline has come.
    fn wait(&mut self, done: &Event, deadline: Option<Instant>) -> io::Result<()> {
        let core = self.core;
        let mut backoff = Backoff::new();
        core.outboxes.disarm();
        for look in 1u32.. {
            if self.read(look % LOOKS == 0) {
                backoff = Backoff::new();
            }
            if done.is_set() {
                break;
            }
            // A coroutine has others to run on its worker.
            if !runtime::is_coroutine() && backoff.snooze() {
                continue;
            }
            if !core::mem::replace(&mut self.deaf, true) {
                epoll::modify(&core.outer, core.inner.as_fd().as_raw_fd(), 0, KEY_INNER);
            }
            core.board.wake_behind();
            core.outboxes.arm();
            if core.outboxes.any() {
                continue;
            }
            let woken = core.inner.run(Direction::Read, deadline, |_| {
                if self.read(true) || done.is_set() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            if woken?.is_none() {
                break;
            }
            core.outboxes.disarm();
            backoff = Backoff::new();
        }
        Ok(())
    }

    /// Receives what there is: in the boxes, and, if `all`, on the channels.
    fn read(&self, all: bool) -> bool {
        let _shield = Shield::new();
        let pump = self.core.pump.lock();
        let mut ends = Vec::new();
        let some = if all { self.core.read(&mut ends) } else { self.core.read_boxes(&mut ends) > 0 };
        self.core.finish(ends);
        drop(pump);
        some
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if self.deaf {
            // What has come meanwhile is reported to the manager now.
            let inner = self.core.inner.as_fd().as_raw_fd();
            epoll::modify(&self.core.outer, inner, libc::EPOLLIN, KEY_INNER);
        }
        self.core.led.store(false, Ordering::SeqCst);
        self.core.hand_over();
    }
}
