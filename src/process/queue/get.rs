//! Getting bytes: lock, look for a record, copy, give it up; or wait for one.

use core::sync::atomic::Ordering;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::body::{Body, FILLED, GET_LOCK, ROOM, TASKS};
use super::core::{Core, Limit};
use super::cursor::Cursor;
use super::error::GetError;
use super::record::{self, Header, WITH_HANDLES};
use crate::shm::event::{Baton, notify_all, notify_one};
use crate::shm::lock::Held;
use crate::shm::pod::{self, Pod};

/// Why no bytes were got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotGot {
    Empty,
    Closed,
    /// The memory does not hold what the protocol leaves there.
    Damaged,
    /// The record, which is gone now, is not made of whole values: its length, and its kind.
    Misfit(usize),
}

/// What was got: the kind of the record, and its descriptors.
pub(super) type Got = (u32, Vec<OwnedFd>);

/// The getters' lock, and the record at the head.
#[derive(Debug)]
pub(super) struct Found<'a> {
    _held: Held<'a, Body>,
    pub(super) head: Cursor,
    pub(super) header: Header,
}

impl Core {
    /// Gets a record behind what is in `into`, and tells its kind. A cancellation point if it has to wait.
    #[inline]
    pub(super) fn get<P: Pod>(&self, into: &mut Vec<P>, limit: Limit) -> Result<Got, NotGot> {
        self.until_filled(limit, |limit| self.try_get(into, limit))
    }

    /// Finds the record at the head, and keeps it. A cancellation point if it has to wait.
    pub(super) fn look(&self, limit: Limit) -> Result<Found<'_>, NotGot> {
        self.until_filled(limit, |limit| self.find(limit))
    }

    /// Does what needs a record, when there is one.
    #[inline]
    fn until_filled<R>(
        &self,
        limit: Limit,
        mut act: impl FnMut(Limit) -> Result<R, NotGot>,
    ) -> Result<R, NotGot> {
        match act(limit) {
            Err(NotGot::Empty) if !limit.is_try() => self.until_filled_slow(limit.deadline(), act),
            other => other,
        }
    }

    #[cold]
    fn until_filled_slow<R>(
        &self,
        deadline: Option<Instant>,
        mut act: impl FnMut(Limit) -> Result<R, NotGot>,
    ) -> Result<R, NotGot> {
        let body = self.object.body();
        self.spin(self.latest.len(), || body.len() > 0);
        let mut in_time = true;
        let baton = Baton::new(self.event(FILLED), || body.len() > 0);
        loop {
            match act(Limit::Until(deadline)) {
                Err(NotGot::Empty) if in_time => {}
                Ok(got) => {
                    baton.keep();
                    return Ok(got);
                }
                other => return other,
            }
            let key = self.event(FILLED).prepare();
            in_time = if body.len() == 0 && !body.is_closed() {
                self.object.wait(FILLED, key, deadline)
            } else {
                // It was the lock that was not to be had.
                deadline.is_none_or(|deadline| Instant::now() < deadline)
            };
        }
    }

    /// The getters' lock, with what a killed holder has begun finished.
    #[inline]
    fn lock_getters(&self, limit: Limit) -> Option<Held<'_, Body>> {
        let body = self.object.body();
        let held = self.lock(&body.getters.lock, GET_LOCK, limit)?;
        body.inherit(&held);
        Some(held)
    }

    #[inline]
    fn find(&self, limit: Limit) -> Result<Found<'_>, NotGot> {
        let body = self.object.body();
        let getters = &body.getters;
        let held = self.lock_getters(limit).ok_or(NotGot::Empty)?;
        // Relaxed: only holders of this lock write them.
        let head = Cursor(getters.head.head.load(Ordering::Relaxed));
        let mut tail = Cursor(getters.tail_seen.load(Ordering::Relaxed));
        if tail == head {
            let closed = body.is_closed();
            // After that: what was put before the close is there now.
            tail = body.tail();
            getters.tail_seen.store(tail.0, Ordering::Relaxed);
            if tail == head {
                return Err(if closed { NotGot::Closed } else { NotGot::Empty });
            }
        }
        // SAFETY: the lock is held, and the tail is not the head.
        let header = unsafe { record::header(&self.object, head, tail.units_since(head)) };
        let header = header.ok_or(NotGot::Damaged)?;
        self.latest.note(header.len);
        Ok(Found { _held: held, head, header })
    }

    #[inline]
    fn try_get<P: Pod>(&self, into: &mut Vec<P>, limit: Limit) -> Result<Got, NotGot> {
        let found = self.find(limit)?;
        let Found { head, header, .. } = found;
        // SAFETY: the lock is held.
        let fits = unsafe { record::read(&self.object, head, header, into) };
        let number = if header.kind == WITH_HANDLES { number_of(into) } else { None };
        let fds = number.map_or_else(Vec::new, |number| self.wires.look(number));
        self.object.body().advance_head(self.object.slot(), head, record::units(header.len));
        if !fds.is_empty() {
            self.wires.taken();
        }
        drop(found);
        notify_one(self.event(ROOM));
        if fits { Ok((header.kind, fds)) } else { Err(NotGot::Misfit(header.len)) }
    }

    /// Says that the record which was found has been seen: it is not found again, whatever happens.
    pub(super) fn hand_out(&self, found: &Found<'_>) {
        let units = record::units(found.header.len);
        self.object.body().hand_out(self.object.slot(), found.head, units);
    }

    /// Gives up the record that was handed out.
    pub(super) fn take_in(&self, found: Found<'_>) {
        let units = record::units(found.header.len);
        self.object.body().take_in(self.object.slot(), found.head, units);
        drop(found);
        notify_one(self.event(ROOM));
    }

    /// Tells whether a get would not wait now; another getter may be quicker.
    pub(in crate::process) fn is_gettable(&self) -> bool {
        let body = self.object.body();
        body.len() > 0 || body.is_closed()
    }

    /// Waits until a get would not wait, and takes nothing. A cancellation point.
    pub(in crate::process) fn wait_gettable(&self) {
        let body = self.object.body();
        // Dropped in any case: a wake that was meant for a getter goes on to one.
        let _baton = Baton::new(self.event(FILLED), || body.len() > 0);
        loop {
            let key = self.event(FILLED).prepare();
            if self.is_gettable() {
                return;
            }
            self.object.wait(FILLED, key, None);
        }
    }

    /// Takes away descriptors that belong to no record, while the queue is empty and nobody can put.
    pub(super) fn drain_wires(&self) {
        if let Some(_held) = self.lock_getters(Limit::Try)
            && self.object.body().len() == 0
        {
            self.wires.drain();
        }
    }

    /// Closes, and gives what `get` gets until nothing is left; all of it counts as done.
    pub(super) fn close_now<T>(&self, mut get: impl FnMut() -> Result<T, GetError>) -> Vec<T> {
        self.close();
        let mut left = Vec::new();
        loop {
            match get() {
                Ok(message) => left.push(message),
                Err(GetError::Decode(_)) => {}
                Err(GetError::Empty | GetError::Closed | GetError::Damaged) => return left,
            }
            self.task_done();
        }
    }

    /// Has a message that a getter looks at in place given up, if that has died (O4).
    #[inline]
    pub(super) fn take_from_the_dead(&self) {
        if self.object.body().is_handed_out() {
            self.take_from_the_dead_slow();
        }
    }

    #[cold]
    fn take_from_the_dead_slow(&self) {
        let body = self.object.body();
        self.object.look_for_deaths();
        if let Some(held) = self.object.try_lock(&body.getters.lock, GET_LOCK) {
            body.inherit(&held);
        }
    }

    /// Says that a message which was got has been worked on.
    pub(super) fn task_done(&self) {
        let body = self.object.body();
        body.done(self.object.slot());
        if self.event(TASKS).has_sleepers() && body.unfinished() == 0 {
            notify_all(self.event(TASKS));
        }
    }

    /// Waits until all that was put has been worked on, or was in the hands of processes that are gone.
    pub(super) fn join(&self, deadline: Option<Instant>) -> bool {
        let body = self.object.body();
        let mut in_time = true;
        loop {
            let key = self.event(TASKS).prepare();
            if body.unfinished() == 0 {
                return true;
            }
            if !in_time {
                self.object.look_for_deaths();
            }
            if let Some(_held) = self.lock_getters(Limit::Until(deadline)) {
                (0..body.slots())
                    .filter(|slot| self.object.is_vacant(*slot))
                    .for_each(|slot| body.settle(slot));
            }
            if body.unfinished() == 0 {
                // Others wait for the same, and may have looked before this was settled.
                notify_all(self.event(TASKS));
                return true;
            }
            if !in_time {
                return false;
            }
            in_time = self.object.wait(TASKS, key, deadline);
        }
    }
}

/// The number of the descriptors of a record, from the end of what was read.
fn number_of<P: Pod>(read: &[P]) -> Option<u64> {
    pod::bytes(read).last_chunk().map(|number| u64::from_ne_bytes(*number))
}
