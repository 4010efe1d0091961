//! The queue between processes, used by threads and coroutines of one. (Deaths: in the sources, beside it.)

#[path = "../common/mod.rs"]
mod common;

mod in_place;
mod travels;

use std::time::Duration;

use common::{on_workers, watched};
use ropewalk::process::Queue;
use ropewalk::process::queue::{GetError, PutError};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Nothing,
    Text(String),
    Numbers { first: i64, rest: Vec<u16> },
}

#[test]
fn len_is_exact_right_after_put_and_get() {
    let queue = Queue::bounded(3).unwrap();
    assert!(queue.is_empty() && !queue.is_full());
    for n in 0..3u8 {
        queue.put(n).unwrap();
        assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (n as usize + 1, false, n == 2));
    }
    assert!(matches!(queue.try_put(9), Err(PutError::Full(9))));
    assert_eq!(queue.get(), Ok(0));
    assert_eq!((queue.len(), queue.is_full()), (2, false));
    assert_eq!((queue.try_get(), queue.try_get(), queue.try_get()), (Ok(1), Ok(2), Err(GetError::Empty)));
    assert!(queue.is_empty());
}

#[test]
fn messages_of_every_length_come_back_in_order() {
    let queue = Queue::with_ring(8, 4096).unwrap();
    assert_eq!(queue.longest_message(), 4096 - 8);
    let messages = |n: usize| match n % 3 {
        0 => Message::Nothing,
        1 => Message::Text("x".repeat(n * 7 % 1300)),
        _ => Message::Numbers { first: -(n as i64), rest: vec![n as u16; n * 11 % 500] },
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..2000).for_each(|n| queue.put(messages(n)).unwrap());
            queue.close();
        });
        let mut seen = 0;
        for message in queue.iter() {
            assert_eq!(message, messages(seen));
            seen += 1;
        }
        assert_eq!(seen, 2000);
    });
}

#[test]
fn a_message_may_fill_the_ring_and_a_longer_one_names_the_limit() {
    let queue = Queue::<[u8]>::with_ring(4, 4096).unwrap();
    let whole = vec![7; queue.longest_message()];
    queue.put_slice(&whole).unwrap();
    assert!(queue.is_full());
    assert!(matches!(queue.try_put_slice(&[1]), Err(PutError::Full(()))));
    let mut got = Vec::new();
    assert_eq!(queue.get_into(&mut got), Ok(whole.len()));
    assert_eq!(got, whole);
    let error = queue.put_slice(&vec![7; whole.len() + 1]).unwrap_err();
    assert!(matches!(error, PutError::TooLarge { len: 4089, limit: 4088, .. }));
    assert!(error.to_string().contains("4088"));
}

#[test]
fn what_cannot_be_encoded_comes_back_from_put() {
    #[derive(Debug)]
    struct Refuses(u8);
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    let queue = Queue::bounded(2).unwrap();
    let error = queue.put(Refuses(5)).unwrap_err();
    assert!(error.to_string().contains("Refuses"));
    assert_eq!(error.into_inner().0, 5);
    assert!(queue.is_empty());
}

#[test]
fn slices_of_plain_data_keep_their_type() {
    let queue = Queue::<[f64]>::bounded(2).unwrap();
    queue.put_slice(&[1.5, -2.5]).unwrap();
    let mut got = vec![0.5];
    assert_eq!(queue.get_into(&mut got), Ok(2));
    assert_eq!(got, [0.5, 1.5, -2.5]);
    assert_eq!(queue.try_get_into(&mut got), Err(GetError::Empty));
}

#[test]
fn timeouts_end_waits_and_take_nothing() {
    let queue = Queue::bounded(1).unwrap();
    let short = Duration::from_millis(5);
    assert_eq!(queue.get_timeout(short), Err(GetError::Empty));
    queue.put(1u8).unwrap();
    assert!(matches!(queue.put_timeout(2, short), Err(PutError::Full(2))));
    assert!(!queue.join_timeout(short));
    assert_eq!(queue.get(), Ok(1));
    queue.task_done();
    assert!(queue.join_timeout(short));
    assert!(ropewalk::timeout(short, || queue.get()).is_err());
    queue.put(3).unwrap();
    assert_eq!(queue.get_timeout(short), Ok(3));
}

#[test]
fn a_closed_queue_is_drained_and_lets_nothing_in() {
    let queue = Queue::bounded(4).unwrap();
    queue.put(1u8).unwrap();
    queue.close();
    assert!(queue.is_closed());
    assert!(matches!(queue.put(2), Err(PutError::Closed(2))));
    assert_eq!((queue.get(), queue.get()), (Ok(1), Err(GetError::Closed)));
}

#[test]
fn close_wakes_all_who_wait() {
    on_workers(|| {
        let (empty, full) = (Queue::<u8>::bounded(1).unwrap(), Queue::bounded(1).unwrap());
        full.put(0u8).unwrap();
        ropewalk::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| assert_eq!(empty.get(), Err(GetError::Closed)));
                s.spawn(|| assert!(matches!(full.put(1), Err(PutError::Closed(1)))));
            }
            ropewalk::sleep(Duration::from_millis(5));
            empty.close();
            full.close();
        });
    });
}

#[test]
fn coroutines_and_threads_share_a_queue_and_lose_nothing() {
    on_workers(|| {
        let (work, results) = (Queue::bounded(8).unwrap(), Queue::bounded(8).unwrap());
        std::thread::scope(|threads| {
            for _ in 0..2 {
                threads.spawn(|| work.iter().for_each(|n: u64| results.put(n * 2).unwrap()));
            }
            threads.spawn(|| {
                ropewalk::scope(|s| {
                    for _ in 0..3 {
                        s.spawn(|| work.iter().for_each(|n| results.put(n * 2).unwrap()));
                    }
                });
            });
            threads.spawn(|| {
                (0..1000).for_each(|n| work.put(n).unwrap());
                work.close();
            });
            let sum: u64 = (0..1000).map(|_| results.get().unwrap()).sum();
            assert_eq!(sum, 999 * 1000);
        });
        assert!(results.is_empty());
    });
}

#[test]
fn many_coroutines_wait_on_many_queues_without_holding_their_worker() {
    watched(|| {
        let queues: Vec<_> = (0..300).map(|_| Queue::<u32>::with_ring(4, 1).unwrap()).collect();
        common::runtime(1).run(move || {
            ropewalk::scope(|s| {
                let waiters: Vec<_> = queues.iter().map(|queue| s.spawn(|| queue.get().unwrap())).collect();
                ropewalk::yield_now();
                for (n, queue) in queues.iter().enumerate() {
                    queue.put(n as u32).unwrap();
                }
                for (n, waiter) in waiters.into_iter().enumerate() {
                    assert_eq!(waiter.join().unwrap(), n as u32);
                }
            });
        });
    });
}

#[test]
fn a_cancelled_getter_takes_no_message() {
    on_workers(|| {
        let queue = Queue::<u8>::bounded(2).unwrap();
        let waiter = ropewalk::spawn({
            let queue = queue.clone();
            move || queue.get()
        });
        ropewalk::sleep(Duration::from_millis(2));
        waiter.cancel();
        assert!(waiter.join().is_err());
        queue.put(4).unwrap();
        assert_eq!(queue.get_timeout(Duration::from_secs(10)), Ok(4));
    });
}

#[test]
fn task_done_more_often_than_put_panics() {
    let queue = Queue::<u8>::bounded(1).unwrap();
    let result = std::panic::catch_unwind(|| queue.task_done());
    assert!(result.is_err());
    queue.put(1).unwrap();
    assert_eq!(queue.unfinished_tasks(), 1);
}

#[test]
fn what_is_left_comes_back_from_close_now() {
    watched(|| {
        let queue = Queue::bounded(8).unwrap();
        (0..3u8).for_each(|n| queue.put(n).unwrap());
        assert_eq!(queue.get(), Ok(0));
        let getter = queue.clone();
        assert_eq!(queue.close_now(), [1, 2]);
        assert_eq!(queue.unfinished_tasks(), 1);
        assert_eq!(getter.get(), Err(GetError::Closed));
        assert!(matches!(getter.put(4), Err(PutError::Closed(4))));
        assert!(queue.close_now().is_empty());
    });
}

#[test]
fn room_that_is_too_small_for_one_sleeping_put_goes_to_another() {
    /// Starts a put that sleeps, as a rule: what is checked holds in any case.
    fn start(queue: &Queue<[u8]>, len: usize, as_coroutine: bool, done: &std::sync::mpsc::Sender<usize>) {
        let (queue, done) = (queue.clone(), done.clone());
        let put = move || {
            queue.put_slice(&vec![3; len]).unwrap();
            done.send(len).unwrap();
        };
        if as_coroutine {
            drop(ropewalk::spawn(put));
        } else {
            std::thread::spawn(put);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        watched(move || {
            let queue = Queue::<[u8]>::with_ring(16, 4096).unwrap();
            queue.put_slice(&[1; 2000]).unwrap();
            queue.put_slice(&[2; 2060]).unwrap();
            let (sender, done) = std::sync::mpsc::channel();
            start(&queue, 3000, first, &sender);
            start(&queue, 3001, first, &sender);
            start(&queue, 100, second, &sender);
            let mut into = Vec::new();
            queue.get_into(&mut into).unwrap();
            assert_eq!(done.recv(), Ok(100));
            // The large ones need all room but a little, one after the other.
            for _ in 0..2 {
                while queue.try_get_into(&mut into).is_ok() {}
                assert!(done.recv().unwrap() >= 3000);
            }
        });
    }
}

#[test]
fn a_handle_that_comes_back_leaves_the_tasks_in_hand_open() {
    watched(|| {
        let queue = Queue::bounded(8).unwrap();
        (0..2).for_each(|n| queue.put(n).unwrap());
        assert_eq!(queue.get(), Ok(0));
        let back = |queue: Queue<u32>| queue;
        let again = ropewalk::process::Process::spawn(back, queue.clone()).unwrap().join().unwrap();
        assert_eq!((queue.unfinished_tasks(), again.unfinished_tasks()), (2, 2));
        queue.task_done();
        assert_eq!(again.unfinished_tasks(), 1);
        assert!(!again.join_timeout(Duration::ZERO));
        assert_eq!(again.get(), Ok(1));
        again.task_done();
        assert!(queue.join_timeout(Duration::ZERO));
    });
}
