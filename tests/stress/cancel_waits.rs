//! Cancellation at random moments of sleeps, joins, parks, futexes, pool results and futures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ropewalk::sync::futex;
use ropewalk::thread::ThreadPool;

use crate::harness::{Round, ended, rounds};

/// Counts the frames that have been left.
struct Left(Arc<AtomicUsize>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn waits(round: &Round) {
    let left = Arc::new(AtomicUsize::new(0));
    let entered = Arc::new(AtomicUsize::new(0));
    let word = Arc::new(AtomicU32::new(0));
    let (counted, entries, shared) = (Arc::clone(&left), Arc::clone(&entered), Arc::clone(&word));
    round.storm(30, move |n, mut dice| {
        entries.fetch_add(1, Ordering::Relaxed);
        let _left = Left(Arc::clone(&counted));
        loop {
            match n % 6 {
                0 => ropewalk::sleep(dice.micros(2_000)),
                1 => drop(ropewalk::park_timeout(dice.micros(2_000))),
                2 => {
                    let child = ropewalk::spawn(move || ropewalk::sleep(Duration::from_micros(200)));
                    let _ = ended(child.join());
                }
                3 => {
                    shared.fetch_add(1, Ordering::Release);
                    futex::wake(&shared, 1 + dice.below(3));
                }
                4 => {
                    let seen = shared.load(Ordering::Acquire);
                    futex::wait(&shared, seen, dice.chance(2).then(|| Instant::now() + dice.micros(500)));
                }
                _ => {
                    let child = ropewalk::spawn(|| ropewalk::sleep(Duration::from_micros(100)));
                    let _ = ended(ropewalk::block_on(child));
                }
            }
            dice.nap();
        }
    });
    assert_eq!(left.load(Ordering::Relaxed), entered.load(Ordering::Relaxed));
    assert_eq!(futex::wake(&word, usize::MAX), 0, "nobody is left on the word");
}

#[test]
fn cancelled_sleeps_parks_joins_and_futexes_leave_nothing_behind() {
    rounds("cancel waits", waits);
}

fn results(round: &Round) {
    let pool = Arc::new(ThreadPool::new(2));
    let ran = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicUsize::new(0));
    let (own, runs, asks) = (Arc::clone(&pool), Arc::clone(&ran), Arc::clone(&asked));
    round.storm(16, move |n, mut dice| {
        loop {
            let (runs, spins) = (Arc::clone(&runs), dice.below(2_000));
            let result = own.apply_async(move || {
                (0..spins).for_each(|_| std::hint::spin_loop());
                runs.fetch_add(1, Ordering::Relaxed);
                n
            });
            asks.fetch_add(1, Ordering::Relaxed);
            match dice.below(3) {
                0 => drop(result),
                1 => match result.unwrap().get_timeout(dice.micros(300)) {
                    Ok(value) => assert_eq!(value.unwrap(), n),
                    Err(result) => assert_eq!(result.get().unwrap(), n),
                },
                _ => assert_eq!(result.unwrap().get().unwrap(), n),
            }
            dice.nap();
        }
    });
    pool.close();
    pool.join().unwrap();
    assert_eq!(
        ran.load(Ordering::Relaxed),
        asked.load(Ordering::Relaxed),
        "each task has run, wanted or not"
    );
}

#[test]
fn cancelled_waits_for_a_pools_results_lose_no_task() {
    rounds("cancel results", results);
}
