//! The mutexes, on coroutines and plain threads together.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{mixed, on_workers, watched};
use ropewalk::sync::*;

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

#[test]
fn a_guard_of_a_part_keeps_the_whole_locked_until_it_goes() {
    on_workers(|| {
        let pair = Arc::new(Mutex::new((1, String::from("rope"))));
        let part =
            MappedMutexGuard::map(MutexGuard::map(pair.lock(), |pair| &mut pair.1), String::as_mut_str);
        let other = Arc::clone(&pair);
        let waiting = ropewalk::spawn(move || other.lock().0 += 1);
        while !pair.state().contended {
            ropewalk::yield_now();
        }
        assert_eq!(&*part, "rope");
        drop(part);
        waiting.join().unwrap();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(MutexGuard::map(pair.lock(), |_| -> &mut u8 { panic!("on purpose") }));
        }));
        assert!(caught.is_err() && !pair.is_locked() && pair.lock().0 == 2);
    });
}
