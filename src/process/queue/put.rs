//! Putting bytes: lock, look for room, copy, publish; or wait for room.

use core::sync::atomic::Ordering;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::body::{FILLED, PUT_LOCK, ROOM};
use super::core::{Core, Limit};
use super::cursor::{Cursor, UNIT};
use super::record;
use super::wires::Sent;
use crate::runtime::shield::Shield;
use crate::shm::event::{Baton, notify_all, notify_one};

/// Why bytes were not put.
#[derive(Debug)]
pub(super) enum NotPut {
    Full,
    Closed,
    TooLarge,
    /// The descriptors could not be sent.
    Handles(io::Error),
}

/// What is put: bytes of one kind, and descriptors with their number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parcel<'a> {
    pub(super) kind: u32,
    pub(super) bytes: &'a [u8],
    pub(super) handles: Option<(u64, &'a [BorrowedFd<'a>])>,
}

impl Core {
    /// The most bytes of one message.
    pub(super) fn longest(&self) -> usize {
        (self.object.ring_len() - UNIT).min(u32::MAX as usize)
    }

    /// Puts a record of one kind. A cancellation point if it has to wait; then nothing was put.
    #[inline]
    pub(super) fn put(&self, parcel: Parcel<'_>, limit: Limit) -> Result<(), NotPut> {
        if parcel.bytes.len() > self.longest() {
            return Err(NotPut::TooLarge);
        }
        match self.try_put(parcel, limit) {
            Err(NotPut::Full) if !limit.is_try() => self.put_slow(parcel, limit.deadline()),
            other => other,
        }
    }

    /// A number for the descriptors of a message.
    pub(super) fn next_number(&self) -> u64 {
        // Relaxed: nothing rides on it, but that no two are alike.
        self.object.body().numbers.fetch_add(1, Ordering::Relaxed)
    }

    #[cold]
    fn put_slow(&self, parcel: Parcel<'_>, deadline: Option<Instant>) -> Result<(), NotPut> {
        let units = record::units(parcel.bytes.len());
        self.spin(|| self.has_room(units));
        let mut in_time = true;
        let baton = Baton::new(self.event(ROOM), || self.has_room(units));
        loop {
            // Before the attempt: room that comes after it ends the sleep.
            let key = self.event(ROOM).prepare();
            match self.try_put(parcel, Limit::Until(deadline)) {
                Err(NotPut::Full) if in_time => in_time = self.object.wait(ROOM, key, deadline),
                Ok(()) => {
                    baton.keep();
                    return Ok(());
                }
                other => return other,
            }
        }
    }

    /// Tells whether a record fits now; another putter may be quicker.
    pub(super) fn has_room(&self, units: u64) -> bool {
        let body = self.object.body();
        let head = body.head();
        self.fits(body.tail(), head, units)
    }

    #[inline]
    fn fits(&self, tail: Cursor, head: Cursor, units: u64) -> bool {
        let ring = (self.object.ring_len() / UNIT) as u64;
        tail.messages_since(head) < self.capacity as u64
            && ring.checked_sub(tail.units_since(head)).is_some_and(|free| units <= free)
    }

    #[inline]
    fn try_put(&self, parcel: Parcel<'_>, limit: Limit) -> Result<(), NotPut> {
        let body = self.object.body();
        let putters = &body.putters;
        {
            // A holder that was killed has left nothing to repair (Q2).
            let _held = self.lock(&putters.lock, PUT_LOCK, limit).ok_or(NotPut::Full)?;
            if body.is_closed() {
                return Err(NotPut::Closed);
            }
            let units = record::units(parcel.bytes.len());
            // Relaxed: only holders of this lock write them.
            let tail = Cursor(putters.tail.tail.load(Ordering::Relaxed));
            if !self.fits(tail, Cursor(putters.head_seen.load(Ordering::Relaxed)), units) {
                let head = body.head();
                putters.head_seen.store(head.0, Ordering::Relaxed);
                if !self.fits(tail, head, units) {
                    return Err(NotPut::Full);
                }
            }
            if let Some((number, fds)) = parcel.handles {
                let mut sent = self.wires.send(number, fds);
                if matches!(sent, Sent::NoRoom) && body.len() == 0 {
                    // What is on the way belongs to no record: its senders were killed.
                    self.drain_wires();
                    sent = self.wires.send(number, fds);
                }
                match sent {
                    Sent::Yes => {}
                    Sent::NoRoom => return Err(NotPut::Full),
                    Sent::Failed(error) => return Err(NotPut::Handles(error)),
                }
            }
            // SAFETY: the lock is held, and the record fits.
            unsafe { record::write(&self.object, tail, parcel.kind, parcel.bytes) };
            body.advance_tail(tail, units);
        }
        notify_one(self.event(FILLED));
        Ok(())
    }

    /// Lets nothing more in.
    pub(super) fn close(&self) {
        let body = self.object.body();
        let _shield = Shield::new();
        {
            // Under the lock: whoever sees it closed sees all that was put.
            let _held = self.lock(&body.putters.lock, PUT_LOCK, Limit::Until(None));
            // Release pairs with the Acquire in `is_closed`.
            body.putters.tail.closed.store(1, Ordering::Release);
        }
        notify_all(self.event(FILLED));
        notify_all(self.event(ROOM));
    }
}
