//! The queue between processes, used by threads and coroutines of one. (Deaths: in the sources, beside it.)

mod common;

use std::time::Duration;

use common::{on_workers, watched};
use ropewalk::process::queue::{GetError, PutError};
use ropewalk::process::{Process, ProcessError, Queue};
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

mod travels {
    use super::*;
    use ropewalk::process::{Event, Mutex, Process, Semaphore};
    use ropewalk::shm::{Array, Value};

    type Work = (Queue<u64>, Queue<(u32, u64)>);

    fn square((work, results): Work) -> u64 {
        let mut done = 0;
        for n in work.iter() {
            results.put((std::process::id(), n * n)).unwrap();
            work.task_done();
            done += 1;
        }
        done
    }

    #[test]
    fn a_killed_process_is_no_user_any_more() {
        watched(|| {
            let queue = Queue::<u32>::bounded(4).unwrap();
            let hold = |queue: Queue<u32>| {
                queue.put(1).unwrap();
                std::thread::sleep(Duration::from_secs(3600));
            };
            let child = Process::spawn(hold, queue.clone()).unwrap();
            while queue.is_empty() {
                std::thread::yield_now();
            }
            assert_eq!(queue.users().len(), 2);
            child.kill().unwrap();
            child.wait().unwrap();
            // Nobody here has waited for the queue, so nobody has watched its users.
            assert_eq!(queue.users(), [std::process::id()]);
        });
    }

    #[test]
    fn queues_travel_as_arguments_and_feed_several_processes() {
        watched(|| {
            let (work, results) = (Queue::bounded(4).unwrap(), Queue::bounded(100).unwrap());
            let workers: Vec<_> =
                (0..3).map(|_| Process::spawn(square, (work.clone(), results.clone())).unwrap()).collect();
            (0..100).for_each(|n| work.put(n).unwrap());
            work.close();
            work.join();
            let pids: Vec<u32> = workers.iter().map(Process::pid).collect();
            let done: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
            assert_eq!((done, results.len()), (100, 100));
            let mut got: Vec<u64> = (0..100)
                .map(|_| {
                    let (pid, square) = results.get().unwrap();
                    assert!(pids.contains(&pid));
                    square
                })
                .collect();
            got.sort_unstable();
            assert!(got.into_iter().eq((0..100).map(|n| n * n)));
            assert_eq!(results.users(), [std::process::id()]);
        });
    }

    type State = (Mutex<[u32; 2]>, Value<u32>, Array<u8>, Semaphore, Event);

    fn change((pair, value, array, seats, done): State) {
        let _seat = seats.permit();
        assert!(seats.permit_deadline(std::time::Instant::now()).is_none());
        pair.lock().unwrap()[1] += 1;
        value.update(|n| n + 1);
        array.update(3, |n| n + 1);
        done.set();
    }

    #[test]
    fn shared_state_travels_and_is_one() {
        watched(|| {
            let state: State = (
                Mutex::new([5, 0]).unwrap(),
                Value::new(0).unwrap(),
                Array::new(4).unwrap(),
                Semaphore::bounded(1).unwrap(),
                Event::new().unwrap(),
            );
            let (pair, value, array, seats, done) = &state;
            let copy = || (pair.clone(), value.clone(), array.clone(), seats.clone(), done.clone());
            let children: Vec<_> = (0..4).map(|_| Process::spawn(change, copy()).unwrap()).collect();
            done.wait();
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!(*pair.lock().unwrap(), [5, 4]);
            assert_eq!((value.load(), array.to_vec()), (4, vec![0, 0, 0, 4]));
            assert_eq!(seats.available(), 1);
        });
    }

    type Order = (u32, Queue<u32>, Option<Mutex<u64>>);

    fn serve(orders: Queue<Order>) {
        for (n, replies, count) in orders.iter() {
            if let Some(count) = count {
                *count.lock().unwrap() += 1;
            }
            replies.put(n + 1).unwrap();
        }
    }

    #[test]
    fn queues_and_locks_travel_through_queues() {
        watched(|| {
            let orders = Queue::bounded(8).unwrap();
            let servers: Vec<_> = (0..2).map(|_| Process::spawn(serve, orders.clone()).unwrap()).collect();
            let (replies, count) = (Queue::bounded(100).unwrap(), Mutex::new(0).unwrap());
            for n in 0..60u32 {
                let count = n.is_multiple_of(2).then(|| count.clone());
                orders.put((n, replies.clone(), count)).unwrap();
            }
            let mut got: Vec<u32> = (0..60).map(|_| replies.get().unwrap()).collect();
            got.sort_unstable();
            assert!(got.into_iter().eq(1..=60));
            assert_eq!(*count.lock().unwrap(), 30);
            orders.close();
            servers.into_iter().for_each(|server| server.join().unwrap());
        });
    }
}

#[test]
fn messages_are_written_and_read_in_place_across_the_end_of_the_ring() {
    on_workers(|| {
        let queue = Queue::<[u32]>::with_ring(4, 4096).unwrap();
        let putter = queue.clone();
        let lengths = |n: u32| (n * 37 % 900) as usize;
        let putter = ropewalk::spawn(move || {
            for n in 0..500 {
                let mut message = putter.reserve(lengths(n)).unwrap();
                message.fill(n);
                if n % 7 == 0 {
                    drop(message);
                } else {
                    message.commit();
                }
            }
            putter.close();
        });
        for n in (0..500).filter(|n| n % 7 != 0) {
            let message = queue.get_in_place().unwrap();
            assert!(message.len() == lengths(n) && message.iter().all(|word| *word == n));
        }
        assert!(matches!(queue.get_in_place(), Err(GetError::Closed)));
        assert!(matches!(queue.reserve(1), Err(PutError::Closed(()))));
        putter.join().unwrap();
    });
}

#[test]
fn what_does_not_fit_or_is_of_another_kind_is_told_in_place_too() {
    let queue = Queue::<[u8]>::with_ring(1, 4096).unwrap();
    assert!(matches!(queue.reserve(4089), Err(PutError::TooLarge { len: 4089, limit: 4088, .. })));
    assert!(matches!(queue.reserve(usize::MAX), Err(PutError::TooLarge { .. })));
    assert!(matches!(queue.try_get_in_place(), Err(GetError::Empty)));
    queue.put_slice(b"odd").unwrap();
    assert!(matches!(queue.try_reserve(1), Err(PutError::Full(()))));
    let soon = Duration::from_millis(5);
    assert!(matches!(queue.reserve_timeout(1, soon), Err(PutError::Full(()))));
    assert_eq!(&queue.get_in_place().unwrap()[..], b"odd");
    assert!(matches!(queue.get_in_place_timeout(soon), Err(GetError::Empty)));
    queue.reserve(0).unwrap().commit();
    assert!(queue.get_in_place().unwrap().is_empty());
}

/// Kills its process while it writes or reads a message in place.
fn dies_in_place((queue, reads): (Queue<[u8]>, bool)) {
    if reads {
        let message = queue.get_in_place().unwrap();
        assert_eq!(&message[..], b"first");
        die();
    }
    let mut message = queue.reserve(1000).unwrap();
    message[..500].fill(7);
    die();
}

fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
    unreachable!("killed")
}

#[test]
fn a_process_killed_in_the_middle_of_a_message_in_place_takes_that_one_message_along() {
    watched(|| {
        let queue = Queue::<[u8]>::bounded(8).unwrap();
        for _ in 0..20 {
            [&b"first"[..], b"second"].iter().for_each(|text| queue.put_slice(text).unwrap());
            let reader = Process::spawn(dies_in_place, (queue.clone(), true)).unwrap();
            assert!(matches!(reader.join(), Err(ProcessError::Signalled(libc::SIGKILL))));
            let writer = Process::spawn(dies_in_place, (queue.clone(), false)).unwrap();
            assert!(matches!(writer.join(), Err(ProcessError::Signalled(libc::SIGKILL))));
            // Both locks were held by the dead; half a message was written.
            queue.put_slice(b"third").unwrap();
            assert_eq!(&queue.get_in_place().unwrap()[..], b"second");
            let mut third = Vec::new();
            queue.get_into(&mut third).unwrap();
            assert_eq!((&third[..], queue.len()), (&b"third"[..], 0));
            queue.task_done();
            queue.task_done();
            // What the dead had in their hands counts as done.
            assert!(queue.join_timeout(Duration::from_secs(10)));
        }
    });
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
