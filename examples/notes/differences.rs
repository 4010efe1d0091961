//! Section 12: one table, each cell measured now.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::show::{each, status, timed};

const MANY: u32 = 20_000;
const THREADS: u32 = 500;
const TURNS: u32 = 20_000;

fn threads() -> (String, String, String) {
    let ((), create) = timed(|| {
        for _ in 0..THREADS {
            std::thread::spawn(|| ()).join().expect("it does not panic");
        }
    });
    let before = status("VmRSS");
    let (stop, hold) = mpsc::channel::<()>();
    let hold = std::sync::Arc::new(std::sync::Mutex::new(hold));
    let parked: Vec<_> = (0..THREADS)
        .map(|_| {
            let hold = std::sync::Arc::clone(&hold);
            std::thread::spawn(move || drop(hold.lock().map(|hold| hold.recv())))
        })
        .collect();
    let memory = (status("VmRSS").saturating_sub(before)) * 1024 / u64::from(THREADS);
    drop(stop);
    for thread in parked {
        thread.join().expect("it does not panic");
    }
    let ((there, back), (send, receive)) = (mpsc::sync_channel(0), mpsc::sync_channel(0));
    let ((), switch) = timed(|| {
        let echo = std::thread::spawn(move || {
            back.iter().for_each(|n: u32| send.send(n).expect("the other side is there"))
        });
        (0..TURNS).for_each(|n| {
            there.send(n).expect("the other side is there");
            receive.recv().expect("the other side is there");
        });
        drop(there);
        echo.join().expect("it does not panic");
    });
    (each(create, THREADS), each(switch, 2 * TURNS), format!("{memory} B"))
}

fn coroutines() -> Result<(String, String, String), Box<dyn std::error::Error>> {
    let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    Ok(runtime.run(|| {
        let ((), create) = timed(|| {
            for _ in 0..MANY {
                ropewalk::spawn(|| ()).join().expect("it does not panic");
            }
        });
        let before = status("VmRSS") + status("VmPTE");
        let parked: Vec<_> = (0..MANY).map(|_| ropewalk::spawn(ropewalk::park)).collect();
        // Every other turn is a fresh one's: all of them start, and park.
        (0..2 * MANY).for_each(|_| ropewalk::yield_now());
        let memory = (status("VmRSS") + status("VmPTE")).saturating_sub(before) * 1024 / u64::from(MANY);
        for handle in parked {
            handle.handle().unpark();
            handle.join().expect("it does not panic");
        }
        let (there, back) = ropewalk::channel::bounded::<u32>(1);
        let (send, receive) = ropewalk::channel::bounded::<u32>(1);
        let ((), switch) = timed(|| {
            let echo = ropewalk::spawn(move || {
                back.iter().for_each(|n| send.send(n).expect("the other side is there"))
            });
            (0..TURNS).for_each(|n| {
                there.send(n).expect("the other side is there");
                receive.recv().expect("the other side is there");
            });
            drop(there);
            echo.join().expect("it does not panic");
        });
        (each(create, MANY), each(switch, 2 * TURNS), format!("{memory} B"))
    }))
}

pub(crate) fn run(_: &[String]) -> Outcome {
    let (thread, coroutine) = (threads(), coroutines()?);
    println!("  {:<26} {:>14} {:>14}", "", "thread", "coroutine");
    println!("  {:<26} {:>14} {:>14}", "create and join one", thread.0, coroutine.0);
    println!("  {:<26} {:>14} {:>14}", "hand a message over", thread.1, coroutine.1);
    println!("  {:<26} {:>14} {:>14}", "memory of a parked one", thread.2, coroutine.2);
    let (thread, coroutine) = (others_advance_beside_a_thread(), others_advance_beside_a_coroutine()?);
    println!("  {:<26} {:>14} {:>14}", "runs while another computes", yes(thread), yes(coroutine));
    let shared = |seen: u32| if seen == 1 { "shared" } else { "its own" };
    let (thread, coroutine) = (std::thread::spawn(touch).join(), ropewalk::spawn(touch).join());
    let (thread, coroutine) = (thread.map_err(|_| "a thread has panicked")?, coroutine?);
    println!("  {:<26} {:>14} {:>14}", "memory", shared(thread), shared(coroutine));
    println!("  {:<26} {:>14} {:>14}", "a panic takes with it", caught_thread(), caught_coroutine());
    println!("The column of processes comes with the process module.");
    Ok(())
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

/// Adds one to a place of the caller's memory, and tells how much that has changed by.
fn touch() -> u32 {
    static PLACE: AtomicU32 = AtomicU32::new(0);
    let before = PLACE.fetch_add(1, Ordering::Relaxed);
    PLACE.load(Ordering::Relaxed) - before
}

/// Computes until something moves, for 30 ms at most; true if it has.
fn compute_beside(moves: &AtomicU32) -> bool {
    let end = Instant::now() + Duration::from_millis(30);
    while Instant::now() < end {
        if moves.load(Ordering::Relaxed) > 0 {
            return true;
        }
    }
    false
}

fn others_advance_beside_a_thread() -> bool {
    let moves = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| moves.fetch_add(1, Ordering::Relaxed));
        compute_beside(&moves)
    })
}

/// Two coroutines that have both started, on one worker: the one that computes keeps it.
fn others_advance_beside_a_coroutine() -> Result<bool, Box<dyn std::error::Error>> {
    let runtime = ropewalk::Runtime::builder().workers(1).build()?;
    Ok(runtime.run(|| {
        let moves = AtomicU32::new(0);
        ropewalk::scope(|s| {
            s.spawn(|| {
                ropewalk::yield_now();
                moves.fetch_add(1, Ordering::Relaxed);
            });
            ropewalk::yield_now();
            compute_beside(&moves)
        })
    }))
}

fn quietly<T>(f: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let value = f();
    std::panic::set_hook(hook);
    value
}

fn caught_thread() -> &'static str {
    let ended = quietly(|| std::thread::spawn(|| panic!("on purpose")).join().is_err());
    if ended { "itself" } else { "nothing" }
}

fn caught_coroutine() -> &'static str {
    let ended = quietly(|| ropewalk::spawn(|| panic!("on purpose")).join().is_err());
    if ended { "itself" } else { "nothing" }
}
