//! A buffer and its two gates: the queue without its tasks and names.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::buffer::{Buffer, Fifo};
use super::gate::Gate;
use super::takers::{Taken, Takers};
use crate::base::backoff::Backoff;
use crate::runtime::party;

/// Why a value could not be put.
pub(crate) enum PutFailed<T> {
    Full(T),
    Closed(T),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GetFailed {
    Empty,
    Closed,
}

/// Wakes one that waits at a gate, when it is dropped: only by an unwinding.
struct WakeOne<'a>(&'a Gate);

impl Drop for WakeOne<'_> {
    fn drop(&mut self) {
        self.0.wake_one();
    }
}

/// In this order, so that the gates are away from each other and from the buffer.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Core<T, B> {
    /// Where those wait that want a value.
    pub(crate) getters: Takers<T>,
    /// Where those wait that want room.
    pub(crate) putters: Gate,
    pub(crate) buffer: B,
}

impl<T, B: Buffer<T>> Core<T, B> {
    pub(crate) const fn new(buffer: B) -> Self {
        Self { getters: Takers::new(), putters: Gate::new(), buffer }
    }

    /// Lets no more values in. True for the first caller.
    pub(crate) fn close(&self) -> bool {
        let first = self.buffer.close();
        self.getters.wake_all();
        self.putters.wake_all();
        first
    }

    #[inline]
    pub(crate) fn try_put(&self, value: T) -> Result<(), PutFailed<T>> {
        // Straight into the hands of one that waits; otherwise into the buffer, and then somebody may wait now.
        let may = || self.buffer.is_empty() && !self.buffer.is_closed();
        let Err(value) = self.getters.hand(value, may) else { return Ok(()) };
        self.push(value)?;
        self.getters.wake_one();
        Ok(())
    }

    #[inline]
    pub(crate) fn try_get(&self) -> Result<T, GetFailed> {
        if let Some(value) = self.pop() {
            self.pass_room_on();
            return Ok(value);
        }
        if !self.buffer.is_closed() {
            return Err(GetFailed::Empty);
        }
        // What was put before the close is all there now.
        self.pop().ok_or(GetFailed::Closed)
    }

    /// Puts a value into the buffer. One that was woken to do so, and unwinds, passes that on.
    #[inline]
    fn push(&self, value: T) -> Result<(), PutFailed<T>> {
        let wake = WakeOne(&self.putters);
        let pushed = self.buffer.push(value);
        core::mem::forget(wake);
        pushed
    }

    /// As `push`, for taking a value out.
    #[inline]
    fn pop(&self) -> Option<T> {
        let wake = WakeOne(self.getters.gate());
        let value = self.buffer.pop();
        core::mem::forget(wake);
        value
    }

    /// A value has left, so there is room.
    #[inline]
    fn pass_room_on(&self) {
        if self.buffer.capacity().is_some() {
            self.putters.wake_one();
        }
    }

    #[inline]
    pub(crate) fn put(&self, value: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>> {
        match self.try_put(value) {
            Err(PutFailed::Full(value)) => self.put_slow(value, deadline),
            other => other,
        }
    }

    #[cold]
    fn put_slow(&self, mut value: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>> {
        let mut backoff = Backoff::new();
        let mut in_time = true;
        while in_time {
            if has_a_moment() && backoff.snooze() {
                if self.buffer.is_full() {
                    continue;
                }
            } else {
                in_time = self.putters.wait(deadline, || !self.buffer.is_full() || self.buffer.is_closed());
            }
            match self.try_put(value) {
                Err(PutFailed::Full(back)) => value = back,
                other => return other,
            }
        }
        Err(PutFailed::Full(value))
    }

    #[inline]
    pub(crate) fn get(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        if let Some(value) = self.pop() {
            self.pass_room_on();
            return Ok(value);
        }
        self.get_slow(deadline)
    }

    #[inline(never)]
    fn get_slow(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        let mut backoff = Backoff::new();
        let mut in_time = true;
        while in_time {
            if !has_a_moment() || !backoff.snooze() {
                let ready = || !self.buffer.is_empty() || self.buffer.is_closed();
                match self.getters.wait(deadline, ready) {
                    Taken::Handed(value) => {
                        self.pass_room_on();
                        return Ok(value);
                    }
                    Taken::Look => {}
                    Taken::TimedOut => in_time = false,
                }
            }
            match self.try_get() {
                Err(GetFailed::Empty) => {}
                other => return other,
            }
        }
        Err(GetFailed::Empty)
    }

    /// Takes out all that is there.
    pub(crate) fn drain(&self) -> Vec<T> {
        self.buffer.drain()
    }
}

/// A coroutine has others to run on its worker; a thread waits a moment before it sleeps.
#[inline]
fn has_a_moment() -> bool {
    !party::is_coroutine()
}

impl<T> Core<T, Fifo<T>> {
    /// Promises room for a value that is to come; false if there is none, or no need to ask.
    pub(crate) fn promise(&self) -> bool {
        match &self.buffer {
            Fifo::Bounded(ring) => ring.promise(),
            Fifo::Unbounded(_) => false,
        }
    }

    /// Puts the value for which room was promised.
    pub(crate) fn put_promised(&self, value: T) -> Result<(), PutFailed<T>> {
        match &self.buffer {
            Fifo::Bounded(ring) => {
                ring.push_promised(value).map_err(PutFailed::Closed)?;
                self.getters.wake_one();
                // One who waits because no more promises could be counted.
                self.putters.wake_one();
                Ok(())
            }
            Fifo::Unbounded(_) => self.try_put(value),
        }
    }

    /// Gives promised room back.
    pub(crate) fn break_promise(&self) {
        if let Fifo::Bounded(ring) = &self.buffer {
            ring.break_promise();
            self.putters.wake_one();
        }
    }
}
