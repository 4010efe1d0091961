//! Section 2: a race, and what it loses.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;
use crate::show::opaque;

const ROUNDS: u64 = 2_000_000;
/// A thread gives way once in so many rounds: between its load and its store, and between two rounds.
const GIVES_WAY: [u64; 2] = [9_973, 4_001];
const ATTEMPTS: u32 = 5;

/// Two threads count to `2 * ROUNDS` together; what they arrive at.
fn count() -> u64 {
    let (number, start) = (AtomicU64::new(0), Barrier::new(2));
    // `num += 1` is a load, an addition and a store; another thread can come in between.
    let add = || {
        start.wait();
        for round in 0..opaque(ROUNDS) {
            let seen = number.load(Ordering::Relaxed);
            if round % GIVES_WAY[0] == 0 {
                std::thread::yield_now();
            }
            number.store(seen + 1, Ordering::Relaxed);
            if round % GIVES_WAY[1] == 0 {
                std::thread::yield_now();
            }
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
    println!(
        "Two threads, {ROUNDS} additions each, as a load and a store of their own. Side by side on two cores they"
    );
    println!("meet all the time; on one core the system would have to switch just between the two, so now");
    println!(
        "and then a thread gives way: there once in {}, between two rounds once in {}:",
        GIVES_WAY[0], GIVES_WAY[1]
    );
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
