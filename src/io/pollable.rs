//! A descriptor that both kinds of party wait for in their own way.
//!
//! A plain thread sleeps in the kernel's `poll` itself, so that one wake brings it back. A coroutine waits
//! at its worker's reactor; the descriptor is registered there when a coroutine first waits for it.
//!
//! The calls must not block by themselves (`MSG_DONTWAIT`, `WNOHANG`): the descriptor may be shared with
//! other processes, so it is never made non-blocking.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Instant;

use crate::runtime::park;
pub(crate) use crate::runtime::source::Direction;
use crate::runtime::source::{self, Source};
use crate::sys::poll;

/// A descriptor, and its place in a reactor once a coroutine has waited for it.
///
/// The source is declared first: it leaves the reactor before the descriptor is closed.
#[derive(Debug)]
pub(crate) struct Pollable {
    source: OnceLock<Source>,
    fd: OwnedFd,
}

impl From<OwnedFd> for Pollable {
    fn from(fd: OwnedFd) -> Self {
        Self { source: OnceLock::new(), fd }
    }
}

impl AsFd for Pollable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Pollable {
    fn source(&self) -> io::Result<&Source> {
        if self.source.get().is_none() {
            // Another party may be quicker; then this one leaves the reactor again.
            let _ = self.source.set(Source::new(self.fd.as_raw_fd())?);
        }
        self.source.get().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Makes the call once; `None` if it would have to wait. Never waits.
    pub(crate) fn attempt<R>(
        &self,
        direction: Direction,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<Option<R>> {
        // What the source knows counts for coroutines only: they are who keeps it registered.
        let source = if crate::runtime::is_coroutine() { Some(self.source()?) } else { None };
        let seen = match source.map(|source| source.ready(direction)) {
            Some(None) => return Ok(None),
            Some(seen) => seen,
            None => None,
        };
        loop {
            match call(self.fd.as_fd()) {
                Ok(result) => return Ok(Some(result)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let (Some(source), Some(seen)) = (source, seen) {
                        source.exhausted(direction, seen);
                    }
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the call until it does not want to wait any more; `None` if the deadline came first. A
    /// cancellation point if it has to wait.
    pub(crate) fn run<R>(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
        mut call: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<Option<R>> {
        loop {
            if let Some(result) = self.attempt(direction, &mut call)? {
                return Ok(Some(result));
            }
            if !wait_any(&[(self, direction)], deadline)? {
                return self.attempt(direction, &mut call);
            }
        }
    }
}

/// Waits until one of them may be ready; false if the deadline came first. A cancellation point.
pub(crate) fn wait_any(wanted: &[(&Pollable, Direction)], deadline: Option<Instant>) -> io::Result<bool> {
    if crate::runtime::is_coroutine() {
        let sources = wanted.iter().map(|(pollable, direction)| Ok((pollable.source()?, *direction)));
        return source::wait_any(&sources.collect::<io::Result<Vec<_>>>()?, deadline);
    }
    let scope = park::scope_deadline();
    let until = [scope, deadline].into_iter().flatten().min();
    let mut polled: Vec<_> = wanted
        .iter()
        .map(|(pollable, direction)| {
            let events = if *direction == Direction::Read { libc::POLLIN } else { libc::POLLOUT };
            poll::want(pollable.fd.as_fd(), events)
        })
        .collect();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match poll::wait(&mut polled, left) {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(false);
        }
        if scope.is_some_and(|scope| scope <= now) {
            park::raise_cancelled();
        }
    }
}
