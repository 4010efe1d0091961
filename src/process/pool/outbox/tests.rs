//! The boxes: whole replies in order, deaths between two steps, the bell, and boxes that are hidden.
#![forbid(unsafe_code)]

use super::*;

#[test]
fn replies_come_whole_and_in_order_round_the_ring() {
    let boxes = Outboxes::new(2).unwrap();
    let text = |n: u64| vec![n as u8; (n * 37 % 900) as usize];
    let (mut put, mut taken) = (0, 0);
    while taken < 5_000 {
        while boxes.put(1, put, &text(put)) {
            put += 1;
        }
        assert!(boxes.any() && !boxes.put(1, 0, &vec![0; RING]));
        boxes.take(1, |id, reply| {
            assert_eq!((id, reply), (taken, text(taken)));
            taken += 1;
        });
    }
    assert!(put == taken && !boxes.any());
    assert_eq!(boxes.take(0, |_, _| unreachable!("nobody has put anything")), 0);
}

#[test]
fn what_a_killed_worker_has_not_finished_is_not_there_and_its_successor_goes_on() {
    let boxes = Outboxes::new(1).unwrap();
    assert!(boxes.put(0, 1, b"whole"));
    boxes.put_half(0);
    assert!(boxes.put(0, 2, b"next"));
    let mut found = Vec::new();
    assert_eq!(boxes.take(0, |id, reply| found.push((id, reply))), 2);
    assert_eq!(found, [(1, b"whole".to_vec()), (2, b"next".to_vec())]);
}

#[test]
fn the_bell_rings_for_those_who_wait_for_many_and_for_the_last() {
    let boxes = Outboxes::new(2).unwrap();
    assert!(boxes.put(0, 1, b""));
    assert!(!boxes.must_ring(0, true), "the parent is awake");
    boxes.arm();
    assert!(!boxes.must_ring(0, false), "nobody waits");
    assert!(boxes.must_ring(1, true) && !boxes.must_ring(1, true), "once, whoever is idle");
    boxes.arm();
    boxes.want();
    assert!(boxes.must_ring(0, false));
    boxes.unwant();
    boxes.arm();
    while boxes.used(0) < MANY {
        assert!(!boxes.must_ring(0, false) && boxes.put(0, 1, b""));
    }
    assert!(boxes.must_ring(0, false));
}

#[test]
fn no_reply_is_missed_by_a_parent_that_sleeps() {
    const REPLIES: u64 = 100_000;
    let boxes = Outboxes::new(2).unwrap();
    let (sender, bell) = std::sync::mpsc::channel();
    boxes.want();
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (boxes, sender) = (&boxes, sender.clone());
            scope.spawn(move || {
                for id in 0..REPLIES {
                    while !boxes.put(worker, id, &[worker as u8; 100]) {
                        std::thread::yield_now();
                    }
                    if boxes.must_ring(worker, false) {
                        sender.send(()).unwrap();
                    }
                }
            });
        }
        let mut next = [0, 0];
        while next != [REPLIES, REPLIES] {
            boxes.arm();
            if !boxes.any() {
                bell.recv_timeout(std::time::Duration::from_secs(20)).expect("a ring was missed");
            }
            for (worker, next) in next.iter_mut().enumerate() {
                boxes.take(worker, |id, reply| {
                    assert_eq!((id, &*reply), (*next, &[worker as u8; 100][..]));
                    *next += 1;
                });
            }
        }
    });
}

#[test]
fn the_replies_of_a_hidden_worker_stay_and_wake_nobody_until_it_is_shown() {
    let boxes = Outboxes::new(2).unwrap();
    boxes.hide(0);
    assert!(boxes.put(0, 7, b"early") && !boxes.any());
    assert_eq!(boxes.take(0, |_, _| unreachable!("nobody knows whose it is")), 0);
    assert!(boxes.put(1, 8, b"known") && boxes.any());
    assert_eq!(boxes.take(1, |id, _| assert_eq!(id, 8)), 1);
    assert!(!boxes.any());
    boxes.show();
    assert!(boxes.any());
    assert_eq!(boxes.take(0, |id, reply| assert_eq!((id, &*reply), (7, &b"early"[..]))), 1);
}

/// The manager hides a box, starts a worker, enters it, and shows the box; somebody else takes replies all the while.
#[test]
fn no_reply_is_taken_before_its_worker_was_entered() {
    const STARTS: u64 = 20_000;
    let (boxes, entered) = (Outboxes::new(1).unwrap(), AtomicU64::new(0));
    let early = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in 1..=STARTS {
                boxes.hide(0);
                while !boxes.put(0, start, b"") {
                    boxes.show();
                    std::thread::yield_now();
                    boxes.hide(0);
                }
                // A start takes long.
                (0..200).for_each(|_| std::hint::spin_loop());
                entered.store(start, Ordering::SeqCst);
                boxes.show();
            }
        });
        let mut last = 0;
        while last < STARTS {
            boxes.take(0, |id, _| {
                early.fetch_add(u64::from(id > entered.load(Ordering::SeqCst)), Ordering::Relaxed);
                last = id;
            });
        }
    });
    assert_eq!(early.into_inner(), 0, "replies were taken too early");
}
