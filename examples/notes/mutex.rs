//! Section 3: the word of a mutex as it changes, and those who wait.

use std::sync::Arc;
use std::time::Duration;

use ropewalk::Runtime;
use ropewalk::sync::{Mutex, MutexState, RawMutex, futex};

use crate::Outcome;
use crate::show::{each, timed};

/// Kernel calls of waiting and waking threads since `before`.
fn calls_since(before: futex::Stats) -> String {
    let now = futex::stats();
    format!("{} sleeps and {} wakes in the kernel", now.sleeps - before.sleeps, now.wakes - before.wakes)
}

fn picture(what: &str, state: MutexState) {
    let flag = if state.contended { "1" } else { "0" };
    let queue: String = (0..state.waiting).map(|_| " ◀─ waiter").collect();
    println!("  {what:<34} │ contended {flag} │ owner {:>9} │{queue}", state.owner);
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("Whoever wants to change shared data locks first; the others wait until release.");
    println!("The whole lock is one word of 32 bits: who holds it (0: nobody), and whether somebody waits.");
    let runtime = Runtime::builder().workers(1).name("mutex").build()?;
    runtime.run(|| {
        let mutex = Arc::new(RawMutex::new());
        picture("new", mutex.state());
        mutex.acquire();
        picture("acquired", mutex.state());
        let waiters: Vec<_> = (0..3)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                ropewalk::spawn(move || {
                    mutex.acquire();
                    picture("a waiter has it", mutex.state());
                    mutex.release().expect("it has just acquired it");
                })
            })
            .collect();
        // They start one by one while this one yields.
        (0..8).for_each(|_| ropewalk::yield_now());
        picture("three coroutines want it", mutex.state());
        mutex.release().expect("this coroutine holds it");
        for waiter in waiters {
            waiter.join().expect("a waiter does not panic");
        }
        picture("all have released it", mutex.state());
        println!("  releasing it once more: {}", mutex.release().expect_err("nobody holds it"));
    });

    const ROUNDS: u32 = 1_000_000;
    let (total, before) = (Mutex::new(0u64), futex::stats());
    let ((), alone) = timed(|| (0..ROUNDS).for_each(|_| *total.lock() += 1));
    println!("Nobody else wants it, {ROUNDS} times: {} each; {}.", each(alone, ROUNDS), calls_since(before));
    let (shared, before) = (Arc::new(Mutex::new(0u64)), futex::stats());
    let counted = Arc::clone(&shared);
    let ((), many) = timed(|| {
        runtime.run(move || {
            ropewalk::scope(|s| {
                for _ in 0..1_000 {
                    s.spawn(|| (0..100).for_each(|_| *counted.lock() += 1));
                }
            });
        });
    });
    println!(
        "1000 coroutines on one worker, 100 additions each: {} (expected 100000); {} each.",
        *shared.lock(),
        each(many, 100_000)
    );
    // This thread waited for the coroutines, which is all that the kernel was asked for.
    println!("  All of that, with this thread's wait for its end: {}.", calls_since(before));
    contended();
    Ok(())
}

/// Two threads, each of which holds the mutex long enough for the other to come and wait.
fn contended() {
    const VISITS: u32 = 50;
    let (gate, before) = (Mutex::new(0u32), futex::stats());
    let visit = || {
        for _ in 0..VISITS {
            let mut inside = gate.lock();
            *inside += 1;
            std::thread::sleep(Duration::from_micros(100));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(visit);
        scope.spawn(visit);
    });
    println!(
        "Two threads want it at once, {VISITS} visits of 100 µs each: who has to wait long sleeps in the kernel."
    );
    println!("  {} visits; {}.", gate.into_inner(), calls_since(before));
}
