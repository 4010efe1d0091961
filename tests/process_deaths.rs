//! Deaths that nobody waits for: whoever comes after one, and never sleeps, is told all the same.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::watched;
use ropewalk::process::{Barrier, Event, Mutex, Process, Queue, Semaphore, TryLockError};

const LONG: Duration = Duration::from_secs(20);

/// Waits until a process sleeps.
fn asleep(pid: u32) {
    let began = Instant::now();
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S')) {
            return;
        }
        assert!(began.elapsed() < LONG, "it does not sleep");
        std::thread::yield_now();
    }
}

/// Starts a process that calls `hold`, which says when it is there; kills it then.
fn killed<T: ropewalk::process::Portable>(hold: fn((T, Event)), shared: T) {
    let there = Event::new().unwrap();
    let holder = Process::spawn(hold, (shared, there.clone())).unwrap();
    there.wait();
    asleep(holder.pid());
    holder.kill().unwrap();
    assert!(holder.join().is_err());
}

fn hold_mutex((mutex, there): (Mutex<u32>, Event)) {
    let _guard = mutex.lock().unwrap();
    there.set();
    std::thread::park();
}

fn hold_seat((seats, there): (Semaphore, Event)) {
    let _seat = seats.permit();
    there.set();
    std::thread::park();
}

fn meet((meeting, there): (Barrier, Event)) {
    there.set();
    let _ = meeting.wait();
}

#[test]
fn a_try_lock_tells_that_the_holder_was_killed() {
    watched(|| {
        let mutex = Mutex::new(0u32).unwrap();
        for _ in 0..20 {
            killed(hold_mutex, mutex.clone());
            assert!(matches!(mutex.try_lock(), Err(TryLockError::OwnerDied(_))));
            assert!(mutex.try_lock().is_ok());
        }
        killed(hold_mutex, mutex.clone());
        assert!(!mutex.is_locked());
        assert!(matches!(mutex.lock_timeout(Duration::ZERO), Err(TryLockError::OwnerDied(_))));
    });
}

#[test]
fn permits_of_a_killed_process_are_free_for_who_only_tries() {
    watched(|| {
        let seats = Semaphore::new(1).unwrap();
        for _ in 0..20 {
            killed(hold_seat, seats.clone());
            assert!(seats.try_permit().is_some());
            killed(hold_seat, seats.clone());
            assert_eq!(seats.available(), 1);
        }
        killed(hold_seat, seats.clone());
        assert!(seats.try_acquire());
    });
}

/// A process that comes may get the place of one that has died, and nothing of what that held.
#[test]
fn who_takes_the_place_of_a_killed_process_does_not_hold_its_permits() {
    watched(|| {
        let seats = Semaphore::new(1).unwrap();
        let take = |seats: Semaphore| seats.permit_timeout(LONG).is_some();
        for _ in 0..5 {
            killed(hold_seat, seats.clone());
            // This gives the place away.
            assert_eq!(seats.available(), 1);
            assert!(Process::spawn(take, seats.clone()).unwrap().join().unwrap());
        }
    });
}

#[test]
fn who_comes_last_to_a_barrier_is_told_that_another_was_killed_at_it() {
    watched(|| {
        for _ in 0..20 {
            let meeting = Barrier::new(2).unwrap();
            killed(meet, meeting.clone());
            assert!(meeting.is_broken());
            assert!(meeting.wait_timeout(LONG).is_err());
            assert!(meeting.is_broken());
            meeting.reset();
            let other = Process::spawn(meet, (meeting.clone(), Event::new().unwrap())).unwrap();
            assert!(meeting.wait_timeout(LONG).is_ok());
            other.join().unwrap();
        }
    });
}

fn hold_message((queue, there): (Queue<u32>, Event)) {
    queue.get().unwrap();
    there.set();
    std::thread::park();
}

#[test]
fn a_join_without_time_counts_the_tasks_of_a_killed_process_as_done() {
    watched(|| {
        for _ in 0..20 {
            let queue = Queue::bounded(4).unwrap();
            queue.put(1).unwrap();
            killed(hold_message, queue.clone());
            assert!(queue.join_timeout(Duration::ZERO));
        }
    });
}

fn hold_in_place((queue, there): (Queue<[u8]>, Event)) {
    let _message = queue.get_in_place().unwrap();
    there.set();
    std::thread::park();
}

#[test]
fn a_message_that_a_killed_process_looked_at_in_place_is_gone_for_who_only_tries() {
    watched(|| {
        for look in 0..3 {
            let queue = Queue::<[u8]>::with_ring(1, 4096).unwrap();
            queue.put_slice(&[1; 5]).unwrap();
            assert!(queue.is_full());
            killed(hold_in_place, queue.clone());
            match look {
                0 => assert!(queue.try_put_slice(&[2; 5]).is_ok()),
                1 => assert!(!queue.is_full()),
                _ => assert_eq!(queue.len(), 0),
            }
        }
    });
}

#[test]
fn room_that_a_killed_process_leaves_by_its_death_wakes_a_put() {
    watched(|| {
        for _ in 0..5 {
            let queue = Queue::<[u8]>::with_ring(1, 4096).unwrap();
            queue.put_slice(&[1; 5]).unwrap();
            let there = Event::new().unwrap();
            let holder = Process::spawn(hold_in_place, (queue.clone(), there.clone())).unwrap();
            there.wait();
            std::thread::scope(|scope| {
                let putter = scope.spawn(|| queue.put_slice(&[2; 5]).unwrap());
                asleep(holder.pid());
                holder.kill().unwrap();
                putter.join().unwrap();
            });
        }
    });
}

/// Takes every descriptor that this process may have, then a lock of a process that has ended and is not reaped.
fn lock_without_a_descriptor(mutex: Mutex<u32>) -> bool {
    let there = Event::new().unwrap();
    let holder = Process::spawn(hold_mutex, (mutex.clone(), there.clone())).unwrap();
    there.wait();
    let open = || std::fs::File::open("/dev/null").ok();
    let all: Vec<_> = std::iter::from_fn(open).collect();
    holder.kill().unwrap();
    let locked = mutex.lock_timeout(LONG);
    let told = matches!(locked, Err(TryLockError::OwnerDied(_)));
    drop(all);
    told
}

#[test]
fn the_death_of_a_lock_s_holder_is_noticed_without_a_descriptor_and_before_it_is_reaped() {
    watched(|| {
        let other = Process::spawn(lock_without_a_descriptor, Mutex::new(0).unwrap()).unwrap();
        assert!(other.join().unwrap());
    });
}
