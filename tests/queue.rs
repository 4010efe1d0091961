//! Queues: order, bounds, closing, tasks, and nothing lost.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{on_workers, runtime, watched};
use ropewalk::queue::{GetError, LifoQueue, PriorityQueue, PutError, Queue};

#[test]
fn values_keep_their_order_through_a_small_queue() {
    for capacity in [1, 2, 3, 128] {
        on_workers(move || {
            let queue = Arc::new(Queue::bounded(capacity));
            let producer = {
                let queue = Arc::clone(&queue);
                ropewalk::spawn(move || {
                    (0..2_000).for_each(|n| queue.put(n).unwrap());
                    queue.close();
                })
            };
            assert!(queue.iter().eq(0..2_000));
            producer.join().unwrap();
            assert_eq!(queue.get(), Err(GetError::Closed));
        });
    }
}

#[test]
fn every_value_arrives_once_between_threads_and_coroutines() {
    for workers in [1, 2, 8] {
        watched(move || {
            let runtime = runtime(workers);
            let queue = Arc::new(Queue::bounded(5));
            let sum = Arc::new(AtomicUsize::new(0));
            let getters: Vec<_> = (0..3)
                .map(|_| {
                    let (queue, sum) = (Arc::clone(&queue), Arc::clone(&sum));
                    runtime.spawn(move || {
                        for n in queue.iter() {
                            sum.fetch_add(n, Ordering::Relaxed);
                            queue.task_done();
                        }
                    })
                })
                .collect();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| (1..=1_000).for_each(|n| queue.put(n).unwrap()));
                }
            });
            queue.join();
            assert_eq!(queue.unfinished_tasks(), 0);
            queue.close();
            getters.into_iter().for_each(|getter| getter.join().unwrap());
            assert_eq!(sum.load(Ordering::Relaxed), 3 * 500_500);
        });
    }
}

#[test]
fn errors_give_the_value_back() {
    let queue = Queue::bounded(1);
    queue.put("a").unwrap();
    assert!(queue.is_full() && queue.capacity() == Some(1));
    assert_eq!(queue.try_put("b"), Err(PutError::Full("b")));
    assert_eq!(queue.put_timeout("c", Duration::from_millis(1)), Err(PutError::Full("c")));
    queue.close();
    assert_eq!(queue.try_put("d").unwrap_err().into_inner(), "d");
    assert_eq!(queue.put("e").unwrap_err().0, "e");
    assert_eq!(queue.get(), Ok("a"));
    assert_eq!(queue.try_get(), Err(GetError::Closed));
    assert_eq!(queue.unfinished_tasks(), 1);
}

#[test]
fn close_now_returns_what_was_left_and_frees_the_joiner() {
    let queue = Queue::unbounded();
    (0..5).for_each(|n| queue.put(n).unwrap());
    assert_eq!(queue.close_now(), [0, 1, 2, 3, 4]);
    queue.join();
    assert_eq!(queue.get_timeout(Duration::from_secs(1)), Err(GetError::Closed));
}

#[test]
fn closing_wakes_both_sides() {
    on_workers(|| {
        let full = Arc::new(Queue::bounded(1));
        full.put(0).unwrap();
        let empty = Arc::new(Queue::<i32>::bounded(1));
        let putter = {
            let full = Arc::clone(&full);
            ropewalk::spawn(move || full.put(1).is_err())
        };
        let getter = {
            let empty = Arc::clone(&empty);
            ropewalk::spawn(move || empty.get().is_err())
        };
        ropewalk::sleep(Duration::from_millis(1));
        full.close();
        empty.close();
        assert!(putter.join().unwrap() && getter.join().unwrap());
    });
}

#[test]
fn a_cancelled_getter_takes_no_value_and_a_cancelled_putter_leaves_none() {
    on_workers(|| {
        let queue = Arc::new(Queue::bounded(1));
        for round in 0..200 {
            let getter = {
                let queue = Arc::clone(&queue);
                ropewalk::spawn(move || queue.get().unwrap())
            };
            if round % 2 == 0 {
                ropewalk::yield_now();
            }
            getter.cancel();
            queue.put(round).unwrap();
            match getter.join() {
                Ok(value) => assert_eq!(value, round),
                Err(_) => assert_eq!(queue.try_get(), Ok(round)),
            }
            queue.task_done();
            assert!(queue.is_empty());
        }
        queue.put(1).unwrap();
        let putter = {
            let queue = Arc::clone(&queue);
            ropewalk::spawn(move || queue.put(2))
        };
        ropewalk::sleep(Duration::from_millis(1));
        putter.cancel();
        assert!(putter.join().unwrap_err().is_cancelled());
        assert_eq!((queue.len(), queue.unfinished_tasks()), (1, 1));
    });
}

#[test]
fn priority_is_smallest_first_and_stable() {
    #[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
    struct Job(u32);
    let queue = PriorityQueue::bounded(10);
    let keyed = [(2, 'a'), (1, 'b'), (2, 'c'), (1, 'd')];
    for (rank, name) in keyed {
        queue.put((Job(rank), name)).unwrap();
    }
    queue.close();
    assert_eq!(queue.iter().map(|(_, name)| name).collect::<String>(), "bdac");

    /// Equal to every other of its rank.
    struct Ranked(u32, char);
    impl Ord for Ranked {
        fn cmp(&self, other: &Self) -> std::cmp::Ordering {
            self.0.cmp(&other.0)
        }
    }
    impl PartialOrd for Ranked {
        fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
            Some(self.cmp(other))
        }
    }
    impl PartialEq for Ranked {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other).is_eq()
        }
    }
    impl Eq for Ranked {}
    let queue = PriorityQueue::unbounded();
    for (index, name) in ('a'..='z').enumerate() {
        queue.put(Ranked(index as u32 % 2, name)).ok().unwrap();
    }
    queue.close();
    assert_eq!(queue.iter().map(|ranked| ranked.1).collect::<String>(), "acegikmoqsuwybdfhjlnprtvxz");
}

#[test]
fn lifo_is_last_in_first_out() {
    let queue = LifoQueue::bounded(3);
    (0..3).for_each(|n| queue.put(n).unwrap());
    assert!(queue.try_put(3).is_err());
    assert_eq!((queue.get(), queue.get(), queue.get()), (Ok(2), Ok(1), Ok(0)));
}

#[test]
#[should_panic(expected = "task_done was called more often")]
fn one_task_done_too_many_is_told() {
    Queue::<()>::unbounded().task_done();
}

#[test]
#[should_panic(expected = "capacity 0")]
fn a_queue_of_capacity_zero_is_told() {
    let _ = Queue::<()>::bounded(0);
}

#[test]
fn values_left_in_a_queue_are_dropped_with_it() {
    let value = Arc::new(());
    let queue = Queue::bounded(4);
    (0..3).for_each(|_| queue.put(Arc::clone(&value)).unwrap());
    drop(queue);
    assert_eq!(Arc::strong_count(&value), 1);
}

/// A number; comparing with 7 panics.
#[derive(Debug, PartialEq, Eq)]
struct Incomparable(u32);

impl PartialOrd for Incomparable {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Incomparable {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        assert!(self.0 != 7 && other.0 != 7, "7 cannot be compared");
        self.0.cmp(&other.0)
    }
}

#[test]
fn a_put_whose_comparison_panics_has_put_nothing() {
    let queue = PriorityQueue::bounded(8);
    [5, 3, 9].into_iter().for_each(|n| queue.put(Incomparable(n)).unwrap());
    let put = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.put(Incomparable(7))));
    assert!(put.is_err());
    assert_eq!((queue.len(), queue.unfinished_tasks()), (3, 3));
    assert_eq!(queue.get().unwrap(), Incomparable(3));
    queue.task_done();
    assert_eq!(queue.close_now(), [Incomparable(5), Incomparable(9)]);
    queue.join();
}

#[test]
fn a_queue_is_iterated_by_reference_until_it_is_closed_and_by_value_until_it_is_empty() {
    on_workers(|| {
        let queue = Arc::new(Queue::bounded(2));
        let other = Arc::clone(&queue);
        let putting = ropewalk::spawn(move || {
            (0..100).for_each(|n| other.put(n).unwrap());
            other.close();
        });
        let mut next = 0;
        for n in &*queue {
            assert_eq!(n, next);
            next += 1;
        }
        assert_eq!(next, 100);
        putting.join().unwrap();
    });
    let (lifo, open) = (LifoQueue::unbounded(), Queue::unbounded());
    (0..3).for_each(|n| lifo.put(n).unwrap());
    assert_eq!(lifo.into_iter().collect::<Vec<_>>(), [2, 1, 0]);
    // It is not closed, but nobody else has it.
    open.put(1).unwrap();
    assert_eq!(open.into_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_putter_learns_of_room_that_another_was_woken_for_and_did_not_use() {
    watched(|| {
        runtime(1).run(|| {
            let queue = Arc::new(Queue::bounded(1));
            queue.put(0).unwrap();
            let putters: Vec<_> = (1..=2)
                .map(|n| {
                    let queue = Arc::clone(&queue);
                    ropewalk::spawn(move || queue.put(n).unwrap())
                })
                .collect();
            // Both run, and wait for room.
            (0..4).for_each(|_| ropewalk::yield_now());
            // Wakes the first putter, which finds this getter waiting when it runs.
            assert_eq!(queue.get(), Ok(0));
            assert_eq!(queue.get_timeout(Duration::from_secs(10)), Ok(1));
            // The second one was waiting for the room that the first has left.
            assert_eq!(queue.get_timeout(Duration::from_secs(10)), Ok(2));
            putters.into_iter().for_each(|putter| putter.join().unwrap());
        });
    });
}

#[test]
fn what_is_put_for_a_getter_that_waits_is_counted_until_it_is_done() {
    watched(|| {
        runtime(1).run(|| {
            let queue = Arc::new(Queue::bounded(1));
            let own = Arc::clone(&queue);
            let getter = ropewalk::spawn(move || {
                assert_eq!(own.get(), Ok(7));
                assert_eq!((own.len(), own.unfinished_tasks()), (0, 1));
                own.task_done();
                assert_eq!(own.get(), Err(GetError::Closed));
            });
            (0..4).for_each(|_| ropewalk::yield_now());
            queue.put(7).unwrap();
            queue.join();
            (0..4).for_each(|_| ropewalk::yield_now());
            assert_eq!(queue.close_now(), []);
            assert_eq!(queue.put(8).unwrap_err().0, 8);
            getter.join().unwrap();
        });
    });
}

#[test]
fn a_value_for_a_getter_that_was_cancelled_goes_to_the_next_one() {
    watched(|| {
        runtime(1).run(|| {
            let queue = Arc::new(Queue::unbounded());
            let getter = || {
                let queue = Arc::clone(&queue);
                ropewalk::spawn(move || queue.get())
            };
            let (cancelled, patient, last) = (getter(), getter(), getter());
            (0..4).for_each(|_| ropewalk::yield_now());
            // Its wait is over, and it is still listed: it has not run since.
            cancelled.cancel();
            queue.put(7).unwrap();
            last.cancel();
            queue.put(8).unwrap();
            assert!(cancelled.join().unwrap_err().is_cancelled());
            assert_eq!(patient.join().unwrap(), Ok(7));
            assert!(last.join().unwrap_err().is_cancelled());
            assert_eq!((queue.len(), queue.try_get()), (1, Ok(8)));
        });
    });
}

/// A number whose comparisons panic while the flag says so.
struct Moody(u32, Arc<AtomicBool>);

impl PartialEq for Moody {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Moody {}

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Moody {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        assert!(!self.1.load(SeqCst) && !other.1.load(SeqCst), "not now");
        self.0.cmp(&other.0)
    }
}

fn caught<T>(f: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).ok()
}

#[test]
fn a_get_or_close_whose_comparison_panics_has_taken_nothing() {
    let moody = Arc::new(AtomicBool::new(false));
    let queue = PriorityQueue::unbounded();
    [4, 2, 5, 1, 3].into_iter().for_each(|n| assert!(queue.put(Moody(n, Arc::clone(&moody))).is_ok()));
    moody.store(true, SeqCst);
    assert!(caught(|| queue.get().is_ok()).is_none());
    assert!(caught(|| queue.try_get().is_ok()).is_none());
    assert_eq!(queue.len(), 5);
    moody.store(false, SeqCst);
    assert_eq!(queue.get().ok().map(|value| value.0), Some(1));
    moody.store(true, SeqCst);
    assert!(caught(|| queue.close_now().len()).is_none());
    moody.store(false, SeqCst);
    let left: Vec<u32> = queue.close_now().into_iter().map(|value| value.0).collect();
    assert_eq!((left, queue.unfinished_tasks()), (vec![2, 3, 4, 5], 1));
}

#[test]
fn a_put_that_was_woken_and_panics_passes_the_wake_on() {
    watched(|| {
        let runtime = runtime(1);
        runtime.run(|| {
            let (calm, moody) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
            let queue = Arc::new(PriorityQueue::bounded(2));
            (1..3).for_each(|n| assert!(queue.put(Moody(n, Arc::clone(&calm))).is_ok()));
            let put = |n, mood: &Arc<AtomicBool>| {
                let (queue, value) = (Arc::clone(&queue), Moody(n, Arc::clone(mood)));
                let putting = ropewalk::spawn(move || queue.put(value).is_ok());
                // On the one worker, it waits once this goes on.
                (0..10).for_each(|_| ropewalk::yield_now());
                putting
            };
            let (first, second) = (put(13, &moody), put(5, &calm));
            assert!(queue.get().is_ok());
            assert!(first.join().is_err());
            assert!(second.join().unwrap());
        });
    });
}
