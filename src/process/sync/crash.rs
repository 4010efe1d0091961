//! Parties are killed at random moments, and while they hold.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Barrier, Condvar, Event, Mutex, Semaphore, TryLockError};
use crate::process::Process;
use crate::process::testing::{Random, ends_well, kill, number};

const LONG: Duration = Duration::from_secs(20);

#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    pair: Mutex<[u64; 2]>,
    changed: Condvar,
    seats: Semaphore,
    meeting: Barrier,
    /// The other process is where it is to be.
    there: Event,
    stop: Event,
}

impl Shared {
    fn new() -> Self {
        Self {
            pair: Mutex::new([0; 2]).unwrap(),
            changed: Condvar::new().unwrap(),
            seats: Semaphore::new(2).unwrap(),
            meeting: Barrier::new(2).unwrap(),
            there: Event::new().unwrap(),
            stop: Event::new().unwrap(),
        }
    }

    fn start(&self, role: &str) -> Process<()> {
        Process::spawn(child, (role.to_owned(), self.clone())).unwrap()
    }

    /// Raises both numbers, one after the other, again and again; repairs what a dead one has left.
    fn raise(&self) {
        while !self.stop.is_set() {
            let mut pair = match self.pair.lock() {
                Ok(pair) => pair,
                Err(died) => {
                    let mut pair = died.into_guard();
                    pair[1] = pair[0];
                    pair
                }
            };
            assert_eq!(pair[0], pair[1], "a death was not told");
            pair[0] += 1;
            std::hint::black_box(&mut *pair);
            pair[1] += 1;
        }
    }
}

fn child((role, shared): (String, Shared)) {
    match role.as_str() {
        "raise" => shared.raise(),
        "raise in coroutines" => crate::scope(|s| (0..3).for_each(|_| drop(s.spawn(|| shared.raise())))),
        "hold the mutex" => {
            let _pair = shared.pair.lock().unwrap();
            shared.there.set();
            shared.stop.wait();
        }
        "hold the seats" => {
            let _seats = [shared.seats.permit(), shared.seats.permit()];
            shared.there.set();
            shared.stop.wait();
        }
        "come to the meeting" => {
            shared.there.set();
            assert!(shared.meeting.wait_timeout(LONG).is_ok());
        }
        "notify" => {
            shared.pair.lock().unwrap()[0] = 7;
            shared.changed.notify_all();
        }
        other => panic!("no role {other}"),
    }
}

#[test]
fn a_mutex_of_the_killed_is_handed_on_with_notice() {
    let shared = Shared::new();
    let kills = number("KILLS", 60);
    let mut random = Random::new();
    let roles = ["raise", "raise in coroutines"];
    let start = |random: &mut Random| shared.start(roles[random.below(2) as usize]);
    let mut parties: Vec<Process<()>> = (0..3).map(|_| start(&mut random)).collect();
    let mut notices = 0;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(10_000)));
        let victim = random.below(3) as usize;
        kill(std::mem::replace(&mut parties[victim], start(&mut random)));
        match shared.pair.lock_timeout(LONG) {
            Ok(pair) => assert_eq!(pair[0], pair[1], "a death was not told"),
            Err(TryLockError::OwnerDied(died)) => {
                notices += 1;
                let mut pair = died.into_guard();
                pair[1] = pair[0];
            }
            Err(TryLockError::Held) => panic!("the mutex is lost"),
        }
    }
    shared.stop.set();
    parties.into_iter().for_each(|child| ends_well(child, "party"));
    println!("{kills} kills, {notices} notices here, {} rounds", shared.pair.lock().unwrap()[0]);
}

/// Runs `wait` on a thread and on a coroutine while another process holds, then kills that process.
fn wait_while(shared: &Shared, role: &str, wait: impl Fn() + Sync) {
    let holder = shared.start(role);
    assert!(shared.there.wait_timeout(LONG));
    let since = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(&wait);
        scope.spawn(|| crate::scope(|s| drop(s.spawn(&wait))));
        std::thread::sleep(Duration::from_millis(20));
        kill(holder);
    });
    assert!(since.elapsed() < LONG, "the death was noticed by the deadline only");
}

#[test]
fn who_waits_for_a_mutex_learns_of_the_death_at_once() {
    let shared = Shared::new();
    let told = std::sync::atomic::AtomicU32::new(0);
    wait_while(&shared, "hold the mutex", || match shared.pair.lock_timeout(LONG) {
        Ok(_) => {}
        Err(TryLockError::OwnerDied(_)) => {
            told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Err(TryLockError::Held) => panic!("the death was not noticed"),
    });
    assert_eq!(told.into_inner(), 1, "one of them is told");
}

#[test]
fn permits_of_the_killed_come_back() {
    let shared = Shared::new();
    wait_while(&shared, "hold the seats", || {
        let seat = shared.seats.permit_timeout(LONG).expect("the seats came back");
        drop(seat);
    });
    assert_eq!(shared.seats.available(), 2);
}

#[test]
fn a_barrier_breaks_when_one_that_waits_is_killed() {
    let shared = Shared::new();
    let meeting = Barrier::new(3).unwrap();
    let shared = Shared { meeting, ..shared };
    let other = shared.start("come to the meeting");
    assert!(shared.there.wait_timeout(LONG));
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(shared.meeting.wait_timeout(LONG).is_err()));
        std::thread::sleep(Duration::from_millis(20));
        kill(other);
    });
    assert!(shared.meeting.is_broken());
    shared.meeting.reset();
    std::thread::scope(|scope| {
        (0..3).for_each(|_| drop(scope.spawn(|| assert!(shared.meeting.wait_timeout(LONG).is_ok()))));
    });
}

#[test]
fn a_barrier_breaks_when_another_process_gets_the_place_of_one_killed_at_it() {
    let shared = Shared::new();
    let other = shared.start("come to the meeting");
    assert!(shared.there.wait_timeout(LONG));
    std::thread::sleep(Duration::from_millis(20));
    kill(other);
    // This gives the place away; nobody has looked at the barrier.
    shared.meeting.0.look_for_deaths();
    shared.there.clear();
    let other = shared.start("come to the meeting");
    assert!(other.join().is_err());
    assert!(shared.meeting.is_broken());
}

#[test]
fn processes_meet_at_a_barrier_and_are_notified() {
    let shared = Shared::new();
    let other = shared.start("come to the meeting");
    assert!(shared.meeting.wait_timeout(LONG).is_ok());
    ends_well(other, "party");
    let notifier = std::thread::scope(|scope| {
        let waiter = || {
            let mut pair = shared.pair.lock().unwrap();
            while pair[0] != 7 {
                pair = shared.changed.wait(pair).unwrap();
            }
        };
        scope.spawn(waiter);
        scope.spawn(move || crate::scope(|s| drop(s.spawn(waiter))));
        shared.start("notify")
    });
    ends_well(notifier, "notifier");
}

#[test]
fn an_event_that_was_set_and_cleared_has_happened() {
    let event = Event::new().unwrap();
    assert!(!event.wait_timeout(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| event.wait_timeout(LONG));
        while !waiter.is_finished() {
            event.set();
            event.clear();
        }
        assert!(waiter.join().unwrap());
    });
}
