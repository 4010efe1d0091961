//! How results come in, and how they are waited for.
//!
//! Results are read by whoever waits for one: a wake from the worker straight to it. That party is the
//! leader, one at a time; meanwhile the outer epoll is deaf to results, and hears them again when the
//! leader leaves. The manager's thread reads them when nobody leads.
//!
//! Invariant, besides those of `core`:
//! * I3: an end that was not brought about by the leader nudges it, so it looks whether it was its own.
#![forbid(unsafe_code)]

use core::mem::MaybeUninit;
use core::sync::atomic::{Ordering, fence};
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Instant;

use super::core::{Core, End, KEY_INNER, KEY_NUDGE};
use super::task::{Finished, RanOn, TaskError};
use super::worker;
use crate::io::pollable::Direction;
use crate::process::call;
use crate::process::channel::Lost;
use crate::runtime::shield::Shield;
use crate::sync::Event;
use crate::sys::epoll;

/// Messages taken from one channel before another has its turn.
const BATCH: usize = 64;

impl Core {
    /// Receives what the workers have sent, and ends those tasks. False if there was nothing.
    pub(super) fn read_results(&self) -> bool {
        let pump = self.pump.lock();
        let mut buffer = [const { MaybeUninit::<epoll::Event>::uninit() }; 16];
        let Ok(events) = epoll::wait(&self.inner.as_fd(), &mut buffer, Some(Duration::ZERO)) else {
            return false;
        };
        let keys: Vec<u64> = events.iter().map(|event| event.u64).collect();
        let mut ends = Vec::new();
        for key in &keys {
            if *key == KEY_NUDGE {
                epoll::take_signal(&self.nudge);
            } else {
                self.read_worker(*key as usize, &mut ends);
            }
        }
        self.finish(ends);
        drop(pump);
        !keys.is_empty()
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
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        log::error!("pool '{}': worker {worker} (pid {pid}): {error}", self.config.name);
                    }
                    // Nothing more will come; its end is told by its pidfd.
                    epoll::remove(&self.inner.as_fd(), channel.as_fd().as_raw_fd());
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
                    log::error!("pool '{}': worker {worker} (pid {pid}): {error}", self.config.name);
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
                End::Slot(slot) => slot.finish(finished),
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
        fence(Ordering::SeqCst);
        // SeqCst: the leader says that it leads before it looks at its event (I3).
        if any && self.led.load(Ordering::SeqCst) {
            epoll::signal(&self.nudge);
        }
    }

    /// Waits for the end of a task; false if the deadline came first. A cancellation point.
    pub(super) fn wait_for(&self, done: &Event, deadline: Option<Instant>) -> bool {
        if done.is_set() {
            return true;
        }
        // SeqCst: as in `finish_and_nudge`.
        if !self.led.swap(true, Ordering::SeqCst) {
            fence(Ordering::SeqCst);
            let lead = Lead::new(self);
            let waited = self.inner.run(Direction::Read, deadline, |_| {
                let _shield = Shield::new();
                while !done.is_set() && self.read_results() {}
                if done.is_set() { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            });
            drop(lead);
            match waited {
                Ok(ended) => return ended.is_some(),
                Err(error) => log::error!("pool '{}' cannot wait for results: {error}", self.config.name),
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

/// Leads until dropped: results come to this party and not to the manager.
struct Lead<'a>(&'a Core);

impl<'a> Lead<'a> {
    fn new(core: &'a Core) -> Self {
        epoll::modify(&core.outer, core.inner.as_fd().as_raw_fd(), 0, KEY_INNER);
        Self(core)
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // What has come meanwhile is reported to the manager now.
        epoll::modify(&self.0.outer, self.0.inner.as_fd().as_raw_fd(), libc::EPOLLIN, KEY_INNER);
        self.0.led.store(false, Ordering::SeqCst);
    }
}
