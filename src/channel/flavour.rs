//! What lies behind a sender and a receiver.
#![forbid(unsafe_code)]

use core::sync::atomic::AtomicUsize;
use core::time::Duration;
use std::time::Instant;

use super::zero::{When, Zero};
use crate::base::lock::Lock;
use crate::queue::buffer::{Buffer, Fifo};
use crate::queue::core::{Core, GetFailed, PutFailed};
use crate::runtime;

/// A channel that both ends share; counts the ends.
#[derive(Debug)]
pub(super) struct Shared<T> {
    pub(super) kind: Kind<T>,
    pub(super) senders: AtomicUsize,
    pub(super) receivers: AtomicUsize,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a channel is allocated once, and lives in one place")]
pub(super) enum Kind<T> {
    Buffered(Core<T, Fifo<T>>),
    Zero(Zero<T>),
}

impl<T> Shared<T> {
    pub(super) fn new(capacity: Option<usize>) -> Self {
        let kind = match capacity {
            Some(0) => Kind::Zero(Zero::new()),
            capacity => Kind::Buffered(Core::new(Fifo::new(capacity))),
        };
        Self { kind, senders: AtomicUsize::new(1), receivers: AtomicUsize::new(1) }
    }

    /// One side has gone. If the receivers have, nobody will take what is left.
    pub(super) fn disconnect(&self, by_receivers: bool) {
        match &self.kind {
            Kind::Zero(zero) => {
                zero.close();
            }
            Kind::Buffered(core) => {
                core.close();
                if by_receivers {
                    discard(core);
                }
            }
        }
    }

    #[inline]
    pub(super) fn try_send(&self, message: T) -> Result<(), PutFailed<T>> {
        match &self.kind {
            Kind::Buffered(core) => core.try_put(message),
            Kind::Zero(zero) => zero.try_send(message),
        }
    }

    #[inline]
    pub(super) fn send(&self, message: T, deadline: Option<Instant>) -> Result<(), PutFailed<T>> {
        match &self.kind {
            Kind::Buffered(core) => core.put(message, deadline),
            Kind::Zero(zero) => zero.send(message, deadline),
        }
    }

    #[inline]
    pub(super) fn try_recv(&self) -> Result<T, GetFailed> {
        match &self.kind {
            Kind::Buffered(core) => core.try_get(),
            Kind::Zero(zero) => zero.try_recv(),
        }
    }

    /// As `try_recv`, for a select that goes on to wait until then.
    pub(super) fn look(&self, when: When) -> Result<T, GetFailed> {
        match &self.kind {
            Kind::Buffered(core) => core.try_get(),
            Kind::Zero(zero) => zero.look(when),
        }
    }

    #[inline(always)]
    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<T, GetFailed> {
        match &self.kind {
            Kind::Buffered(core) => core.get(deadline),
            Kind::Zero(zero) => zero.recv(deadline),
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.kind {
            Kind::Buffered(core) => core.buffer.len(),
            Kind::Zero(_) => 0,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match &self.kind {
            Kind::Buffered(core) => core.buffer.is_full(),
            Kind::Zero(_) => true,
        }
    }

    pub(super) fn capacity(&self) -> Option<usize> {
        match &self.kind {
            Kind::Buffered(core) => core.buffer.capacity(),
            Kind::Zero(_) => Some(0),
        }
    }
}

impl<T> Shared<T> {
    /// Tells whether a receive would end at once.
    pub(super) fn can_recv(&self) -> bool {
        match &self.kind {
            Kind::Buffered(core) => !core.buffer.is_empty() || core.buffer.is_closed(),
            Kind::Zero(zero) => zero.can_recv(),
        }
    }

    /// Tells whether a send would end at once.
    pub(super) fn can_send(&self) -> bool {
        match &self.kind {
            Kind::Buffered(core) => !core.buffer.is_full() || core.buffer.is_closed(),
            Kind::Zero(zero) => zero.can_send(),
        }
    }
}

/// Drops what nobody will receive. If a message panics in its destructor, the rest is leaked, as with
/// crossbeam: there is nobody to whom a second panic could go.
fn discard<T>(core: &Core<T, Fifo<T>>) {
    struct Rest<'a, T>(&'a Core<T, Fifo<T>>);
    impl<T> Drop for Rest<'_, T> {
        fn drop(&mut self) {
            while let Some(message) = self.0.buffer.pop() {
                core::mem::forget(message);
            }
        }
    }
    let rest = Rest(core);
    while let Some(message) = rest.0.buffer.pop() {
        drop(message);
    }
}

/// A channel that a clock sends on: one message, or one every period. No thread, no timer of its own:
/// whoever receives waits until the time has come.
#[derive(Debug)]
pub(super) struct Clock {
    next: Lock<Option<Instant>>,
    /// `None`: only once.
    period: Option<Duration>,
}

impl Clock {
    pub(super) fn once(at: Option<Instant>) -> Self {
        Self { next: Lock::new(at), period: None }
    }

    pub(super) fn every(period: Duration) -> Self {
        let first = Instant::now().checked_add(period);
        Self { next: Lock::new(first), period: Some(period) }
    }

    /// When the next message comes; `None` for never.
    pub(super) fn next(&self) -> Option<Instant> {
        *self.next.lock()
    }

    /// Takes the message if its time has come.
    pub(super) fn try_take(&self) -> Option<Instant> {
        let mut next = self.next.lock();
        let due = (*next)?;
        let now = Instant::now();
        if due > now {
            return None;
        }
        // A receiver that comes late gets one message for all the periods it has missed.
        *next = self.period.and_then(|period| now.checked_add(period));
        Some(due)
    }

    pub(super) fn recv(&self, deadline: Option<Instant>) -> Result<Instant, GetFailed> {
        loop {
            if let Some(message) = self.try_take() {
                return Ok(message);
            }
            let due = self.next();
            match (due, deadline) {
                (_, Some(deadline)) if deadline <= Instant::now() => return Err(GetFailed::Empty),
                (Some(due), Some(deadline)) => runtime::sleep_until(due.min(deadline)),
                (Some(at), None) | (None, Some(at)) => runtime::sleep_until(at),
                // Nothing will ever come: as with crossbeam, this waits for ever.
                (None, None) => runtime::sleep(Duration::MAX),
            }
        }
    }
}
