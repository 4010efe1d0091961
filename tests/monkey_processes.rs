//! What processes share, used by coroutines while libc's functions are replaced.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::on_one_worker;
use ropewalk::process::{Event, Mutex, Process};
use ropewalk::spawn;

/// To wait for a lock, a coroutine has its holder's process watched: it reads a file while it changes a table.
#[test]
fn coroutines_of_one_worker_wait_for_what_many_processes_hold() {
    on_one_worker(|| {
        let hold = |(mutex, held): (Mutex<u32>, Event)| {
            let _guard = mutex.lock().unwrap();
            held.set();
            std::thread::park();
        };
        let held: Vec<_> = (0..8)
            .map(|_| {
                let (mutex, held) = (Mutex::new(0u32).unwrap(), Event::new().unwrap());
                let holder = Process::spawn(hold, (mutex.clone(), held.clone())).unwrap();
                held.wait();
                (mutex, holder)
            })
            .collect();
        let wait = |mutex: Mutex<u32>| spawn(move || mutex.lock_timeout(Duration::from_millis(20)).is_err());
        let waiters: Vec<_> = held.iter().map(|(mutex, _)| wait(mutex.clone())).collect();
        assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap()));
        held.iter().for_each(|(_, holder)| holder.kill().unwrap());
    });
}
