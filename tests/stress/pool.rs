//! The thread pool under coroutines, threads and itself; terminated in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ropewalk::thread::{SubmitError, TaskError, ThreadPool, WhenFull};

use crate::harness::{Round, rounds};

fn tasks(round: &Round) {
    let mut dice = round.dice(0);
    let mut builder = ThreadPool::builder(1 + dice.below(3)).idle_timeout(dice.micros(2_000));
    if dice.chance(2) {
        let when_full = if dice.chance(2) { WhenFull::Block } else { WhenFull::Reject };
        builder = builder.bound(1 + dice.below(4), when_full);
    }
    let pool = Arc::new(builder.build());
    let (ran, accepted, given_up) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handles: Vec<_> = (0..6)
        .map(|n| {
            let (pool, ran, mut dice) = (Arc::clone(&pool), Arc::clone(&ran), round.dice(n + 1));
            let (accepted, given_up) = (Arc::clone(&accepted), Arc::clone(&given_up));
            round.spawn(move || {
                for at in 0..20 {
                    let (ran, bad, own) = (Arc::clone(&ran), dice.chance(10), Arc::clone(&pool));
                    let inner = dice.chance(10);
                    let result = pool.apply_async(move || {
                        ran.fetch_add(1, Ordering::Relaxed);
                        if inner && let Ok(result) = own.apply_async(|| 1) {
                            let _ = result.get();
                        }
                        if bad {
                            std::panic::resume_unwind(Box::new("on purpose"));
                        }
                        at
                    });
                    match result {
                        Ok(result) => {
                            accepted.fetch_add(1, Ordering::Relaxed);
                            match result.get() {
                                Ok(value) => assert!(value == at && !bad),
                                Err(TaskError::Panicked(_)) => assert!(bad),
                                Err(TaskError::Terminated { .. }) => {
                                    given_up.fetch_add(1, Ordering::Relaxed);
                                }
                                Err(error) => panic!("{error}"),
                            }
                        }
                        Err(SubmitError::Full { .. } | SubmitError::Closed { .. }) => (),
                        Err(error) => panic!("{error}"),
                    }
                    dice.nap();
                }
            })
        })
        .collect();
    let ends_early = dice.chance(2);
    if ends_early {
        std::thread::sleep(dice.micros(3_000));
        pool.terminate();
    }
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    pool.close();
    pool.join().unwrap();
    assert_eq!(pool.threads(), 0);
    let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    assert_eq!(count(&ran) + count(&given_up), count(&accepted), "each accepted task ran or was given up");
    assert!(ends_early || count(&given_up) == 0);
}

#[test]
fn a_pool_runs_each_task_once_or_says_that_it_does_not() {
    rounds("pool", tasks);
}

fn maps(round: &Round) {
    let pool = Arc::new(ThreadPool::builder(2).idle_timeout(Duration::from_micros(200)).build());
    let own = Arc::clone(&pool);
    let handle = round.spawn(move || {
        assert!(own.map(|n| n * 2, 0..60).unwrap().into_iter().eq((0..60).map(|n| n * 2)));
        assert!(own.imap(|n| n + 1, 0..30).map(Result::unwrap).eq(1..31));
        // An iterator that is dropped in the middle.
        assert!(own.imap_unordered(|n| n, 0..50).take(7).all(|value| value.is_ok()));
    });
    handle.join().unwrap();
    pool.close();
    pool.join().unwrap();
}

#[test]
fn maps_are_whole_though_threads_come_and_go() {
    rounds("pool maps", maps);
}
