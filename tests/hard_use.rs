//! Locks, queues and channels in hands that leak, panic, cancel, and come at the wrong moment.
#![forbid(unsafe_code)]

mod common;

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Random, on_workers, runtime, watched};
use ropewalk::channel::{self, Select, bounded, unbounded};
use ropewalk::queue::{PriorityQueue, Queue};
use ropewalk::sync::{Barrier, Condvar, Event, Mutex, Once, OnceCell, RwLock, Semaphore, WaitGroup};

#[test]
fn a_send_that_was_selected_has_its_room_whatever_others_do() {
    let (sender, receiver) = bounded(2);
    let mut select = Select::new();
    select.send(&sender);
    let operation = select.select();
    // Others fill the channel between the choice and the send.
    assert!(sender.try_send(1).is_ok());
    assert!(sender.try_send(2).is_err() && sender.is_full());
    operation.send(&sender, 3).unwrap();
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn receivers_go_on_while_a_selected_send_makes_its_message() {
    on_workers(|| {
        let (sender, receiver) = bounded(1);
        let (answer, question) = bounded(0);
        let other = ropewalk::spawn(move || answer.send(5).unwrap());
        // The message comes from a wait, with the room reserved.
        ropewalk::select! {
            send(sender, question.recv().unwrap()) -> sent => sent.unwrap(),
        }
        other.join().unwrap();
        assert_eq!(receiver.recv(), Ok(5));
    });
}

#[test]
fn room_of_a_selected_send_that_panics_is_given_back_to_one_who_waits() {
    on_workers(|| {
        let (sender, receiver) = bounded(1);
        let mut select = Select::new();
        select.send(&sender);
        let operation = select.select();
        let waiter = {
            let sender = sender.clone();
            ropewalk::spawn(move || sender.send(7).unwrap())
        };
        ropewalk::sleep(Duration::from_millis(1));
        assert!(receiver.try_recv().is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| drop(operation))).is_err());
        waiter.join().unwrap();
        assert_eq!(receiver.recv(), Ok(7));
    });
}

#[test]
fn a_selected_send_gets_its_message_back_if_the_receivers_go_meanwhile() {
    let (sender, receiver) = bounded(1);
    let mut select = Select::new();
    select.send(&sender);
    let operation = select.select();
    drop(receiver);
    assert_eq!(operation.send(&sender, 9).unwrap_err().0, 9);
}

#[test]
fn selected_sends_never_overfill_a_channel() {
    const EACH: usize = 2000;
    watched(|| {
        let (sender, receiver) = bounded(3);
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let sender = sender.clone();
                std::thread::spawn(move || {
                    for number in 0..EACH {
                        if number % 2 == 0 {
                            ropewalk::select! { send(sender, number) -> sent => sent.unwrap() }
                        } else {
                            sender.send(number).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let mut count = 0;
        while receiver.recv().is_ok() {
            count += 1;
            assert!(receiver.len() <= 3);
        }
        assert_eq!(count, 3 * EACH);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// Counts how often it is dropped; panics then if it is told to.
struct Loud(Arc<AtomicUsize>, bool);

impl Drop for Loud {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        assert!(!self.1, "loud");
    }
}

#[test]
fn messages_that_panic_when_dropped_are_dropped_once_at_most() {
    for capacity in [Some(200), None] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
        for number in 0..150 {
            sender.send(Loud(Arc::clone(&dropped), number == 100)).unwrap();
        }
        assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
        assert!(sender.send(Loud(Arc::clone(&dropped), false)).is_err());
        drop(sender);
        // 101 of the channel, and the one that came back.
        assert_eq!(dropped.load(Ordering::Relaxed), 102);
        let queue = capacity.map_or_else(Queue::unbounded, Queue::bounded);
        dropped.store(0, Ordering::Relaxed);
        for number in 0..150 {
            assert!(queue.put(Loud(Arc::clone(&dropped), number == 100)).is_ok());
        }
        assert!(catch_unwind(AssertUnwindSafe(|| drop(queue))).is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), 101);
    }
}

#[test]
fn values_of_no_size_and_of_a_great_one_pass() {
    watched(|| {
        for capacity in [Some(0), Some(1), Some(5), None] {
            let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
            let thread = std::thread::spawn(move || (0..500).for_each(|_| sender.send(()).unwrap()));
            assert_eq!(receiver.iter().count(), 500);
            thread.join().unwrap();
            let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
            let thread = std::thread::spawn(move || {
                (0..20).for_each(|n: u8| sender.send([n; 10_000]).unwrap());
            });
            assert!((0..20).all(|n| receiver.recv().unwrap() == [n; 10_000]));
            thread.join().unwrap();
        }
    });
}

#[test]
#[should_panic(expected = "does not fit into memory")]
fn a_channel_of_absurd_capacity_is_told() {
    drop(channel::bounded::<u64>(usize::MAX));
}

#[test]
#[should_panic(expected = "does not fit into memory")]
fn a_queue_of_absurd_capacity_is_told() {
    drop(Queue::<[u64; 100]>::bounded(usize::MAX / 1000));
}

/// Compares slowly, so that others find the queue's lock taken.
#[derive(PartialEq, Eq)]
struct Slow(u32);

impl Ord for Slow {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (0..200).for_each(|_| std::hint::spin_loop());
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Slow {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[test]
fn a_priority_queue_with_slow_comparisons_holds_nobody_up_for_ever() {
    // Coroutines of one worker wait for values while a thread holds the store's lock.
    watched(|| {
        let runtime = runtime(2);
        let queue = Arc::new(PriorityQueue::bounded(4));
        let getters: Vec<_> = (0..8)
            .map(|_| {
                let queue = Arc::clone(&queue);
                runtime.spawn(move || std::iter::from_fn(|| queue.get().ok()).count())
            })
            .collect();
        let putters: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::spawn(move || (0..3000).for_each(|n| queue.put(Slow(n % 17)).unwrap()))
            })
            .collect();
        putters.into_iter().for_each(|putter| putter.join().unwrap());
        queue.close();
        assert_eq!(getters.into_iter().map(|getter| getter.join().unwrap()).sum::<usize>(), 6000);
    });
}

#[test]
fn a_guard_in_a_thread_local_outlives_its_partys_number_and_nobody_else_gets_the_mutex() {
    static GATE: Mutex<Cell<u32>> = Mutex::new(Cell::new(0));
    struct Late(RefCell<Option<ropewalk::sync::MutexGuard<'static, Cell<u32>>>>);
    impl Drop for Late {
        fn drop(&mut self) {
            // The thread's own record may be gone by now; others come for its number and its mutex.
            let crowd: Vec<_> = (0..4)
                .map(|_| {
                    std::thread::spawn(|| {
                        (0..20).for_each(|_| {
                            let got = GATE.lock_timeout(Duration::from_micros(50));
                            assert!(got.is_none(), "the mutex is held");
                        });
                    })
                })
                .collect();
            crowd.into_iter().for_each(|one| one.join().unwrap());
            if let Some(guard) = self.0.take() {
                guard.set(guard.get() + 1);
            }
        }
    }
    thread_local!(static LATE: Late = const { Late(RefCell::new(None)) });
    watched(|| {
        for round in 1..=20 {
            std::thread::spawn(|| LATE.with(|late| *late.0.borrow_mut() = Some(GATE.lock()))).join().unwrap();
            assert_eq!(GATE.lock().get(), round);
        }
    });
}

#[test]
fn permits_go_to_those_who_wait_in_their_order() {
    on_workers(|| {
        let seats = Arc::new(Semaphore::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let arrived = Arc::new(AtomicUsize::new(0));
        let waiters: Vec<_> = (0..10)
            .map(|number| {
                let (seats, order) = (Arc::clone(&seats), Arc::clone(&order));
                let coming = Arc::clone(&arrived);
                let waiter = ropewalk::spawn(move || {
                    coming.fetch_add(1, Ordering::SeqCst);
                    seats.acquire();
                    order.lock().push(number);
                    seats.release().unwrap();
                });
                // It may start on another worker, which has to wake first.
                while arrived.load(Ordering::SeqCst) <= number {
                    ropewalk::yield_now();
                }
                ropewalk::sleep(Duration::from_millis(1));
                waiter
            })
            .collect();
        assert!(seats.try_permit().is_none() && seats.permit_timeout(Duration::from_micros(10)).is_none());
        seats.release().unwrap();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(*order.lock(), (0..10).collect::<Vec<_>>());
        assert!(seats.permit_deadline(Instant::now()).is_some());
    });
}

#[test]
fn waits_for_what_has_happened_end_at_once_and_others_by_their_deadline() {
    watched(|| {
        let soon = || Instant::now() + Duration::from_millis(1);
        let (once, cell, group, event) = (Once::new(), OnceCell::new(), WaitGroup::new(), Event::new());
        assert!(!once.wait_deadline(soon()) && cell.wait_deadline(soon()).is_none());
        group.add(1);
        assert!(!group.try_wait() && !group.wait_deadline(soon()) && !event.wait_deadline(soon()));
        std::thread::scope(|scope| {
            scope.spawn(|| (once.wait(), *cell.wait(), group.wait(), event.wait()));
            ropewalk::sleep(Duration::from_millis(1));
            // A run that fails leaves the waiters waiting.
            assert!(catch_unwind(AssertUnwindSafe(|| once.call_once(|| panic!("not yet")))).is_err());
            assert_eq!(cell.get_or_try_init(|| Err(3)), Err(3));
            once.call_once(|| ());
            assert!(cell.set(4).is_ok());
            group.done();
            event.set();
        });
        assert!(once.wait_timeout(Duration::ZERO) && cell.wait_timeout(Duration::ZERO) == Some(&4));
        let (mutex, condvar) = (Mutex::new(0), Condvar::new());
        let (guard, changed) = condvar.wait_deadline_while(mutex.lock(), soon(), |value| *value == 0);
        assert!(!changed && *guard == 0);
        let queue = Queue::unbounded();
        queue.put(1).unwrap();
        assert!(!queue.join_deadline(soon()));
    });
}

#[test]
fn a_barrier_that_was_reset_is_not_broken_by_those_who_waited_before() {
    on_workers(|| {
        for _ in 0..200 {
            let barrier = Arc::new(Barrier::new(2));
            let late = {
                let barrier = Arc::clone(&barrier);
                ropewalk::spawn(move || barrier.wait_timeout(Duration::from_micros(20)))
            };
            while barrier.waiting() == 0 && !barrier.is_broken() {
                ropewalk::yield_now();
            }
            barrier.reset();
            let fresh = {
                let barrier = Arc::clone(&barrier);
                ropewalk::spawn(move || barrier.wait_timeout(Duration::from_secs(20)))
            };
            assert!(late.join().unwrap().is_err());
            barrier.wait_timeout(Duration::from_secs(20)).expect("nobody of this round has given up");
            fresh.join().unwrap().expect("nobody of this round has given up");
        }
    });
}

#[test]
fn cancellations_deadlines_and_wakes_that_race_lose_nothing() {
    let mut random = Random::new();
    let delays: Arc<Vec<u64>> = Arc::new((0..64).map(|_| random.below(60)).collect());
    on_workers(move || {
        for delay in delays.iter() {
            let (sender, receiver) = bounded(1);
            let got = Arc::new(AtomicUsize::new(0));
            let takers: Vec<_> = (0..6)
                .map(|number| {
                    let (receiver, got) = (receiver.clone(), Arc::clone(&got));
                    ropewalk::spawn(move || {
                        let limit = Duration::from_micros(20 * (number + 1));
                        if receiver.recv_timeout(limit).is_ok() {
                            got.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            ropewalk::sleep(Duration::from_micros(*delay));
            takers.iter().step_by(2).for_each(ropewalk::JoinHandle::cancel);
            let sent =
                (0..4).filter(|n| sender.send_timeout(*n, Duration::from_micros(*delay)).is_ok()).count();
            takers.into_iter().for_each(|taker| drop(taker.join()));
            assert_eq!(got.load(Ordering::Relaxed) + receiver.try_iter().count(), sent);
        }
    });
}

#[test]
fn a_writer_gets_in_while_readers_of_both_kinds_never_stop() {
    watched(|| {
        let runtime = runtime(2);
        let (lock, done) = (Arc::new(RwLock::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = || {
            let (lock, done) = (Arc::clone(&lock), Arc::clone(&done));
            move || {
                while !done.load(Ordering::Relaxed) {
                    let guard = lock.read();
                    ropewalk::yield_now();
                    drop(guard);
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| std::thread::spawn(reader())).collect();
        let coroutines: Vec<_> = (0..4).map(|_| runtime.spawn(reader())).collect();
        (0..50).for_each(|_| *lock.write() += 1);
        done.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        assert_eq!(*lock.read(), 50);
    });
}
