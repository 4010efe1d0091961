//! A buffer and its two gates: the queue without its tasks and names.
#![forbid(unsafe_code)]

use std::time::Instant;

use super::buffer::Buffer;
use super::gate::Gate;

/// Looks at the buffer again before waiting; another thread may be about to change it.
const SPINS: u32 = 32;

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

#[derive(Debug)]
pub(crate) struct Core<B> {
    pub(crate) buffer: B,
    /// Where those wait that want a value.
    pub(crate) getters: Gate,
    /// Where those wait that want room.
    pub(crate) putters: Gate,
}

impl<B> Core<B> {
    pub(crate) const fn new(buffer: B) -> Self {
        Self { buffer, getters: Gate::new(), putters: Gate::new() }
    }

    /// Lets no more values in. True for the first caller.
    pub(crate) fn close<T>(&self) -> bool
    where
        B: Buffer<T>,
    {
        let first = self.buffer.close();
        self.getters.wake_all();
        self.putters.wake_all();
        first
    }

    #[inline]
    pub(crate) fn try_put<T>(&self, value: T) -> Result<(), PutFailed<T>>
    where
        B: Buffer<T>,
    {
        self.buffer.push(value)?;
        self.getters.wake_one();
        Ok(())
    }

    #[inline]
    pub(crate) fn try_get<T>(&self) -> Result<T, GetFailed>
    where
        B: Buffer<T>,
    {
        if let Some(value) = self.buffer.pop() {
            if self.buffer.capacity().is_some() {
                self.putters.wake_one();
            }
            return Ok(value);
        }
        if !self.buffer.is_closed() {
            return Err(GetFailed::Empty);
        }
        // What was put before the close is all there now.
        self.buffer.pop().ok_or(GetFailed::Closed)
    }

    pub(crate) fn put<T>(&self, mut value: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>>
    where
        B: Buffer<T>,
    {
        for _ in 0..spins() {
            match self.try_put(value) {
                Err(PutFailed::Full(back)) => value = back,
                other => return other,
            }
            core::hint::spin_loop();
        }
        let mut in_time = true;
        loop {
            match self.try_put(value) {
                Err(PutFailed::Full(back)) if in_time => value = back,
                other => return other,
            }
            in_time = self.putters.wait(deadline, || !self.buffer.is_full() || self.buffer.is_closed());
        }
    }

    pub(crate) fn get<T>(&self, deadline: Option<Instant>) -> Result<T, GetFailed>
    where
        B: Buffer<T>,
    {
        for _ in 0..spins() {
            match self.try_get() {
                Err(GetFailed::Empty) => core::hint::spin_loop(),
                other => return other,
            }
        }
        let mut in_time = true;
        loop {
            match self.try_get() {
                Err(GetFailed::Empty) if in_time => {}
                other => return other,
            }
            in_time = self.getters.wait(deadline, || !self.buffer.is_empty() || self.buffer.is_closed());
        }
    }

    /// Takes out all that is there.
    pub(crate) fn drain<T>(&self) -> Vec<T>
    where
        B: Buffer<T>,
    {
        core::iter::from_fn(|| self.buffer.pop()).collect()
    }
}

/// A coroutine has others to run on its worker; a thread waits a moment before it sleeps.
#[inline]
fn spins() -> u32 {
    if crate::runtime::is_coroutine() { 0 } else { SPINS }
}
