//! Spawn, join, detach, cancel: each closure runs at most once, each closure and each result is dropped once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Dice, Round, ended, rounds};

struct Family {
    /// Counts by its clones what is alive.
    live: Arc<()>,
    ran: AtomicUsize,
    joined: AtomicUsize,
}

fn member(family: &Arc<Family>, mut dice: Dice, depth: usize) -> Arc<()> {
    family.ran.fetch_add(1, Ordering::Relaxed);
    let children = if depth == 0 { 0 } else { dice.below(5) };
    let handles: Vec<_> = (0..children)
        .map(|n| {
            let (own, live, mut seed) = (Arc::clone(family), Arc::clone(&family.live), dice.clone());
            (0..=n).for_each(|_| _ = seed.next());
            ropewalk::spawn(move || {
                let _live = live;
                member(&own, seed, depth - 1)
            })
        })
        .collect();
    for handle in handles {
        dice.nap();
        match dice.below(5) {
            0 => drop(handle),
            1 => {
                handle.cancel();
                let _ = ended(handle.join());
            }
            2 => match handle.join_timeout(dice.micros(300)) {
                Ok(result) => drop(ended(result)),
                Err(handle) => handle.cancel(),
            },
            3 => {
                let canceller = handle.canceller();
                drop(handle);
                canceller.cancel();
            }
            _ => {
                if ended(handle.join()).is_some() {
                    family.joined.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
    Arc::clone(&family.live)
}

fn families(round: &Round) {
    let live = Arc::new(());
    let family =
        Arc::new(Family { live: Arc::clone(&live), ran: AtomicUsize::new(0), joined: AtomicUsize::new(0) });
    let before = round.runtime.metrics().total.spawned;
    let handles: Vec<_> = (0..4)
        .map(|n| {
            let (own, dice) = (Arc::clone(&family), round.dice(n));
            round.spawn(move || drop(member(&own, dice, 3)))
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    while Arc::strong_count(&family) > 1 {
        std::thread::sleep(Duration::from_micros(50));
    }
    assert!(family.ran.load(Ordering::Relaxed) as u64 <= round.runtime.metrics().total.spawned - before);
    assert!(family.joined.load(Ordering::Relaxed) < family.ran.load(Ordering::Relaxed));
    drop(family);
    // What a detached coroutine has returned is dropped a moment after its closure.
    while Arc::strong_count(&live) > 1 {
        std::thread::sleep(Duration::from_micros(50));
    }
}

#[test]
fn spawning_joining_detaching_and_cancelling_lose_and_leak_nothing() {
    rounds("spawning", families);
}

fn bursts(round: &Round) {
    let ran = Arc::new(AtomicUsize::new(0));
    let mut dice = round.dice(0);
    let count = 200 + dice.below(800);
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let ran = Arc::clone(&ran);
            round.spawn(move || ran.fetch_add(1, Ordering::Relaxed))
        })
        .collect();
    let mut seen: Vec<usize> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..count));
}

#[test]
fn a_burst_from_outside_runs_each_once() {
    rounds("bursts", bursts);
}
