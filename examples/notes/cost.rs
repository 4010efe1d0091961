//! Section 4: no lock, a lock, a lock held too long.

use std::time::Duration;

use ropewalk::sync::Mutex;

use crate::Outcome;
use crate::show::{opaque, timed};

const TASKS: u32 = 4;

/// Some microseconds of work that needs no lock.
fn compute() -> u32 {
    (0..opaque(4_000u32)).fold(1, |sum, n| opaque(sum.rotate_left(3) ^ n))
}

/// A wait that needs no lock, as for an answer from the network.
fn wait() -> u32 {
    ropewalk::sleep(Duration::from_millis(1));
    1
}

/// Lets all tasks do all their rounds; rounds in a second, the best of three.
fn measure(rounds: u32, round: impl Fn() + Sync) -> f64 {
    let once = || {
        ropewalk::scope(|s| {
            for _ in 0..TASKS {
                s.spawn(|| (0..rounds).for_each(|_| round()));
            }
        });
    };
    let best = (0..3).map(|_| timed(once).1).min().unwrap_or_default();
    f64::from(TASKS * rounds) / best.as_secs_f64()
}

fn row(what: &str, rounds: u32, work: fn() -> u32) {
    let total = Mutex::new(0u32);
    let without = measure(rounds, || {
        opaque(work());
    });
    let short = measure(rounds, || {
        let value = work();
        *total.lock() ^= value;
    });
    let long = measure(rounds, || {
        let mut total = total.lock();
        *total ^= work();
    });
    println!("  {what:<24} {without:>12.0} {short:>12.0} {long:>12.0}");
}

pub(crate) fn run(_: &[String]) -> Outcome {
    let workers = ropewalk::runtime::global().workers();
    println!("A locked part runs whole, and it runs alone: the longer it is, the less runs side by side.");
    println!("Rounds a second of {TASKS} coroutines on {workers} workers:");
    println!("  {:<24} {:>12} {:>12} {:>12}", "a round", "no lock", "short lock", "long lock");
    row("computes, then adds", 2_000, compute);
    row("waits 1 ms, then adds", 50, wait);
    println!("Short: only the addition is locked. Long: the computation, or the wait, is locked as well.");
    println!("With several locks there is a second price, deadlock: the next section.");
    Ok(())
}
