//! How `recv`, `send` and their kin wait: sockets are tried with `MSG_DONTWAIT`.
//!
//! Both directions move data in the same way: one try, and, where the kernel's own call would go on, more of them until
//! enough has moved. What was moved counts; an error after that is told by the next call. The kernel's call goes on
//! * on a stream that is written to, until all has gone,
//! * on a stream that is read with `MSG_WAITALL`, until the buffer is full, or with `SO_RCVLOWAT`, until that many bytes
//!   have come; but not beyond passed descriptors, nor beyond the urgent mark,
//! * with a list of messages, until all have gone or come, or the time is over.
#![forbid(unsafe_code)]

use core::cell::Cell;
use std::time::Instant;

use libc::{c_int, c_uint, timespec};

use super::errno::raw;
use super::slot::{Kind, Known, known};
use super::symbols::Symbol;
use super::time::timespec_of;
use super::turn;
use super::wait::{Attempt, Direction, enough, is_nonblocking};
use crate::runtime::source;

/// A call on messages: what it counts as, and which way data goes.
#[derive(Clone, Copy)]
pub(super) struct MessageCall(pub(super) Symbol, pub(super) Direction);

/// Notes that a call may take an urgent byte: then no event tells of the mark that it leaves.
#[inline]
pub(super) fn note_urgent(direction: Direction, flags: c_int) {
    if direction == Direction::Read && flags & libc::MSG_OOB != 0 {
        source::doubt_short_reads();
    }
}

impl MessageCall {
    /// The descriptor, if a call with these flags may wait.
    fn may_wait(self, fd: c_int, flags: c_int) -> Option<Known> {
        // A byte out of band is there or not; one that is sent may have to wait.
        let urgent = if self.1 == Direction::Read { libc::MSG_OOB } else { 0 };
        if flags & (libc::MSG_DONTWAIT | libc::MSG_ERRQUEUE | urgent) != 0 { None } else { known(fd) }
    }

    /// Moves data with `call`, which is given how much went before, and the flags.
    pub(super) fn run(
        self,
        way: (c_int, c_int),
        total: usize,
        call: impl Fn(usize, c_int) -> isize,
    ) -> isize {
        self.run_until(way, total, &Cell::new(false), call)
    }

    /// As [`run`](Self::run). `ends` is set by `call` if nothing more may be moved after what it has moved.
    pub(super) fn run_until(
        self,
        way: (c_int, c_int),
        total: usize,
        ends: &Cell<bool>,
        call: impl Fn(usize, c_int) -> isize,
    ) -> isize {
        let answer = self.transfer(way, total, ends, call);
        // A look takes nothing: code that waits for more looks again and again.
        if answer > 0 && way.1 & libc::MSG_PEEK != 0 { turn::in_vain(self.0, answer) } else { answer }
    }

    fn transfer(
        self,
        (fd, flags): (c_int, c_int),
        total: usize,
        ends: &Cell<bool>,
        call: impl Fn(usize, c_int) -> isize,
    ) -> isize {
        note_urgent(self.1, flags);
        let Some(known) = self.may_wait(fd, flags) else { return call(0, flags) };
        let Self(symbol, direction) = self;
        let mut attempt = Attempt::new(symbol, known, direction);
        let peeks = flags & libc::MSG_PEEK != 0;
        let wanted = match direction {
            Direction::Read => enough(known, flags & libc::MSG_WAITALL != 0, total),
            // Only streams send a part.
            Direction::Write => total,
        };
        let tried = flags | libc::MSG_DONTWAIT;
        if wanted > 0 && peeks && direction == Direction::Read {
            return peek_all(&mut attempt, wanted, ends, || call(0, tried));
        }
        // On TCP alone a short answer says that there is no more.
        let concludes = direction == Direction::Read && !peeks && known.kind() == Kind::Tcp;
        let room = |left: usize| concludes.then_some(left);
        let mut done = attempt.run(room(total), || call(0, tried));
        if direction == Direction::Write {
            done = attempt.finish_connect(done, || call(0, tried & !libc::MSG_FASTOPEN));
        }
        // The signal of a broken pipe is the next call's, as the error is.
        let again = match direction {
            Direction::Read => tried,
            Direction::Write => (tried | libc::MSG_NOSIGNAL) & !libc::MSG_FASTOPEN,
        };
        while done > 0 && done.unsigned_abs() < wanted && !ends.get() && is_nonblocking(known) == Ok(false) {
            let before = done.unsigned_abs();
            match attempt.run_on(room(total - before), || call(before, again)) {
                more if more > 0 => done += more,
                _ => break,
            }
        }
        done
    }

    /// Moves a list of messages: `one` moves the message with a number, `many` as many as go without waiting, from a
    /// number on. Until all have gone, or, with `MSG_WAITFORONE`, the first has. As with the kernel's own, the time
    /// limit is looked at between messages only; what was left of it after the last one is in `left`.
    pub(super) fn batches(
        self,
        (fd, flags): (c_int, c_int),
        count: c_uint,
        (until, left): (Option<Instant>, &mut timespec),
        one: impl Fn(c_uint, c_int) -> isize,
        many: impl Fn(c_uint, c_int, *mut timespec) -> isize,
    ) -> isize {
        note_urgent(self.1, flags);
        let mut limit = |until: Option<Instant>| {
            let Some(until) = until else { return core::ptr::null_mut() };
            *left = timespec_of(until.saturating_duration_since(Instant::now()));
            &raw mut *left
        };
        let Some(known) = self.may_wait(fd, flags) else { return many(0, flags, limit(until)) };
        let mut attempt = Attempt::new(self.0, known, self.1);
        let waits_for_one = flags & libc::MSG_WAITFORONE != 0;
        // A stream moves messages in parts, so each is seen to its end.
        let is_stream = known.kind().is_stream_socket();
        let mut done: c_uint = 0;
        loop {
            let moved = if is_stream {
                let later = if waits_for_one && done > 0 { libc::MSG_DONTWAIT } else { 0 };
                one(done, flags & !libc::MSG_WAITFORONE | later)
            } else {
                attempt.run(None, || many(done, flags | libc::MSG_DONTWAIT, limit(until)))
            };
            if moved < 0 {
                return if done > 0 { done as isize } else { moved };
            }
            done += if is_stream { 1 } else { moved as c_uint };
            limit(until);
            let over = until.is_some_and(|until| Instant::now() >= until);
            let polls = is_nonblocking(known) != Ok(false);
            if done >= count || over || (!is_stream && (waits_for_one || polls || moved == 0)) {
                return done as isize;
            }
        }
    }
}

/// Peeks until as much is there as was asked for: nothing is taken, so each look begins anew.
fn peek_all(attempt: &mut Attempt, wanted: usize, ends: &Cell<bool>, look: impl Fn() -> isize) -> isize {
    let mut seen = 0;
    let answer = attempt.run(None, || match look() {
        part if part > seen && part.unsigned_abs() < wanted && !ends.get() => {
            seen = part;
            raw(libc::EAGAIN)
        }
        // Nothing came since: the peer has ended, or there is an error.
        answer => answer,
    });
    if answer < 0 && seen > 0 { seen } else { answer }
}
