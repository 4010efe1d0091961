//! Sections 6 and 7: a process is a unit of resources, and its globals are its own.

use std::sync::atomic::{AtomicI32, Ordering};

use ropewalk::process::{self, Process, ProcessError, Stdio};

use crate::Outcome;
use crate::show::timed;

static NUMBER: AtomicI32 = AtomicI32::new(10);

/// A way in which a child ends.
type End = fn(());

/// What a child tells of itself.
fn look(name: String) -> (String, u32, i32) {
    NUMBER.fetch_add(5, Ordering::Relaxed);
    (format!("hello from {name}"), process::current().pid, NUMBER.load(Ordering::Relaxed))
}

fn grow(megabytes: usize) -> usize {
    let memory = vec![1u8; megabytes << 20];
    std::hint::black_box(memory).iter().map(|byte| usize::from(*byte)).sum::<usize>() >> 20
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("A process is one execution of a program; this one has the number {}.", std::process::id());
    let child = Process::builder().name("child").spawn(look, "a child".to_owned())?;
    let pid = child.pid();
    let (text, own, number) = child.join()?;
    println!("  {text}: started as {pid}, calls itself {own}");
    println!("Processes do not share globals. The child adds 5 to a number that was 10:");
    println!("  the child sees {number}, the parent sees {}", NUMBER.load(Ordering::Relaxed));
    let second = Process::spawn(look, "another".to_owned())?.join()?;
    println!("  a second child begins with 10 again, and sees {}", second.2);

    let before = crate::show::status("VmRSS");
    let grown = Process::spawn(grow, 64)?.join()?;
    let after = crate::show::status("VmRSS");
    println!("Memory is its own: a child fills {grown} MiB; the parent's {before} KiB are {after} KiB now");

    println!("How a child ends is told to its parent:");
    let ends: [(&str, End); 3] = [
        ("it exits with 3", |()| std::process::exit(3)),
        ("it panics", |()| panic!("on purpose")),
        ("it aborts", |()| std::process::abort()),
    ];
    for (what, end) in ends {
        let error: ProcessError =
            Process::builder().stderr(Stdio::Null).spawn(end, ())?.join().expect_err("it does not return");
        println!("  {what:<16} {error}");
    }
    let sleeper = Process::spawn(|()| std::thread::park(), ())?;
    sleeper.kill()?;
    println!("  {:<16} {}", "it is killed", sleeper.join().expect_err("it does not return"));
    const ROUNDS: u32 = 100;
    let (result, took) = timed(|| {
        (0..ROUNDS).try_for_each(|n| {
            Process::spawn(|n: u32| n, n)?.join().map(drop).map_err(Box::<dyn std::error::Error>::from)
        })
    });
    result?;
    println!("To start one and wait for its value takes {:.0?}.", took / ROUNDS);
    Ok(())
}
