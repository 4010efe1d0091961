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
