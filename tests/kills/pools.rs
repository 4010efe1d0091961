//! A pool's worker, or the zygote, is killed after single instructions of its work.

use std::time::{Duration, Instant};

use ropewalk::process::{Pool, Process, StartMethod, TaskError};

use super::common::Random;
use super::stepping::Traced;
use super::{LONG, is_enough, places};

fn double(n: u64) -> u64 {
    2 * n
}

/// Traces the only worker of a pool, hands it a task, and has `run` do the steps; then the worker is killed.
fn take_and_answer<R>(run: impl FnOnce(&mut Traced) -> R) -> Result<R, String> {
    let pool = Pool::new(1).unwrap();
    assert_eq!(pool.apply(double, 1).unwrap(), 2);
    let worker = pool.workers()[0].pid;
    let mut traced = Traced::new(worker, true);
    let task = pool.apply_async(double, 21).unwrap();
    let value = run(&mut traced);
    drop(traced);
    match task.get_timeout(LONG) {
        Ok(Ok(42) | Err(TaskError::WorkerDied { .. })) => {}
        Ok(other) => return Err(format!("the task gave {other:?}")),
        Err(_) => return Err("the task never ends".to_owned()),
    }
    match pool.apply_async(double, 4).unwrap().get_timeout(LONG) {
        Ok(Ok(8)) => Ok(value),
        Ok(other) => Err(format!("the next task gave {other:?}")),
        Err(_) => Err("the next task never ends".to_owned()),
    }
}

/// The process that forks children for this one.
fn zygote() -> Option<u32> {
    let own = std::process::id();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        (name == "ropewalk-zygote" && rest.split(' ').nth(1)?.parse() == Ok(own)).then_some(pid)
    })
}

fn start() -> Result<u64, String> {
    let process = Process::builder().start_method(StartMethod::Zygote).spawn(double, 21);
    let process = process.map_err(|error| format!("not started: {error}"))?;
    match process.join_timeout(LONG) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("no value: {error}")),
        Err(_) => Err("the process never ends".to_owned()),
    }
}

/// Traces the zygote, asks for a child, and has `run` do the steps; then the zygote is killed.
fn fork_a_child<R>(run: impl FnOnce(&mut Traced) -> R) -> Result<R, String> {
    start()?;
    let zygote = zygote().ok_or("there is no zygote")?;
    let mut traced = Traced::new(zygote, true);
    let starter = std::thread::spawn(start);
    // The request is there, so that the first sleep is the one after it.
    std::thread::sleep(Duration::from_millis(3));
    let value = run(&mut traced);
    drop(traced);
    match starter.join().unwrap()? {
        42 => {}
        other => return Err(format!("the child gave {other}")),
    }
    start().map(|_| value)
}

fn kill_everywhere(
    what: &str,
    sample: usize,
    play: impl Fn(&mut dyn FnMut(&mut Traced)) -> Result<(), String>,
) {
    let mut random = Random::new();
    let (mut noted, mut whole) = (Vec::new(), 0);
    play(&mut |traced| {
        noted = traced.run_and_note();
        whole = traced.steps;
    })
    .unwrap_or_else(|why| panic!("{what}: not killed: {why}"));
    let places = places(&noted, whole, sample, &mut random);
    let (began, mut kills) = (Instant::now(), 0);
    for place in places {
        if let Err(why) = play(&mut |traced| traced.run(place)) {
            panic!("{what}: killed after {place} of {whole} instructions: {why}");
        }
        kills += 1;
        if is_enough(began) {
            break;
        }
    }
    println!("{what}: {whole} instructions, {kills} kills");
}

#[test]
fn a_kill_in_a_pools_worker_ends_its_task_and_no_other() {
    kill_everywhere("take and answer", 24, |run| take_and_answer(|traced| run(traced)));
}

#[test]
fn a_kill_in_the_zygote_loses_no_child() {
    kill_everywhere("zygote", 24, |run| fork_a_child(|traced| run(traced)));
}
