//! The locks but for mutexes, on coroutines and plain threads together.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{mixed, on_workers, runtime, watched};
use ropewalk::sync::*;

#[test]
fn readers_share_and_writers_are_alone() {
    let lock = Arc::new(RwLock::new((0u64, 0u64)));
    let shared = Arc::clone(&lock);
    mixed(move || {
        for n in 0..2_000 {
            if n % 4 == 0 {
                let mut pair = shared.write();
                pair.0 += 1;
                if n % 32 == 0 {
                    ropewalk::yield_now();
                }
                pair.1 += 1;
            } else {
                let pair = shared.read();
                assert_eq!(pair.0, pair.1);
            }
        }
    });
    assert_eq!(lock.read().0, 3 * 6 * 500);
}

#[test]
fn readers_in_a_loop_do_not_starve_a_writer() {
    on_workers(|| {
        let lock = Arc::new(RwLock::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (lock, done) = (Arc::clone(&lock), Arc::clone(&done));
                ropewalk::spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let _guard = lock.read();
                        ropewalk::yield_now();
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            *lock.write() += 1;
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(*lock.read(), 50);
    });
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    on_workers(|| {
        let lock = Arc::new(RwLock::new(()));
        let inside = lock.read();
        let writer = {
            let lock = Arc::clone(&lock);
            ropewalk::spawn(move || lock.write_timeout(Duration::from_millis(5)).is_none())
        };
        ropewalk::sleep(Duration::from_millis(1));
        let reader = {
            let lock = Arc::clone(&lock);
            ropewalk::spawn(move || drop(lock.read()))
        };
        assert!(writer.join().unwrap());
        reader.join().unwrap();
        drop(inside);
        drop(lock.write());
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in_and_no_writer() {
    // One worker, so that a few yields are enough for the others to come and wait.
    watched(|| {
        runtime(1).run(|| {
            let lock = Arc::new(RwLock::new(0));
            let come = |f: fn(&RwLock<i32>)| {
                let lock = Arc::clone(&lock);
                let handle = ropewalk::spawn(move || f(&lock));
                (0..10).for_each(|_| ropewalk::yield_now());
                assert!(!handle.is_finished(), "it waits");
                handle
            };
            let mut writer = lock.write();
            let before = come(|lock| assert_eq!(*lock.read(), 7));
            let between = come(|lock| *lock.write() += 1);
            let after = come(|lock| assert_eq!(*lock.read(), 8));
            *writer = 7;
            let reader = WriteGuard::downgrade(writer);
            before.join().unwrap();
            assert!(*reader == 7 && !between.is_finished() && !after.is_finished());
            drop(reader);
            between.join().unwrap();
            after.join().unwrap();
        });
    });
}

#[test]
fn nobody_writes_between_a_writer_and_the_reader_that_it_becomes() {
    let lock = RwLock::new(0u32);
    mixed(move || {
        for _ in 0..300 {
            let mut writer = lock.write();
            *writer += 1;
            let written = *writer;
            let reader = WriteGuard::downgrade(writer);
            if written.is_multiple_of(3) {
                ropewalk::yield_now();
            }
            assert_eq!(*reader, written);
            drop(reader);
            let _ = *lock.read();
        }
    });
}

#[test]
fn a_condvar_passes_turns() {
    on_workers(|| {
        let pair = Arc::new((Mutex::new(0u32), Condvar::new()));
        let other = Arc::clone(&pair);
        let odd = ropewalk::spawn(move || {
            let (turn, changed) = &*other;
            for n in (1..1_000).step_by(2) {
                let mut turn = changed.wait_while(turn.lock(), |turn| *turn != n);
                *turn += 1;
                changed.notify_one();
            }
        });
        let (turn, changed) = &*pair;
        for n in (0..1_000).step_by(2) {
            let mut turn = changed.wait_while(turn.lock(), |turn| *turn != n);
            *turn += 1;
            changed.notify_one();
        }
        odd.join().unwrap();
        assert_eq!(*turn.lock(), 1_000);
        let (_guard, notified) = changed.wait_timeout(turn.lock(), Duration::from_millis(1));
        assert!(!notified);
    });
}

#[test]
fn a_semaphore_never_lets_too_many_in() {
    let inside = Arc::new(AtomicUsize::new(0));
    let semaphore = Arc::new(Semaphore::bounded(2));
    mixed(move || {
        for _ in 0..500 {
            let _permit = semaphore.permit();
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
            ropewalk::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
        }
    });
}

#[test]
fn a_cancelled_wait_takes_no_permit_with_it() {
    on_workers(|| {
        let semaphore = Arc::new(Semaphore::new(0));
        for _ in 0..100 {
            let waiter = {
                let semaphore = Arc::clone(&semaphore);
                ropewalk::spawn(move || semaphore.acquire())
            };
            ropewalk::yield_now();
            waiter.cancel();
            semaphore.release().unwrap();
            match waiter.join() {
                Ok(()) => assert_eq!(semaphore.available(), 0),
                Err(_) => {
                    assert_eq!(semaphore.available(), 1);
                    semaphore.acquire();
                }
            }
        }
    });
}

#[test]
fn events_release_all_and_can_be_cleared() {
    on_workers(|| {
        let event = Arc::new(Event::new());
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let event = Arc::clone(&event);
                ropewalk::spawn(move || event.wait())
            })
            .collect();
        event.set();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        event.clear();
        assert!(!event.wait_timeout(Duration::from_millis(1)));
    });
}

#[test]
fn a_barrier_has_one_leader_a_round_and_breaks_for_all() {
    on_workers(|| {
        let barrier = Arc::new(Barrier::new(4));
        let parties: Vec<_> = (0..4)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                ropewalk::spawn(move || (0..200).filter(|_| barrier.wait().unwrap().is_leader()).count())
            })
            .collect();
        assert_eq!(parties.into_iter().map(|party| party.join().unwrap()).sum::<usize>(), 200);
        let waiter = {
            let barrier = Arc::clone(&barrier);
            ropewalk::spawn(move || barrier.wait())
        };
        while barrier.waiting() == 0 {
            ropewalk::yield_now();
        }
        assert!(barrier.wait_timeout(Duration::from_millis(1)).is_err());
        assert!(waiter.join().unwrap().is_err());
        assert!(barrier.is_broken() && barrier.wait().is_err());
        barrier.reset();
        assert!(!barrier.is_broken());
    });
}

#[test]
fn a_once_runs_once_and_again_after_a_panic() {
    let runs = Arc::new(AtomicU32::new(0));
    let once = Arc::new(OnceCell::new());
    let (counted, cell) = (Arc::clone(&runs), Arc::clone(&once));
    mixed(move || {
        let value = cell.get_or_init(|| {
            ropewalk::yield_now();
            counted.fetch_add(1, Ordering::Relaxed) + 7
        });
        assert_eq!(*value, 7);
    });
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let once = Once::new();
    let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| once.call_once(|| panic!("no"))));
    assert!(attempt.is_err() && !once.is_completed());
    once.call_once(|| ());
    assert!(once.is_completed());
}

#[test]
fn a_wait_group_refuses_one_done_too_many() {
    let group = WaitGroup::new();
    group.add(1);
    group.done();
    group.wait();
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| group.done())).is_err());
}

#[test]
fn futexes_wake_as_many_as_asked() {
    on_workers(|| {
        let word = Arc::new(AtomicU32::new(0));
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let word = Arc::clone(&word);
                ropewalk::spawn(move || futex::wait(&word, 0, None))
            })
            .collect();
        let mut woken = 0;
        while woken < 10 {
            woken += futex::wake(&word, 3);
            ropewalk::yield_now();
        }
        for waiter in waiters {
            assert_eq!(waiter.join().unwrap(), futex::Waited::Woken);
        }
        let deadline = Instant::now() + Duration::from_millis(1);
        assert_eq!(futex::wait(&word, 0, Some(deadline)), futex::Waited::TimedOut);
    });
}

#[test]
fn what_std_lets_through_an_unwinding_goes_through_here() {
    use std::panic::{RefUnwindSafe, UnwindSafe};
    fn both<T: UnwindSafe + RefUnwindSafe>() {}
    both::<ropewalk::sync::Barrier>();
    both::<ropewalk::sync::Condvar>();
    both::<ropewalk::sync::Event>();
    both::<ropewalk::sync::Lazy<u8>>();
    both::<ropewalk::sync::Once>();
    both::<ropewalk::sync::OnceCell<u8>>();
    both::<ropewalk::sync::RawMutex>();
    both::<ropewalk::sync::Semaphore>();
    both::<ropewalk::sync::WaitGroup>();
    both::<ropewalk::queue::Queue<std::cell::Cell<u8>>>();
    both::<ropewalk::queue::LifoQueue<u8>>();
    both::<ropewalk::queue::PriorityQueue<u8>>();
    both::<ropewalk::coroutine::Handle>();
    both::<ropewalk::JoinHandle<u8>>();
    both::<ropewalk::Runtime>();
    both::<ropewalk::thread::ThreadPool>();
    both::<ropewalk::net::TcpStream>();
    both::<ropewalk::net::UdpSocket>();
}

#[test]
fn debug_tells_the_state_and_not_how_it_is_kept() {
    use ropewalk::sync::{Barrier, Condvar, Event, Once, Semaphore, WaitGroup};
    assert_eq!(format!("{:?}", Semaphore::bounded(2)), "Semaphore { available: 2, .. }");
    assert_eq!(format!("{:?}", WaitGroup::new()), "WaitGroup { count: 0 }");
    assert_eq!(format!("{:?}", Event::new()), "Event { set: false }");
    assert_eq!(format!("{:?}", Once::new()), "Once { completed: false }");
    assert_eq!(format!("{:?}", Condvar::new()), "Condvar { .. }");
    assert_eq!(format!("{:?}", Barrier::new(3)), "Barrier { parties: 3, waiting: 0, broken: false }");
}

#[test]
fn a_wake_of_all_wakes_each_who_waits_now_once() {
    const WAITERS: usize = 256;
    static WORD: AtomicU32 = AtomicU32::new(0);
    watched(|| {
        std::thread::scope(|scope| {
            for _ in 0..WAITERS {
                // Each comes back at once: a wake that goes on as long as somebody waits does not end.
                scope.spawn(|| {
                    while WORD.load(Ordering::SeqCst) == 0 {
                        futex::wait(&WORD, 0, None);
                    }
                });
            }
            let mut most = 0;
            while most < WAITERS / 2 {
                let woken = futex::wake(&WORD, usize::MAX);
                assert!(woken <= WAITERS, "{woken} of {WAITERS} were woken");
                most = most.max(woken);
                std::thread::yield_now();
            }
            WORD.store(1, Ordering::SeqCst);
            futex::wake(&WORD, usize::MAX);
        });
    });
}
