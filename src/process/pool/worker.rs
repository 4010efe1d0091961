//! The life of a worker: it takes tasks from the board, one after another.
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::outbox::Outboxes;
use super::ring::{ASKED, Board};
use crate::process::Fd;
use crate::process::call::{self, Call};
use crate::process::channel::{Channel, Lost, Message};
use crate::process::error::Failure;
use crate::sys::epoll;

/// First byte of a worker's messages to its parent.
pub(super) const RESULT: u8 = 0;
/// The arguments of a task are asked for.
pub(super) const ASK: u8 = 1;
/// The initialiser has returned.
pub(super) const READY: u8 = 2;
/// The initialiser has failed; its reply follows.
pub(super) const FAILED: u8 = 3;

/// In the place of arguments that cannot be sent. Those that are asked for are longer, or have descriptors.
pub(super) const REFUSED: &[u8] = &[];

/// What a worker is started with.
#[derive(Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) channel: Fd,
    pub(super) board: Fd,
    pub(super) outboxes: Fd,
    pub(super) bell: Fd,
    pub(super) worker: usize,
    pub(super) workers: usize,
    /// The handles among its arguments come last.
    pub(super) initializer: Option<(Call, Vec<u8>, Vec<Fd>)>,
    pub(super) most_tasks: Option<u64>,
}

/// A message: its kind, the task, and the rest.
pub(super) fn message(kind: u8, id: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + rest.len());
    bytes.push(kind);
    bytes.extend(id.to_le_bytes());
    bytes.extend(rest);
    bytes
}

/// The parts of such a message.
pub(super) fn parts(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (head, rest) = bytes.split_at_checked(9)?;
    Some((head[0], u64::from_le_bytes(head[1..].try_into().ok()?), rest))
}

/// What a worker shares with its parent.
struct Worker {
    number: usize,
    channel: Channel,
    board: Board,
    outboxes: Outboxes,
    bell: OwnedFd,
}

/// The function that the worker's process runs. It returns when the pool ends, or has no use for it.
pub(super) fn work(setup: Setup) {
    let channel = Channel::from(OwnedFd::from(setup.channel));
    let mapped = Board::open(setup.board.into(), setup.workers)
        .and_then(|board| Ok((board, Outboxes::open(setup.outboxes.into(), setup.workers)?)));
    let (board, outboxes) = match mapped {
        Ok(mapped) => mapped,
        Err(error) => {
            let text = format!("the memory of the pool cannot be mapped: {error}");
            let (reply, _) = call::reply(Err(Failure::SetUp(text)));
            let _ = channel.send(&message(FAILED, 0, &reply), &[], None);
            return;
        }
    };
    if let Some((initializer, arguments, fds)) = setup.initializer {
        let (reply, _) = initializer.make(&arguments, fds.into_iter().map(OwnedFd::from).collect());
        if !call::is_value(&reply) {
            let _ = channel.send(&message(FAILED, 0, &reply), &[], None);
            return;
        }
    }
    if channel.send(&message(READY, 0, &[]), &[], None).is_err() {
        return;
    }
    Worker { number: setup.worker, channel, board, outboxes, bell: setup.bell.into() }.run(setup.most_tasks);
}

impl Worker {
    fn run(&self, most_tasks: Option<u64>) {
        let mut done = 0;
        while most_tasks.is_none_or(|most| done < most) {
            let Some(task) = self.board.take(self.number) else {
                if self.board.is_ending() {
                    break;
                }
                if !self.board.wait_a_moment(self.number) {
                    self.ring(true);
                    self.board.sleep(self.number);
                }
                continue;
            };
            let reply = match task.len {
                ASKED => match ask(&self.channel, task.id) {
                    Some(Ok((arguments, fds))) if arguments == REFUSED && fds.is_empty() => {
                        self.board.post(self.number).done(task.id);
                        continue;
                    }
                    Some(Ok((arguments, fds))) => task.call.make(&arguments, fds),
                    Some(Err(lost)) => call::reply(Err(Failure::Transfer(lost.error.to_string()))),
                    // The parent has gone, or has no use for the task any more.
                    None => break,
                },
                len => task.call.make(&task.bytes[..len as usize], Vec::new()),
            };
            if self.answer(task.id, &reply).is_none() {
                break;
            }
            self.board.post(self.number).done(task.id);
            done += 1;
        }
        self.ring(true);
    }

    /// Wakes the parent if it is to know now: of a reply, or that there is nothing to do.
    fn ring(&self, idle: bool) {
        if self.outboxes.must_ring(self.number, idle) {
            epoll::signal(&self.bell);
        }
    }

    /// Hands a reply over; one that cannot be sent is replaced by the reason.
    fn answer(&self, id: u64, (reply, fds): &Message) -> Option<()> {
        if fds.is_empty() && self.outboxes.put(self.number, id, reply) {
            self.ring(false);
            return Some(());
        }
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let error = match self.channel.send(&message(RESULT, id, reply), &borrowed, None) {
            Ok(sent) => return sent,
            Err(error) => error,
        };
        let (reply, _) = call::reply(Err(Failure::Encode(error.to_string())));
        self.channel.send(&message(RESULT, id, &reply), &[], None).ok()?
    }
}

/// The arguments of a task; `None` if the parent has gone.
fn ask(channel: &Channel, id: u64) -> Option<Result<Message, Lost>> {
    channel.send(&message(ASK, id, &[]), &[], None).ok()?;
    channel.recv_or_lost(None).ok()?
}
