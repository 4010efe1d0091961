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

use super::cursor::Cursor;
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::shm::object::{Body as SharedBody, MEMBERS};

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

    /// Finishes what a killed holder of the getters' lock has begun. By the one who has inherited the lock.
    pub(super) fn repair(&self) {
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
mod tests {
    use super::super::handle::Queue;
    use super::*;

    /// The units of a record of one value below 128.
    const UNITS: u64 = 2;
    /// The process that dies: no process of this boot has that name.
    const DEAD: u64 = 1;

    #[test]
    fn a_getter_killed_after_any_of_its_stores_has_got_its_message_once_or_not_at_all() {
        for steps in 0..=6 {
            // Stores of the repair itself that are done when its process is killed too; then the next repairs.
            for cut in [None, Some(0), Some(1)] {
                let queue = Queue::<u8>::bounded(8).unwrap();
                let body = queue.core.object.body();
                let slot = queue.core.object.slot();
                (1..=4).for_each(|n| queue.put(n).unwrap());
                // An earlier journal, which must not be taken for this one.
                assert_eq!(queue.get(), Ok(1));
                assert_eq!(body.getters.lock.attempt(DEAD), crate::base::robust_word::Attempt::Taken);
                body.advance_until(slot, body.head(), UNITS, steps);
                if let Some(stores) = cut
                    && stores == 1
                    && body.getters.journal_slot.load(Ordering::Relaxed) != 0
                    && steps >= 4
                {
                    let taken = body.getters.journal_taken.load(Ordering::Relaxed) + 1;
                    body.tallies[slot].taken.store(taken, Ordering::Release);
                }
                body.orphan(DEAD);
                let taken_by_the_dead = u64::from(steps >= 4);
                let left: Vec<u8> = core::iter::from_fn(|| queue.try_get().ok()).collect();
                assert_eq!(left, (2 + taken_by_the_dead as u8..=4).collect::<Vec<_>>(), "{steps} {cut:?}");
                assert_eq!(body.tallies[slot].taken.load(Ordering::Relaxed), 4, "{steps} {cut:?}");
                assert_eq!(body.getters.journal_slot.load(Ordering::Relaxed), 0);
                assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 4));
                (0..4).for_each(|_| queue.task_done());
                assert!(queue.join_timeout(core::time::Duration::ZERO));
            }
        }
    }

    #[test]
    fn a_getter_killed_while_it_looks_at_a_message_in_place_takes_it_along_or_has_not_seen_it() {
        // Stores of handing out, then of taking in, that are done before the kill.
        for (out, taken_in) in (0..=4).map(|out| (out, 0)).chain((1..=3).map(|taken_in| (4, taken_in))) {
            let queue = Queue::<u8>::bounded(8).unwrap();
            let (body, slot) = (queue.core.object.body(), queue.core.object.slot());
            (1..=4).for_each(|n| queue.put(n).unwrap());
            assert_eq!(queue.get(), Ok(1));
            assert_eq!(body.getters.lock.attempt(DEAD), crate::base::robust_word::Attempt::Taken);
            let head = body.head();
            body.hand_out_until(slot, head, UNITS, out);
            if taken_in > 0 {
                body.take_in_until(slot, head, UNITS, taken_in);
            }
            body.orphan(DEAD);
            let seen = out == 4;
            let left: Vec<u8> = core::iter::from_fn(|| queue.try_get().ok()).collect();
            assert_eq!(left, (2 + u8::from(seen)..=4).collect::<Vec<_>>(), "{out} {taken_in}");
            assert_eq!(body.tallies[slot].taken.load(Ordering::Relaxed), 4, "{out} {taken_in}");
            assert_eq!((queue.len(), queue.unfinished_tasks()), (0, 4));
        }
    }

    #[test]
    fn a_putter_killed_after_any_of_its_stores_has_put_its_message_or_not() {
        for published in [false, true] {
            let queue = Queue::<u8>::bounded(8).unwrap();
            let body = queue.core.object.body();
            queue.put(1).unwrap();
            assert_eq!(body.putters.lock.attempt(DEAD), crate::base::robust_word::Attempt::Taken);
            let tail = body.tail();
            if published {
                // The bytes of the record that is there already will do; `puts` is not written any more.
                let again = super::super::record::units(1);
                // SAFETY: the lock is held in the dead process's name, and the ring has room.
                unsafe { super::super::record::write(&queue.core.object, tail, 1, &[2]) };
                body.putters.tail.tail.store(tail.after(again).0, Ordering::Release);
            }
            body.orphan(DEAD);
            queue.put(3).unwrap();
            let expected: &[u8] = if published { &[1, 2, 3] } else { &[1, 3] };
            assert_eq!((queue.len(), queue.unfinished_tasks()), (expected.len(), expected.len()));
            let left: Vec<u8> = core::iter::from_fn(|| queue.try_get().ok()).collect();
            assert_eq!(left, expected);
        }
    }
}
