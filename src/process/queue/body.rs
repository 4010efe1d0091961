//! The queue's memory, and how it is put right after a death.
//!
//! ```text
//! ring:   …│ free │ head ▶ record │ record │ record ◀ tail │ free │…        mapped twice, so that no record is cut
//! record: │ length u32 │ kind u32 │ bytes, padded to 8 │
//! ```
//!
//! | words | written by |
//! |---|---|
//! | `tail`, `puts`, `head_seen`, `closed` | the holder of the putters' lock |
//! | `passed_on` | any putter |
//! | `head`, `tail_seen`, `journal_*`, `tallies[_].taken` | the holder of the getters' lock |
//! | `tallies[m].done` | member `m`; the holder of the getters' lock, once `m` is gone |
//!
//! Invariants:
//! * Q1: what lies between `head` and `tail` are whole records; what lies outside is nobody's.
//! * Q2: a message is put by one store, of `tail`, and got by one store, of `head`. Who is killed before it
//!   has done nothing; who is killed after it has done all that others need. So a putter's death needs no
//!   repair: bytes that it was writing lie outside (Q1), and the next one writes over them.
//! * Q3: `head` and `tail` move on only, so an old value of the other side's (`head_seen`, `tail_seen`) shows
//!   less room, or fewer messages, than there are.
//!   A message that a getter looks at in place is got when the journal says that it was handed out: who is
//!   killed after that takes it along, and the next holder moves `head` in its place.
//! * Q4: `tallies[m].taken` counts the messages that `m` got. It is written after `head`; a journal written
//!   before `head` tells the next holder of the lock whether it is still to be written.
//! * Q5: all messages that were put = `tail`'s number, of which `puts` knows the upper bits.
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use super::cursor::Cursor;
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::runtime::shield::Shield;
use crate::shm::event::notify_all;
use crate::shm::lock::Held;
use crate::shm::object::{Body as SharedBody, MEMBERS, Object};

/// Numbers of the events.
pub(super) const PUT_LOCK: usize = 0;
pub(super) const GET_LOCK: usize = 1;
pub(super) const FILLED: usize = 2;
pub(super) const ROOM: usize = 3;
pub(super) const TASKS: usize = 4;

/// In the journal's slot: the message at the head was handed out.
const HANDED_OUT: u64 = 1 << 32;

/// An event on cache lines of its own.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Padded(EventWord);

/// What only putters look at, under their lock.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Putters {
    pub(super) lock: RobustWord,
    pub(super) puts: AtomicU64,
    pub(super) head_seen: AtomicU64,
    /// The head at which a putter last passed its wake on, because the room was too small for it.
    pub(super) passed_on: AtomicU64,
    pub(super) tail: Tail,
}

/// What putters write and getters look at.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) tail: AtomicU64,
    pub(super) closed: AtomicU32,
}

/// What only getters look at, under their lock.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Getters {
    pub(super) lock: RobustWord,
    pub(super) tail_seen: AtomicU64,
    /// The getter's slot plus one, while `head` and its tally are not both written, and `HANDED_OUT`; zero
    /// otherwise.
    journal_slot: AtomicU64,
    journal_head: AtomicU64,
    journal_taken: AtomicU64,
    /// Where `head` goes when the message that was handed out is given up.
    journal_next: AtomicU64,
    pub(super) head: Head,
}

/// What getters write and putters look at.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Head {
    pub(super) head: AtomicU64,
}

/// What one member got, and has said to be done.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Tally {
    taken: AtomicU64,
    done: AtomicU64,
}

#[repr(C)]
#[derive(Debug)]
pub(super) struct Body {
    /// Written once, before anybody else sees it.
    pub(super) capacity: AtomicU64,
    /// The numbers of the sockets that belong to this ring; as above.
    pub(super) wires: [AtomicU64; 2],
    /// Slots at and above this were never used.
    slots: AtomicU64,
    /// Messages with handles that were ever begun; see `wires`.
    pub(super) numbers: AtomicU64,
    pub(super) putters: Putters,
    pub(super) getters: Getters,
    events: [Padded; 5],
    tallies: [Tally; MEMBERS],
}

// SAFETY: `repr(C)`, atomics only, for which any bytes are a value; aligned to 128.
unsafe impl SharedBody for Body {
    const KIND: u32 = 1;
    const EVENTS: usize = 5;

    fn event(&self, index: usize) -> &EventWord {
        &self.events[index].0
    }

    fn orphan(&self, dead: u64) {
        self.putters.lock.orphan(dead);
        self.getters.lock.orphan(dead);
    }

    fn begin(object: &Arc<Object<Self>>) {
        let (body, slot) = (object.body(), object.slot());
        body.use_slot(slot);
        let _shield = Shield::new();
        if let Some(held) = object.lock(&body.getters.lock, GET_LOCK, None) {
            body.inherit(&held);
            // What former members of the slot have left undone counts as done.
            body.settle(slot);
        }
    }
}

impl Body {
    pub(super) fn tail(&self) -> Cursor {
        // Acquire pairs with the Release in `put`: the record is written before.
        Cursor(self.putters.tail.tail.load(Ordering::Acquire))
    }

    pub(super) fn head(&self) -> Cursor {
        // Acquire pairs with the Release in `advance_head`: the record is read before it is given up.
        Cursor(self.getters.head.head.load(Ordering::Acquire))
    }

    pub(super) fn is_closed(&self) -> bool {
        // Acquire pairs with the Release in `close`: all that was put before is there.
        self.putters.tail.closed.load(Ordering::Acquire) != 0
    }

    /// How many messages are there; exact when nobody is putting or getting.
    pub(super) fn len(&self) -> u64 {
        // The head first: it never overtakes the tail.
        let head = self.head();
        self.tail().messages_since(head)
    }

    /// How many messages were ever put.
    fn total(&self) -> u64 {
        // Acquire: the tail is not older than the number (Q5).
        let known = self.putters.puts.load(Ordering::Acquire);
        self.tail().total(known)
    }

    /// Publishes a record of that many units. By the holder of the putters' lock.
    #[inline]
    pub(super) fn advance_tail(&self, tail: Cursor, units: u64) {
        let next = tail.after(units);
        // Relaxed: only holders of the lock write it.
        let known = self.putters.puts.load(Ordering::Relaxed);
        // Release pairs with the Acquire in `tail`. THE store that puts the message (Q2).
        self.putters.tail.tail.store(next.0, Ordering::Release);
        // Release: not before the tail (Q5).
        self.putters.puts.store(next.total(known), Ordering::Release);
    }

    /// Gives up the record at the head, for the member in `slot`. By the holder of the getters' lock.
    #[inline]
    pub(super) fn advance_head(&self, slot: usize, head: Cursor, units: u64) {
        self.advance_until(slot, head, units, usize::MAX);
    }

    /// As [`advance_head`](Self::advance_head), up to that many stores: what a getter leaves that is killed there.
    #[inline(always)]
    fn advance_until(&self, slot: usize, head: Cursor, units: u64, most: usize) {
        let getters = &self.getters;
        let tally = &self.tallies[slot].taken;
        // Relaxed: only holders of the lock write it.
        let taken = tally.load(Ordering::Relaxed);
        let stores = [
            (&getters.journal_head, head.0),
            (&getters.journal_taken, taken),
            (&getters.journal_slot, slot as u64 + 1),
            // THE store that gets the message (Q2). Its Release pairs with the Acquire in `head`.
            (&getters.head.head, head.after(units).0),
            (tally, taken.wrapping_add(1)),
            (&getters.journal_slot, 0),
        ];
        for (place, value) in stores.into_iter().take(most) {
            // Release throughout: a death leaves these stores done up to one of them, in this order.
            place.store(value, Ordering::Release);
        }
    }

    /// Says that the record at the head is in the hands of the member in `slot`. By the holder of the getters'
    /// lock, who keeps it until [`take_in`](Self::take_in).
    pub(super) fn hand_out(&self, slot: usize, head: Cursor, units: u64) {
        self.hand_out_until(slot, head, units, usize::MAX);
    }

    /// As [`hand_out`](Self::hand_out), up to that many stores.
    #[inline(always)]
    fn hand_out_until(&self, slot: usize, head: Cursor, units: u64, most: usize) {
        let getters = &self.getters;
        // Relaxed: only holders of the lock write it.
        let taken = self.tallies[slot].taken.load(Ordering::Relaxed);
        let stores = [
            (&getters.journal_head, head.0),
            (&getters.journal_taken, taken),
            (&getters.journal_next, head.after(units).0),
            // THE store that gets a message which is looked at in place (Q2).
            (&getters.journal_slot, HANDED_OUT | (slot as u64 + 1)),
        ];
        for (place, value) in stores.into_iter().take(most) {
            // Release: as in `advance_until`.
            place.store(value, Ordering::Release);
        }
    }

    /// Gives up the record that was handed out.
    pub(super) fn take_in(&self, slot: usize, head: Cursor, units: u64) {
        self.take_in_until(slot, head, units, usize::MAX);
    }

    /// As [`take_in`](Self::take_in), up to that many stores.
    #[inline(always)]
    fn take_in_until(&self, slot: usize, head: Cursor, units: u64, most: usize) {
        let getters = &self.getters;
        let tally = &self.tallies[slot].taken;
        // Relaxed: only holders of the lock write it.
        let taken = tally.load(Ordering::Relaxed);
        let stores = [
            (&getters.head.head, head.after(units).0),
            (tally, taken.wrapping_add(1)),
            (&getters.journal_slot, 0),
        ];
        for (place, value) in stores.into_iter().take(most) {
            // Release: as in `advance_until`.
            place.store(value, Ordering::Release);
        }
    }

    /// Finishes what a killed holder of the getters' lock has begun, if the lock was inherited from one. That may
    /// make room.
    #[inline]
    pub(super) fn inherit(&self, held: &Held<'_, Self>) {
        if held.inherited {
            self.repair();
            notify_all(self.event(ROOM));
        }
    }

    /// Tells whether a getter has a message in its hands that lies in the ring, as far as is known.
    pub(super) fn is_handed_out(&self) -> bool {
        // Relaxed: a look.
        self.getters.journal_slot.load(Ordering::Relaxed) & HANDED_OUT != 0
    }

    /// Finishes what a killed holder of the getters' lock has begun. By the one who has inherited the lock.
    fn repair(&self) {
        // Relaxed: the lock orders it after the death.
        let getters = &self.getters;
        let journal = getters.journal_slot.load(Ordering::Relaxed);
        let (slot, handed_out) = (journal & !HANDED_OUT, journal & HANDED_OUT != 0);
        if let Some(tally) = slot.checked_sub(1).and_then(|slot| self.tallies.get(slot as usize)) {
            let before = getters.journal_head.load(Ordering::Relaxed);
            let moved = getters.head.head.load(Ordering::Relaxed) != before;
            if handed_out && !moved {
                let next = getters.journal_next.load(Ordering::Relaxed);
                getters.head.head.store(next, Ordering::Release);
            }
            if handed_out || moved {
                // The same again if this repair is cut short as well.
                let taken = getters.journal_taken.load(Ordering::Relaxed).wrapping_add(1);
                tally.taken.store(taken, Ordering::Release);
            }
        }
        getters.journal_slot.store(0, Ordering::Release);
    }

    /// Counts what the former members of `slot` have left undone as done. By the holder of the getters' lock.
    pub(super) fn settle(&self, slot: usize) {
        let tally = &self.tallies[slot];
        // Relaxed: written under this lock, or by a member who is gone.
        let taken = tally.taken.load(Ordering::Relaxed);
        if tally.done.load(Ordering::Relaxed) < taken {
            tally.done.store(taken, Ordering::Release);
        }
    }

    /// Says that the member in `slot` begins.
    pub(super) fn use_slot(&self, slot: usize) {
        // Release: pairs with the Acquire in `slots`.
        self.slots.fetch_max(slot as u64 + 1, Ordering::Release);
    }

    /// How many slots were ever used.
    pub(super) fn slots(&self) -> usize {
        // Acquire pairs with the Release in `use_slot`.
        (self.slots.load(Ordering::Acquire) as usize).min(MEMBERS)
    }

    /// Says that the member in `slot` has worked on one message.
    pub(super) fn done(&self, slot: usize) {
        // Release: pairs with the Acquire in `unfinished`: the work comes before.
        self.tallies[slot].done.fetch_add(1, Ordering::Release);
    }

    /// How many messages were put and not yet said to be done, or settled.
    pub(super) fn unfinished(&self) -> u64 {
        // Acquire pairs with the Releases of `done` and `settle`.
        let done = |tally: &Tally| tally.done.load(Ordering::Acquire);
        let done = self.tallies[..self.slots()].iter().map(done).fold(0u64, u64::wrapping_add);
        let left = self.total().wrapping_sub(done);
        // More done than put: a task was said to be done twice; see `task_done`.
        if left.cast_signed() < 0 { 0 } else { left }
    }
}

#[cfg(test)]
mod tests;
