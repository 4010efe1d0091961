//! Section 2: a race, and what it loses.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Outcome;
use crate::show::opaque;

const ROUNDS: u64 = 1_000_000;

pub(crate) fn run(_: &[String]) -> Outcome {
    let number = AtomicU64::new(0);
    // `num += 1` is a load, an addition and a store; another thread can come in between.
    let add = || {
        for _ in 0..opaque(ROUNDS) {
            let seen = number.load(Ordering::Relaxed);
            number.store(seen + 1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(add);
        scope.spawn(add);
    });
    let found = number.load(Ordering::Relaxed);
    println!("Two threads add 1 to one number, {ROUNDS} times each, with a load and a store of their own.");
    println!("  expected {:>9}", 2 * ROUNDS);
    println!("  found    {found:>9}   ({} updates lost)", 2 * ROUNDS - found);
    Ok(())
}
