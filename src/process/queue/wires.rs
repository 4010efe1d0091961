//! Handles in messages: their descriptors go through a pair of sockets beside the ring.
//!
//! A message with handles carries a number that no other has, at its end; its descriptors are one packet in
//! the socket, which begins with the same number. A putter sends the packet, then publishes the record, both
//! under the putters' lock: so packets lie in the order of records. Killed in between, it leaves a packet
//! whose number no record has.
//!
//! A getter passes over packets until the number is its record's, and only looks at that one (the kernel
//! duplicates the descriptors); it gives up the record, and takes the packet away then. Killed in between, it
//! leaves a packet that the next one passes over.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{message, process};

/// Bytes of the number.
pub(super) const NUMBER: usize = size_of::<u64>();

/// The two ends; every handle of the queue has both.
#[derive(Debug)]
pub(super) struct Wires {
    putters: OwnedFd,
    getters: OwnedFd,
}

/// What came of sending descriptors.
#[derive(Debug)]
pub(super) enum Sent {
    Yes,
    /// Too many are on their way.
    NoRoom,
    Failed(io::Error),
}

impl Wires {
    pub(super) fn new() -> io::Result<Self> {
        let (putters, getters) = message::pair()?;
        Ok(Self { putters, getters })
    }

    pub(super) fn open(putters: OwnedFd, getters: OwnedFd) -> Self {
        Self { putters, getters }
    }

    pub(super) fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.putters.as_fd(), self.getters.as_fd()]
    }

    /// What the kernel calls the two sockets. No other socket has such a number as long as these live.
    pub(super) fn numbers(&self) -> [u64; 2] {
        self.ends().map(|end| process::socket_number(end).unwrap_or(0))
    }

    /// Sends the descriptors of the record with this number. Under the putters' lock.
    pub(super) fn send(&self, number: u64, fds: &[BorrowedFd<'_>]) -> Sent {
        match message::send(self.putters.as_fd(), [&number.to_ne_bytes(), &[]], fds) {
            Ok(()) => Sent::Yes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::NoRoom,
            Err(error) => Sent::Failed(error),
        }
    }

    /// Duplicates of the descriptors of the record with this number; they stay until [`taken`](Self::taken).
    /// Fewer than were sent if this process may not have so many. Under the getters' lock.
    pub(super) fn look(&self, number: u64) -> Vec<OwnedFd> {
        let mut found = [0; NUMBER];
        loop {
            let Ok(packet) = message::peek(self.getters.as_fd(), &mut found) else { return Vec::new() };
            if packet.len == NUMBER && u64::from_ne_bytes(found) == number {
                return packet.fds;
            }
            if !message::discard(self.getters.as_fd()) {
                return Vec::new();
            }
        }
    }

    /// Takes everything away. Under both locks.
    pub(super) fn drain(&self) {
        while message::discard(self.getters.as_fd()) {}
    }

    /// Takes away what the last [`look`](Self::look) has found. Under the same lock.
    pub(super) fn taken(&self) {
        message::discard(self.getters.as_fd());
    }
}
