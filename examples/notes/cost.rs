//! Section 4: no lock, a lock, a lock held too long.

use std::sync::Arc;
use std::time::Duration;

use ropewalk::sync::Mutex;

use crate::Outcome;
use crate::show::{opaque, timed};

const TASKS: u32 = 4;
const ROUNDS: u32 = 20_000;

/// Some work that needs no lock.
fn work(seed: u32) -> u32 {
    (0..opaque(40u32)).fold(seed, |sum, n| sum.rotate_left(3) ^ n)
}

fn measure(task: impl Fn() + Send + Sync + 'static) -> Duration {
    let task = Arc::new(task);
    timed(|| {
        let handles: Vec<_> = (0..TASKS)
            .map(|_| {
                let task = Arc::clone(&task);
                ropewalk::spawn(move || task())
            })
            .collect();
        for handle in handles {
            handle.join().expect("a task does not panic");
        }
    })
    .1
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!(
        "{TASKS} coroutines on {} workers, {ROUNDS} rounds of work each:",
        ropewalk::runtime::global().workers()
    );
    let free = measure(|| {
        opaque((0..ROUNDS).fold(0, |sum, n| sum ^ work(n)));
    });
    let total = Arc::new(Mutex::new(0u32));
    let short = Arc::clone(&total);
    let locked = measure(move || {
        for n in 0..ROUNDS {
            let value = work(n);
            *short.lock() ^= value;
        }
    });
    let long = Arc::clone(&total);
    let too_long = measure(move || {
        for n in 0..ROUNDS {
            let mut total = long.lock();
            *total ^= work(n);
        }
    });
    for (what, took) in [
        ("no lock, own sums", free),
        ("lock for the addition", locked),
        ("lock held over the work", too_long),
    ] {
        let rate = f64::from(TASKS * ROUNDS) / took.as_secs_f64() / 1e6;
        println!("  {what:<26} {rate:>7.2} million rounds a second   {:>8.2?}", took);
    }
    Ok(())
}
