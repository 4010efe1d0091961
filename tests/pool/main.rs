//! The pool of processes: values, order, chunks, bounds, and every way in which a worker can die.
#![allow(missing_docs, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod callbacks;
mod results;
mod storm;
mod workers;

use std::time::Duration;

fn kill(pid: u32) {
    // SAFETY: a process of this test's.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}
