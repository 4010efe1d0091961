//! A process is killed after single instructions of an operation on shared memory; nobody else may hang, and no
//! value may be lost or doubled.
//!
//! By default the kills are a random sample around the instructions that other processes can notice: atomic ones and
//! system calls. `EVERY_INSTRUCTION=1` kills after each instruction; `KILLS=n` sets the size of the sample.
#![allow(missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
mod pools;
mod queues;
mod stepping;
mod syncs;

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use common::Random;
use ropewalk::process::{Barrier, Condvar, Event, Fd, Mutex, Process, Queue, Semaphore};
use ropewalk::shm::Array;
use serde::{Deserialize, Serialize};
use stepping::Traced;

/// Nobody waits longer, unless it hangs.
const LONG: Duration = Duration::from_secs(20);
/// A sample is cut short when it has taken so long: some operations look at 500 members, in 100,000 instructions.
const ENOUGH: Duration = Duration::from_millis(1200);

/// What the processes of a scene share.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Shared {
    queue: Option<Queue<u32>>,
    slices: Option<Queue<[u8]>>,
    fds: Option<Queue<(u32, Fd)>>,
    receipts: Option<Array<u32>>,
    mutex: Option<Mutex<[u64; 2]>>,
    condvar: Option<Condvar>,
    semaphore: Option<Semaphore>,
    barrier: Option<Barrier>,
    event: Option<Event>,
    events: Option<Queue<Event>>,
}

/// What is left to do after the kill.
struct Rest<'a> {
    shared: &'a Shared,
    sleeper: Receiver<String>,
}

impl Rest<'_> {
    /// What the sleeper has found; it must not sleep any longer.
    fn sleeper(&self, why: &str) -> Result<String, String> {
        self.sleeper.recv_timeout(LONG).map_err(|_| format!("a party sleeps on: {why}"))
    }
}

/// An operation, those who wait for it, and what must hold after a kill in the middle of it.
struct Scene {
    name: &'static str,
    begin: fn() -> Shared,
    /// Calls its second argument before the operation, and after it.
    act: fn(&mut Shared, fn()),
    /// Sleeps while the operation is done.
    sleep: Option<fn(&Shared) -> String>,
    check: fn(&Rest<'_>) -> Result<(), String>,
}

fn scenes() -> impl Iterator<Item = Scene> {
    syncs::SCENES.into_iter().chain(queues::SCENES)
}

fn child((name, mut shared): (String, Shared)) {
    let scene = scenes().find(|scene| scene.name == name).unwrap();
    (scene.act)(&mut shared, stepping::stop);
}

/// Runs a scene up to the moment in which the operation is about to begin, then `run`, the kill, and the check.
fn play<R>(scene: &Scene, as_coroutine: bool, run: impl FnOnce(&mut Traced) -> R) -> Result<R, String> {
    let shared = (scene.begin)();
    let process = Process::spawn(child, (scene.name.to_owned(), shared.clone())).unwrap();
    stepping::await_stop(process.pid());
    let (sender, sleeper) = mpsc::channel();
    if let Some(sleep) = scene.sleep {
        let shared = shared.clone();
        let body = move || drop(sender.send(sleep(&shared)));
        if as_coroutine {
            drop(ropewalk::spawn(body));
        } else {
            std::thread::spawn(body);
        }
        // It sleeps by then, as a rule; it has to come out right in any case.
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut traced = Traced::new(process.pid(), false);
    let value = run(&mut traced);
    drop(traced);
    let checked = (scene.check)(&Rest { shared: &shared, sleeper });
    process.wait().unwrap();
    checked.map(|()| value)
}

/// The numbers of instructions after which to kill: all, or a sample around the noted ones.
fn places(noted: &[u64], whole: u64, sample: usize, random: &mut Random) -> Vec<u64> {
    if std::env::var_os("EVERY_INSTRUCTION").is_some() {
        return (0..=whole).collect();
    }
    let sample = std::env::var("KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(sample);
    let mut places: Vec<u64> = (0..sample)
        .map(|_| match random.below(4) {
            0 => random.below(whole + 1),
            after => {
                let place = noted[random.below(noted.len() as u64) as usize];
                if after == 1 { place + 2 + random.below(25) } else { place + after - 2 }
            }
        })
        .collect();
    places.retain(|place| *place <= whole);
    places
}

/// Tells whether a sample has taken long enough, unless its size was asked for.
fn is_enough(begun: Instant) -> bool {
    let is_asked_for = ["EVERY_INSTRUCTION", "KILLS"].iter().any(|name| std::env::var_os(name).is_some());
    !is_asked_for && begun.elapsed() > ENOUGH
}

/// Kills in every scene of one list.
fn kill_in(scenes: &[Scene], sample: usize) {
    let mut seeds = Random::new();
    let mut failures = Vec::new();
    for scene in scenes {
        // Of its own, so that a seed means the same however many kills the scenes before had time for.
        let mut random = Random::from(seeds.next());
        let began = Instant::now();
        let measured = play(scene, false, |traced| (traced.run_and_note(), traced.steps));
        let (noted, whole) = measured.unwrap_or_else(|why| panic!("{}: not killed: {why}", scene.name));
        let places = places(&noted, whole, sample, &mut random);
        let (begun, mut kills) = (Instant::now(), 0);
        for place in places {
            if let Err(why) = play(scene, random.below(2) == 0, |traced| traced.run(place)) {
                failures.push(format!("{}: killed after {place} of {whole} instructions: {why}", scene.name));
            }
            kills += 1;
            if is_enough(begun) {
                break;
            }
        }
        println!("{}: {whole} instructions, {kills} kills, {:.1?}", scene.name, began.elapsed());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_kill_in_a_lock_a_condvar_a_semaphore_an_event_or_a_barrier_holds_up_nobody() {
    kill_in(&syncs::SCENES, 16);
}

#[test]
fn a_kill_in_a_queue_holds_up_nobody_and_loses_or_doubles_nothing() {
    kill_in(&queues::SCENES, 16);
}
