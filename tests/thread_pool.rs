//! The thread pool: values, order, closing, bounds, and no deadlock with itself.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{on_workers, watched};
use ropewalk::sync::Event;
use ropewalk::thread::{SubmitError, TaskError, ThreadPool, WhenFull, spawn_blocking};

#[test]
fn map_gives_values_in_order_from_threads_and_coroutines() {
    let check = || {
        let pool = ThreadPool::new(3);
        assert!(pool.map(|n| n * 2, 0..500).unwrap().into_iter().eq((0..500).map(|n| n * 2)));
        assert!(pool.imap(|n| n + 1, 0..100).map(Result::unwrap).eq(1..101));
        let mut values: Vec<_> = pool.imap_unordered(|n| n + 1, 0..100).map(Result::unwrap).collect();
        values.sort_unstable();
        assert!(values.into_iter().eq(1..101));
        pool.close();
        pool.join().unwrap();
        assert_eq!(pool.threads(), 0);
    };
    watched(check);
    on_workers(check);
}

#[test]
fn imap_takes_items_only_as_needed() {
    watched(|| {
        let pool = ThreadPool::new(2);
        let taken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&taken);
        let mut values = pool.imap(
            |n| n,
            (0..).inspect(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            }),
        );
        assert_eq!(values.next().unwrap().unwrap(), 0);
        assert!(taken.load(Ordering::Relaxed) <= 5);
    });
}

#[test]
fn a_panicking_task_fails_only_its_own_result() {
    watched(|| {
        let pool = ThreadPool::new(1);
        let bad = pool.apply_async::<(), _>(|| panic!("boom")).unwrap();
        assert_eq!(pool.apply(|| 1).unwrap(), 1);
        assert_eq!(bad.successful(), Some(false));
        let error: TaskError = bad.get().unwrap_err();
        assert!(error.to_string().contains("boom"));
    });
}

#[test]
fn waiting_inside_the_pool_does_not_deadlock_it() {
    fn sum(pool: &Arc<ThreadPool>, from: u64, to: u64) -> u64 {
        if to - from <= 4 {
            return (from..to).sum();
        }
        let (middle, own) = (from + (to - from) / 2, Arc::clone(pool));
        let left = pool.apply_async(move || sum(&own, from, middle)).unwrap();
        sum(pool, middle, to) + left.get().unwrap()
    }
    watched(|| {
        for threads in [1, 2, 8] {
            let pool = Arc::new(ThreadPool::builder(threads).bound(2, WhenFull::Block).build());
            let own = Arc::clone(&pool);
            assert_eq!(pool.apply(move || sum(&own, 0, 1_000)).unwrap(), 499_500);
        }
    });
}

#[test]
fn misuse_is_told_with_the_pools_name() {
    let pool = ThreadPool::builder(1).name("mill").build();
    assert!(pool.join().unwrap_err().to_string().contains("'mill'"));
    pool.close();
    let error = pool.apply_async(|| ()).unwrap_err();
    assert!(matches!(&error, SubmitError::Closed { .. }) && error.to_string().contains("'mill'"));
    pool.join().unwrap();
    assert!(std::panic::catch_unwind(|| ThreadPool::new(0)).is_err());
}

#[test]
fn a_full_pool_rejects_and_a_terminated_one_tells_its_tasks() {
    watched(|| {
        let pool = ThreadPool::builder(1).bound(1, WhenFull::Reject).build();
        let (begun, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let (started, gate) = (Arc::clone(&begun), Arc::clone(&go));
        let running = pool
            .apply_async(move || {
                started.set();
                gate.wait();
                1
            })
            .unwrap();
        begun.wait();
        let waiting = pool.apply_async(|| 2).unwrap();
        assert!(matches!(pool.apply_async(|| 3).unwrap_err(), SubmitError::Full { .. }));
        assert!(!waiting.wait_timeout(Duration::from_millis(1)));
        pool.terminate();
        assert!(matches!(waiting.get(), Err(TaskError::Terminated { .. })));
        go.set();
        assert_eq!(running.get().unwrap(), 1);
        pool.join().unwrap();
    });
}

#[test]
fn callbacks_and_initialisers_run_and_threads_end_when_idle() {
    watched(|| {
        let (ready, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&ready);
        let pool = ThreadPool::builder(2)
            .initializer(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
            })
            .idle_timeout(Duration::from_millis(5))
            .build();
        let (good, bad) = (Arc::clone(&calls), Arc::clone(&calls));
        let value = pool.apply_async(|| 5).unwrap().on_success(move |n| {
            good.fetch_add(*n, Ordering::SeqCst);
        });
        let failed = pool.apply_async(|| panic!("x")).unwrap();
        let failed = failed.on_error(move |_| {
            bad.fetch_add(100, Ordering::SeqCst);
        });
        assert!(value.ran_on().is_none_or(|ran| ran.worker < 2));
        assert_eq!(value.get().unwrap(), 5);
        let _: Result<(), _> = failed.get();
        assert_eq!(calls.load(Ordering::SeqCst), 105);
        assert!(ready.load(Ordering::SeqCst) >= 1);
        while pool.threads() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(pool.apply(|| 6).unwrap(), 6);
    });
}

#[test]
fn blocking_calls_leave_the_worker_to_others() {
    on_workers(|| {
        let (sender, receiver) = std::sync::mpsc::channel::<u8>();
        let blocked =
            ropewalk::spawn(move || spawn_blocking(move || receiver.recv().unwrap()).get().unwrap());
        ropewalk::yield_now();
        sender.send(9).unwrap();
        assert_eq!(blocked.join().unwrap(), 9);
    });
}

#[test]
fn a_panicking_initialiser_ends_the_pool_instead_of_leaving_its_tasks() {
    watched(|| {
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let pool = ThreadPool::builder(2)
            .name("broken")
            .initializer(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                panic!("no licence");
            })
            .build();
        // Refused, or told; never left waiting.
        for _ in 0..10 {
            assert!(pool.apply(|| 1).is_err());
        }
        pool.join().unwrap();
        assert!((1..=2).contains(&tries.load(Ordering::SeqCst)), "threads are not tried again and again");
        assert_eq!(pool.threads(), 0);
    });
}

#[test]
fn a_full_pool_lets_a_coroutine_wait_without_its_worker() {
    watched(|| {
        common::runtime(1).run(|| {
            let pool = Arc::new(ThreadPool::builder(1).bound(1, WhenFull::Block).build());
            let (begun, go) = (Arc::new(Event::new()), Arc::new(Event::new()));
            let (started, gate) = (Arc::clone(&begun), Arc::clone(&go));
            let running = pool
                .apply_async(move || {
                    started.set();
                    gate.wait();
                })
                .unwrap();
            begun.wait();
            let waiting = pool.apply_async(|| 1).unwrap();
            let own = Arc::clone(&pool);
            // Has to wait for room; the one worker stays free meanwhile, or nobody could say `go`.
            let blocked = ropewalk::spawn(move || own.apply_async(|| 2).unwrap().get().unwrap());
            ropewalk::sleep(Duration::from_millis(2));
            assert!(!blocked.is_finished() && pool.waiting() == 1);
            go.set();
            assert_eq!((running.get().unwrap(), waiting.get().unwrap(), blocked.join().unwrap()), ((), 1, 2));
        });
    });
}

#[test]
fn unordered_results_come_as_they_are_done_and_lazily() {
    watched(|| {
        let pool = ThreadPool::new(2);
        let (taken, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::new()));
        let (count, slow) = (Arc::clone(&taken), Arc::clone(&gate));
        let items = (0..1000).inspect(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let mut values = pool.imap_unordered(
            move |n| {
                if n == 0 {
                    slow.wait();
                }
                n
            },
            items,
        );
        // The first item is held up: others overtake it.
        assert_eq!(values.next().unwrap().unwrap(), 1);
        assert!(taken.load(Ordering::Relaxed) <= 5);
        gate.set();
        assert_eq!(values.map(Result::unwrap).sum::<i32>(), 999 * 1000 / 2 - 1);
    });
}

#[test]
fn callbacks_on_a_result_that_is_there_run_at_once() {
    watched(|| {
        let pool = ThreadPool::new(1);
        let result = pool.apply_async(|| 3).unwrap();
        result.wait();
        assert_eq!((result.is_ready(), result.successful()), (true, Some(true)));
        let seen = Arc::new(AtomicUsize::new(0));
        let place = Arc::clone(&seen);
        let result = result.on_error(|_| unreachable!("it has succeeded")).on_success(move |n| {
            place.store(*n, Ordering::Relaxed);
        });
        assert_eq!(seen.load(Ordering::Relaxed), 3);
        assert_eq!(result.get().unwrap(), 3);
        let waits = pool.apply_async(|| std::thread::sleep(Duration::from_millis(20))).unwrap();
        let handle = waits.get_timeout(Duration::from_micros(10));
        if let Err(again) = handle {
            again.get().unwrap();
        }
    });
}

#[test]
fn a_result_can_be_waited_for_until_a_deadline() {
    on_workers(|| {
        let pool = ThreadPool::new(1);
        let (go, wait) = ropewalk::channel::bounded::<u8>(0);
        let task = pool.apply_async(move || wait.recv().unwrap()).unwrap();
        assert!(!task.wait_deadline(Instant::now()));
        let task = task.get_deadline(Instant::now() + Duration::from_millis(1)).expect_err("it waits");
        go.send(7).unwrap();
        assert_eq!(task.get_deadline(Instant::now() + Duration::from_secs(60)).unwrap().unwrap(), 7);
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("a destructor panics");
        }
    }
}

#[test]
fn a_pool_survives_results_payloads_and_callbacks_that_panic_when_dropped() {
    watched(|| {
        let pool = ThreadPool::new(1);
        // Held, so that the handles below are gone before the tasks run.
        let hold = Arc::new(std::sync::Barrier::new(2));
        let held = Arc::clone(&hold);
        let first = pool.apply_async(move || held.wait()).unwrap();
        drop(pool.apply_async(|| Bomb).unwrap());
        drop(pool.apply_async(|| -> () { std::panic::panic_any(Bomb) }).unwrap());
        let called = pool.apply_async(|| ()).unwrap().on_success(|()| std::panic::panic_any(Bomb));
        hold.wait();
        first.get().unwrap();
        called.get().unwrap();
        assert_eq!(pool.apply(|| 7).unwrap(), 7);
        pool.close();
        pool.join().unwrap();
    });
}

#[test]
fn terminating_a_pool_fails_every_task_even_if_a_closure_panics_when_dropped() {
    watched(|| {
        let pool = ThreadPool::new(1);
        let hold = Arc::new(std::sync::Barrier::new(2));
        let held = Arc::clone(&hold);
        let (started, starts) = mpsc::channel();
        let first = pool.apply_async(move || {
            started.send(()).unwrap();
            held.wait();
        });
        let first = first.unwrap();
        starts.recv().unwrap();
        let bomb = Bomb;
        let second = pool.apply_async(move || std::mem::forget(bomb)).unwrap();
        let third = pool.apply_async(|| ()).unwrap();
        let _ = catch_unwind(AssertUnwindSafe(|| pool.terminate()));
        assert!(second.get().is_err());
        assert!(third.get().is_err());
        hold.wait();
        first.get().unwrap();
    });
}

#[test]
fn lazy_results_can_be_iterated_by_the_only_thread_of_the_pool() {
    watched(|| {
        let pool = Arc::new(ThreadPool::new(1));
        let inner = Arc::clone(&pool);
        let sum = pool.apply(move || {
            let ordered: u32 = inner.imap(|n| n, 0..10u32).map(Result::unwrap).sum();
            let any: u32 = inner.imap_unordered(|n| n, 0..10u32).map(Result::unwrap).sum();
            ordered + any
        });
        assert_eq!(sum.unwrap(), 90);
    });
}

#[test]
fn a_pool_joined_by_its_own_thread_is_told_so() {
    watched(|| {
        let pool = Arc::new(ThreadPool::builder(1).name("ouroboros").build());
        let inner = Arc::clone(&pool);
        let error = pool
            .apply(move || {
                inner.close();
                inner.join().is_ok()
            })
            .unwrap_err();
        assert!(error.to_string().contains("pool 'ouroboros'"), "{error}");
    });
}

#[test]
fn tasks_that_wait_for_each_other_each_have_a_thread() {
    watched(|| {
        for _ in 0..2000 {
            let (pool, all) = (ThreadPool::new(3), Arc::new(ropewalk::sync::Barrier::new(3)));
            // Leaves one thread that is free.
            pool.apply_async(|| ()).unwrap().get().unwrap();
            let tasks = [(); 3].map(|()| {
                let all = Arc::clone(&all);
                // One that has just taken a task no longer counts as free for the next.
                pool.apply_async(move || all.wait().map(drop)).unwrap()
            });
            tasks.into_iter().for_each(|task| task.get().unwrap().unwrap());
        }
    });
}
