//! Section 2: a race, and what it loses.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;
use crate::show::opaque;

/// So many that the two run side by side for a while, or take turns, even on one core.
const ROUNDS: u64 = 20_000_000;
const ATTEMPTS: u32 = 5;

/// Two threads count to `2 * ROUNDS` together; what they arrive at.
fn count() -> u64 {
    let (number, start) = (AtomicU64::new(0), Barrier::new(2));
    // `num += 1` is a load, an addition and a store; another thread can come in between.
    let add = || {
        start.wait();
        for _ in 0..opaque(ROUNDS) {
            let seen = number.load(Ordering::Relaxed);
            number.store(seen + 1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    number.load(Ordering::Relaxed)
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("`number += 1` is three steps. Between the first and the last another thread may come in:");
    println!("  thread A   load 41                     store 42");
    println!("  thread B           load 41   store 42              ◀─ one of the two additions is lost");
    println!("Two threads, {ROUNDS} additions each, as a load and a store of their own:");
    let mut found = 2 * ROUNDS;
    // It may go well: then they try again.
    for attempt in 1..=ATTEMPTS {
        found = count();
        println!("  attempt {attempt}: expected {}, found {found}, lost {}", 2 * ROUNDS, 2 * ROUNDS - found);
        if found < 2 * ROUNDS {
            break;
        }
    }
    if found == 2 * ROUNDS {
        println!(
            "  no update was lost this time: a race is not wrong every time, which is what is bad about it"
        );
    }
    Ok(())
}
