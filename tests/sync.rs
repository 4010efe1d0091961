//! The locks, on coroutines and plain threads together.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{on_workers, runtime, watched};
use ropewalk::sync::*;

/// Runs `f` on 4 coroutines and 2 plain threads at once, with 1, 2 and 8 workers.
fn mixed(f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    for workers in [1, 2, 8] {
        let f = Arc::clone(&f);
        watched(move || {
            let runtime = runtime(workers);
            let coroutines: Vec<_> = (0..4)
                .map(|_| {
                    let f = Arc::clone(&f);
                    runtime.spawn(move || f())
                })
                .collect();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| f());
                }
            });
            coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        });
    }
}

#[test]
fn a_mutex_loses_no_increment() {
    let total = Arc::new(Mutex::new(0u64));
    let shared = Arc::clone(&total);
    mixed(move || {
        for n in 0..5_000 {
            let mut guard = shared.lock();
            *guard += 1;
            if n % 64 == 0 {
                ropewalk::yield_now();
            }
        }
    });
    assert_eq!(*total.lock(), 3 * 6 * 5_000);
}

#[test]
fn a_cancelled_waiter_leaves_the_mutex_usable() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(0));
        let guard = mutex.lock();
        let waiters: Vec<_> = (0..10)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                ropewalk::spawn(move || *mutex.lock() += 1)
            })
            .collect();
        ropewalk::sleep(Duration::from_millis(2));
        waiters.iter().step_by(2).for_each(ropewalk::JoinHandle::cancel);
        drop(guard);
        let ended =
            waiters.into_iter().filter(|_| true).map(|waiter| waiter.join().is_ok()).filter(|ok| *ok).count();
        assert!(ended >= 5);
        assert_eq!(*mutex.lock(), ended);
    });
}

#[test]
fn a_starving_waiter_gets_the_mutex() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(()));
        let done = Arc::new(AtomicBool::new(false));
        let hog = {
            let (mutex, done) = (Arc::clone(&mutex), Arc::clone(&done));
            ropewalk::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let _guard = mutex.lock();
                    ropewalk::yield_now();
                }
            })
        };
        for _ in 0..20 {
            drop(mutex.lock());
            ropewalk::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        hog.join().unwrap();
    });
}

#[test]
fn a_deadlock_is_reported_by_the_wait_that_closes_it_and_the_program_goes_on() {
    on_workers(|| {
        let (a, b) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
        let meet = Arc::new(Barrier::new(2));
        let lock_both = |name: &str, first: &Arc<Mutex<i32>>, second: &Arc<Mutex<i32>>| {
            let (first, second, meet) = (Arc::clone(first), Arc::clone(second), Arc::clone(&meet));
            ropewalk::Builder::new()
                .name(name)
                .spawn(move || {
                    let one = first.lock();
                    meet.wait().unwrap();
                    let two = second.lock();
                    *one + *two
                })
                .unwrap()
        };
        let handles = [lock_both("ada", &a, &b), lock_both("bob", &b, &a)];
        let results: Vec<_> = handles.into_iter().map(|handle| handle.join()).collect();
        let reports: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(reports.len(), 1, "one of the two is told, the other goes on: {results:?}");
        let report = reports[0].to_string();
        assert!(report.contains("ada") && report.contains("bob") && report.contains("wants"), "{report}");
        assert_eq!((*a.lock(), *b.lock()), (1, 2));
    });
}

#[test]
fn locking_twice_is_reported() {
    let check = || {
        let mutex = Mutex::new(());
        let _guard = mutex.lock();
        assert!(mutex.lock_timeout(Duration::from_millis(2)).is_none());
        let payload =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(mutex.lock()))).unwrap_err();
        assert!(payload.downcast_ref::<String>().unwrap().contains("deadlock"));
    };
    on_workers(check);
    watched(check);
}

#[test]
fn releasing_a_mutex_of_another_is_an_error() {
    on_workers(|| {
        static RAW: RawMutex = RawMutex::new();
        let raw = &RAW;
        raw.acquire();
        assert!(ropewalk::spawn(move || raw.release()).join().unwrap().is_err());
        raw.release().unwrap();
        assert!(raw.release().is_err());
    });
}

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
fn a_reentrant_mutex_counts() {
    let mutex = Arc::new(ReentrantMutex::new(std::cell::Cell::new(0u64)));
    let shared = Arc::clone(&mutex);
    mixed(move || {
        for _ in 0..500 {
            let outer = shared.lock();
            let inner = shared.lock();
            inner.set(outer.get() + 1);
            ropewalk::yield_now();
        }
    });
    assert_eq!(mutex.lock().get(), 3 * 6 * 500);
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
fn a_thousand_coroutines_on_one_mutex_do_not_take_for_ever() {
    on_workers(|| {
        let mutex = Mutex::new(0u64);
        ropewalk::scope(|s| {
            for _ in 0..1_000 {
                s.spawn(|| {
                    for n in 0..20 {
                        let mut guard = mutex.lock();
                        *guard += 1;
                        // Held across a switch: all others queue up, and waits grow long enough to be
                        // ended by a hand-off.
                        if n % 10 == 0 {
                            ropewalk::yield_now();
                        }
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), 20_000);
    });
}
