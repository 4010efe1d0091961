//! Section 3: the word of a mutex as it changes, and those who wait.

use std::sync::Arc;

use ropewalk::Runtime;
use ropewalk::sync::{Mutex, MutexState, RawMutex};

use crate::Outcome;
use crate::show::{each, kernel_sleeps, opaque, timed};

fn picture(what: &str, state: MutexState) {
    let flag = if state.contended { "1" } else { "0" };
    let queue: String = (0..state.waiting).map(|_| " ◀─ waiter").collect();
    println!("  {what:<34} │ contended {flag} │ owner {:>9} │{queue}", state.owner);
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("One word of 32 bits: who holds the mutex, and whether somebody waits.");
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
    let total = Mutex::new(0u64);
    let before = kernel_sleeps();
    let ((), alone) = timed(|| (0..ROUNDS).for_each(|_| *total.lock() += 1));
    println!(
        "Uncontended: {} for lock and unlock, {} sleeps in the kernel.",
        each(alone, ROUNDS),
        kernel_sleeps() - before
    );
    let shared = Arc::new(Mutex::new(0u64));
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
        "1000 coroutines, 100 additions each: {} (expected 100000), {} each.",
        *shared.lock(),
        each(many, 100_000)
    );
    // Two threads, each of which holds the mutex long enough for the other to come and wait.
    let (gate, start) = (Mutex::new(0u32), std::sync::Barrier::new(2));
    let visit = || {
        start.wait();
        let before = kernel_sleeps();
        for _ in 0..200 {
            let mut inside = gate.lock();
            *inside += opaque((0..200_000u32).fold(0, |sum, n| sum ^ opaque(n))) & 1 | 1;
        }
        kernel_sleeps() - before
    };
    let sleeps = std::thread::scope(|scope| {
        [scope.spawn(visit), scope.spawn(visit)].map(|thread| thread.join().expect("it does not panic"))
    });
    println!(
        "Two threads, 200 long visits each: {} visits, {} and {} sleeps in the kernel.",
        gate.into_inner(),
        sleeps[0],
        sleeps[1]
    );
    Ok(())
}
