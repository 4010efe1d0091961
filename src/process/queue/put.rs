//! Putting bytes: lock, look for room, copy, publish; or wait for room.

use core::sync::atomic::Ordering;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::body::{Body, FILLED, PUT_LOCK, ROOM};
use super::core::{Core, Limit};
use super::cursor::{Cursor, UNIT};
use super::record;
use super::wires::Sent;
use crate::runtime::shield::Shield;
use crate::shm::event::{Baton, notify_all, notify_one};
use crate::shm::lock::Held;

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

/// The putters' lock, and room for one record at the tail.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    _held: Held<'a, Body>,
    pub(super) tail: Cursor,
}

impl Core {
    /// The most bytes of one message.
    pub(super) fn longest(&self) -> usize {
        (self.object.ring_len() - UNIT).min(u32::MAX as usize)
    }

    /// Puts a record of one kind. A cancellation point if it has to wait; then nothing was put.
    #[inline]
    pub(super) fn put(&self, parcel: Parcel<'_>, limit: Limit) -> Result<(), NotPut> {
        self.until_room(parcel.bytes.len(), limit, |limit| self.try_put(parcel, limit))
    }

    /// Claims room for a record of `len` bytes. A cancellation point if it has to wait.
    pub(super) fn reserve(&self, len: usize, limit: Limit) -> Result<Claim<'_>, NotPut> {
        self.until_room(len, limit, |limit| self.claim(len, limit))
    }

    /// Does what needs room for a record of `len` bytes, when there is some.
    #[inline]
    fn until_room<R>(
        &self,
        len: usize,
        limit: Limit,
        mut act: impl FnMut(Limit) -> Result<R, NotPut>,
    ) -> Result<R, NotPut> {
        if len > self.longest() {
            return Err(NotPut::TooLarge);
        }
        match act(limit) {
            Err(NotPut::Full) if !limit.is_try() => self.until_room_slow(len, limit.deadline(), act),
            Err(NotPut::Full) if self.object.body().is_handed_out() => {
                self.take_from_the_dead();
                act(limit)
            }
            other => other,
        }
    }

    /// A number for the descriptors of a message.
    pub(super) fn next_number(&self) -> u64 {
        // Relaxed: nothing rides on it, but that no two are alike.
        self.object.body().numbers.fetch_add(1, Ordering::Relaxed)
    }

    #[cold]
    fn until_room_slow<R>(
        &self,
        len: usize,
        deadline: Option<Instant>,
        mut act: impl FnMut(Limit) -> Result<R, NotPut>,
    ) -> Result<R, NotPut> {
        let units = record::units(len);
        self.spin(len, || self.has_room(units));
        let mut in_time = true;
        // Room for a shorter record wakes others, even if this one does not fit.
        let baton = Baton::new(self.event(ROOM), || self.has_room(record::units(0)));
        let mut woken = false;
        loop {
            // Before the attempt: room that comes after it ends the sleep.
            let key = self.event(ROOM).prepare();
            self.take_from_the_dead();
            match act(Limit::Until(deadline)) {
                Err(NotPut::Full) if in_time => {
                    if woken {
                        self.pass_on();
                    }
                    in_time = self.object.wait(ROOM, key, deadline);
                    woken = true;
                }
                Ok(done) => {
                    baton.keep();
                    return Ok(done);
                }
                other => return other,
            }
        }
    }

    /// Wakes all other putters for room that is too small for the caller's record: it may do for a shorter one.
    /// Once for each place of the head, so that putters whom no room fits do not wake each other for ever.
    fn pass_on(&self) {
        let body = self.object.body();
        let head = body.head().0;
        // SeqCst: before the look for sleepers. A putter that sleeps later has looked at this head itself.
        if body.putters.passed_on.swap(head, Ordering::SeqCst) != head {
            notify_all(self.event(ROOM));
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
    fn claim(&self, len: usize, limit: Limit) -> Result<Claim<'_>, NotPut> {
        let body = self.object.body();
        let putters = &body.putters;
        // A holder that was killed has left nothing to repair (Q2).
        let held = self.lock(&putters.lock, PUT_LOCK, limit).ok_or(NotPut::Full)?;
        if body.is_closed() {
            return Err(NotPut::Closed);
        }
        let units = record::units(len);
        // Relaxed: only holders of this lock write them.
        let tail = Cursor(putters.tail.tail.load(Ordering::Relaxed));
        if !self.fits(tail, Cursor(putters.head_seen.load(Ordering::Relaxed)), units) {
            let head = body.head();
            putters.head_seen.store(head.0, Ordering::Relaxed);
            if !self.fits(tail, head, units) {
                return Err(NotPut::Full);
            }
        }
        Ok(Claim { _held: held, tail })
    }

    #[inline]
    fn try_put(&self, parcel: Parcel<'_>, limit: Limit) -> Result<(), NotPut> {
        let claim = self.claim(parcel.bytes.len(), limit)?;
        if let Some((number, fds)) = parcel.handles {
            let mut sent = self.wires.send(number, fds);
            if matches!(sent, Sent::NoRoom) && self.object.body().len() == 0 {
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
        unsafe { record::write(&self.object, claim.tail, parcel.kind, parcel.bytes) };
        self.publish(claim, parcel.bytes.len());
        Ok(())
    }

    /// Publishes the record that was written where the claim says.
    #[inline]
    pub(super) fn publish(&self, claim: Claim<'_>, len: usize) {
        self.object.body().advance_tail(claim.tail, record::units(len));
        drop(claim);
        notify_one(self.event(FILLED));
    }

    /// Gives a claim up: another putter may use the room.
    pub(super) fn give_up(&self, claim: Claim<'_>) {
        drop(claim);
        notify_one(self.event(ROOM));
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
