//! Section 12: one table, each cell measured now.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ropewalk::process::{self, Pipe, Process, ProcessError};

use crate::Outcome;
use crate::show::{each, status, timed};

const MANY: u32 = 20_000;
const THREADS: u32 = 500;
const PROCESSES: u32 = 200;
const TURNS: u32 = 20_000;

static PLACE: AtomicU32 = AtomicU32::new(0);

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

fn echo(end: Pipe<u32, u32>) {
    while let Ok(n) = end.recv() {
        if end.send(&n).is_err() {
            return;
        }
    }
}

/// What a process that waits has for itself: its anonymous pages that it does not share, in bytes.
fn own_memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kilobytes = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((kilobytes("Private_Dirty:")? + kilobytes("Private_Clean:")?) * 1024)
}

fn processes() -> Result<(String, String, String), Box<dyn std::error::Error>> {
    process::prepare()?;
    let (joined, create) = timed(|| {
        (0..PROCESSES).try_for_each(|_| {
            Process::spawn(|()| (), ())?.join()?;
            Ok::<_, Box<dyn std::error::Error>>(())
        })
    });
    joined?;
    let (here, there) = process::pipe::<u32, u32>()?;
    let child = Process::spawn(echo, there)?;
    let (sent, switch) = timed(|| {
        (0..TURNS).try_for_each(|n| {
            here.send(&n)?;
            here.recv()?;
            Ok::<_, Box<dyn std::error::Error>>(())
        })
    });
    sent?;
    let memory = own_memory(child.pid()).map_or_else(|| "not told".to_owned(), |bytes| format!("{bytes} B"));
    drop(here);
    child.join()?;
    Ok((each(create, PROCESSES), each(switch, 2 * TURNS), memory))
}

/// Adds one to a place of its memory.
fn touch() {
    PLACE.fetch_add(1, Ordering::Relaxed);
}

/// Whether what another has done to its memory is seen here.
fn memory(others: impl FnOnce() -> Outcome) -> Result<&'static str, Box<dyn std::error::Error>> {
    let before = PLACE.load(Ordering::Relaxed);
    others()?;
    Ok(if PLACE.load(Ordering::Relaxed) == before { "its own" } else { "shared" })
}

/// What an abort has ended that was called in a process of its own.
fn abort_takes(ended: Result<(), ProcessError>) -> &'static str {
    if matches!(ended, Err(ProcessError::Signalled(_))) { "its process" } else { "itself" }
}

pub(crate) fn run(_: &[String]) -> Outcome {
    let row = |what: &str, process: &str, thread: &str, coroutine: &str| {
        println!("  {what:<26} {process:>14} {thread:>14} {coroutine:>14}");
    };
    let (process, thread, coroutine) = (processes()?, threads(), coroutines()?);
    row("", "process", "thread", "coroutine");
    row("create and join one", &process.0, &thread.0, &coroutine.0);
    row("hand a message over", &process.1, &thread.1, &coroutine.1);
    row("memory of a parked one", &process.2, &thread.2, &coroutine.2);
    let advance = (
        others_advance_beside_a_process()?,
        others_advance_beside_a_thread(),
        others_advance_beside_a_coroutine()?,
    );
    row("runs while another computes", yes(advance.0), yes(advance.1), yes(advance.2));
    let process = memory(|| Ok(Process::spawn(|()| touch(), ())?.join()?))?;
    let thread = memory(|| std::thread::spawn(touch).join().map_err(|_| "a thread has panicked".into()))?;
    let coroutine = memory(|| Ok(ropewalk::spawn(touch).join()?))?;
    row("global variables", process, thread, coroutine);
    row("a panic takes with it", caught_process()?, caught_thread(), caught_coroutine());
    let process = Process::spawn(|()| std::process::abort(), ())?.join();
    let thread = Process::spawn(|()| drop(std::thread::spawn(|| std::process::abort()).join()), ())?.join();
    let coroutine = Process::spawn(|()| drop(ropewalk::spawn(|| std::process::abort()).join()), ())?.join();
    row("an abort takes with it", abort_takes(process), abort_takes(thread), abort_takes(coroutine));
    Ok(())
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
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

/// The child computes; this process goes on meanwhile.
fn others_advance_beside_a_process() -> Result<bool, Box<dyn std::error::Error>> {
    let busy = Process::spawn(|()| compute_beside(&AtomicU32::new(0)), ())?;
    touch();
    let meanwhile = busy.is_alive();
    busy.join()?;
    Ok(meanwhile)
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
        let (started, moves) = (AtomicU32::new(0), AtomicU32::new(0));
        ropewalk::scope(|s| {
            s.spawn(|| {
                started.store(1, Ordering::Relaxed);
                ropewalk::yield_now();
                moves.fetch_add(1, Ordering::Relaxed);
            });
            while started.load(Ordering::Relaxed) == 0 {
                ropewalk::yield_now();
            }
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

fn caught_process() -> Result<&'static str, Box<dyn std::error::Error>> {
    let child = |()| -> () {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("on purpose");
    };
    let ended = Process::spawn(child, ())?.join();
    Ok(if matches!(ended, Err(ProcessError::Panicked { .. })) { "itself" } else { "nothing" })
}

fn caught_thread() -> &'static str {
    let ended = quietly(|| std::thread::spawn(|| panic!("on purpose")).join().is_err());
    if ended { "itself" } else { "nothing" }
}

fn caught_coroutine() -> &'static str {
    let ended = quietly(|| ropewalk::spawn(|| panic!("on purpose")).join().is_err());
    if ended { "itself" } else { "nothing" }
}
