//! The board: order, deaths between two steps, stops, and threads that take at once.
#![forbid(unsafe_code)]

use core::sync::atomic::Ordering::{AcqRel, Relaxed};
use core::time::Duration;

use super::super::{Pool, TaskError};
use super::*;

fn body(id: u64) -> Body {
    Body { id, call: Call::new(|n: u8| n).unwrap(), len: 0, bytes: [0; INLINE] }
}

#[test]
fn tasks_are_taken_in_order_and_once() {
    let board = Board::new(2).unwrap();
    assert!(crate::sys::shared::is_sealed(board.file()).unwrap());
    for position in 0..SLOTS {
        assert_eq!(board.put(position, &body(position + 1)), Some(position + 1));
    }
    assert_eq!(board.put(SLOTS, &body(0)), None);
    for id in 1..=SLOTS {
        assert_eq!(board.take((id % 2) as usize).unwrap().id, id);
    }
    assert!(board.take(0).is_none() && board.put(SLOTS, &body(SLOTS + 1)).is_some());
    assert_eq!(board.take(1).unwrap().id, SLOTS + 1);
}

#[test]
fn a_worker_that_dies_between_two_steps_holds_up_nobody() {
    let board = Board::new(2).unwrap();
    assert_eq!((board.put(0, &body(7)), board.put(1, &body(8))), (Some(1), Some(2)));
    // Dead right after the CAS: `head` has not moved, nor has the post been written.
    board.slot(0).state.store(state(0, 1, TAKEN), Ordering::SeqCst);
    assert_eq!(board.take(0).unwrap().id, 8);
    assert_eq!(board.bury(1), Some(7));
    assert_eq!(board.bury(1), None);
    assert_eq!(board.put(SLOTS, &body(9)), Some(SLOTS + 1));
}

#[test]
fn a_worker_that_is_stopped_between_claim_and_copy_holds_up_its_task_only() {
    let board = Board::new(2).unwrap();
    assert_eq!(board.put(0, &body(1)), Some(1));
    // Stopped right after the CAS.
    board.slot(0).state.store(state(0, 1, TAKEN), Ordering::SeqCst);
    let mut position = 1;
    for id in 2..5 * SLOTS {
        // Its slot is passed over, in each round of the ring.
        position = board.put(position, &body(id)).expect("there is room");
        assert_eq!(board.take(0).unwrap().id, id);
        assert!(board.take(0).is_none());
    }
    assert_eq!(board.claims().collect::<Vec<_>>(), [Claim { worker: 1, position: 0, task: 1 }]);
    // All but its own can be full.
    let mut put = 0;
    while let Some(next) = board.put(position, &body(put)) {
        (position, put) = (next, put + 1);
    }
    assert_eq!(put, SLOTS - 1);
    // It goes on, and its slot is as good as the others again.
    board.slot(0).state.store(state(SLOTS, 0, FREE), Ordering::SeqCst);
    (0..put).for_each(|id| assert_eq!(board.take(0).unwrap().id, id));
    for id in 0..3 * SLOTS {
        position = board.put(position, &body(id)).expect("there is room");
        assert_eq!(board.take(1).unwrap().id, id);
    }
    assert!(board.take(0).is_none() && board.claims().next().is_none());
}

#[test]
fn a_slot_that_comes_free_after_it_was_passed_over_does_not_stop_those_who_take() {
    let board = Board::new(2).unwrap();
    assert_eq!(board.put(0, &body(1)), Some(1));
    board.slot(0).state.store(state(0, 1, TAKEN), Ordering::SeqCst);
    let mut position = 1;
    for id in 2..=SLOTS {
        position = board.put(position, &body(id)).unwrap();
        assert_eq!(board.take(0).unwrap().id, id);
    }
    assert_eq!(board.put(position, &body(0)), Some(SLOTS + 2));
    board.slot(0).state.store(state(SLOTS, 0, FREE), Ordering::SeqCst);
    assert_eq!(board.take(0).unwrap().id, 0);
    assert!(board.take(0).is_none());
}

#[test]
fn a_worker_that_is_stopped_between_claim_and_copy_is_killed_when_its_task_is_overdue() {
    let pool = Pool::builder(1).task_timeout(Duration::from_millis(40)).build().unwrap();
    assert_eq!(pool.apply(|n: u32| n, 1).unwrap(), 1);
    let stopped = pool.workers()[0].pid;
    let pidfd = crate::sys::process::pidfd_open(stopped).unwrap();
    crate::sys::process::pidfd_signal(pidfd.as_fd(), stopped, libc::SIGSTOP).unwrap();
    let status = || std::fs::read_to_string(format!("/proc/{stopped}/status")).unwrap();
    while !status().contains("State:\tT") {
        std::thread::yield_now();
    }
    let held = pool.apply_async(|n: u32| n, 2).unwrap();
    // What the worker would have done if it had been stopped a moment later.
    let (board, ready) = (&pool.core.board, state(1, 0, READY));
    assert!(board.slot(1).state.compare_exchange(ready, state(1, 0, TAKEN), AcqRel, Relaxed).is_ok());
    assert!(matches!(held.get(), Err(TaskError::TimedOut(_))));
    assert_eq!(pool.apply(|n: u32| n, 3).unwrap(), 3);
    assert_ne!(pool.workers()[0].pid, stopped);
}

#[test]
fn threads_that_take_at_once_share_all_tasks() {
    let board = Board::new(4).unwrap();
    let taken = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (board, taken) = (&board, &taken);
            scope.spawn(move || {
                loop {
                    match board.take(worker) {
                        Some(body) => taken.lock().unwrap().push(body.id),
                        None if board.is_ending() => return,
                        None if board.wait_a_moment(worker) => {}
                        None => board.sleep(worker),
                    }
                }
            });
        }
        let (mut position, mut id) = (0, 1);
        while id <= 20_000 {
            // A position may be passed over, so ids are counted on their own.
            if let Some(next) = board.put(position, &body(id)) {
                (position, id) = (next, id + 1);
                board.wake_one(position);
            }
        }
        board.end();
    });
    let mut taken = taken.into_inner().unwrap();
    taken.sort_unstable();
    assert!(taken.into_iter().eq(1..=20_000));
}
