//! Replaced libc functions: plain blocking code on one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use common::on_one_worker;
use ropewalk::monkey;

fn parks(name: &str) -> u64 {
    let found = monkey::status().into_iter().find(|symbol| symbol.name() == name);
    found.unwrap_or_else(|| panic!("{name} is not replaced")).parks()
}

#[test]
fn every_symbol_arrives_here() {
    monkey::patch_all().unwrap();
    for symbol in monkey::status() {
        println!("{symbol}");
        assert!(symbol.is_active(), "{symbol}");
    }
    assert!(monkey::self_test().inactive().next().is_none());
}

#[test]
fn a_thousand_sleep_at_once() {
    on_one_worker(|| {
        let before = parks("clock_nanosleep") + parks("nanosleep");
        let began = Instant::now();
        let nap = || ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(100)));
        let all: Vec<_> = (0..1000).map(|_| nap()).collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
        assert!(began.elapsed() >= Duration::from_millis(100));
        println!("1,000 sleeps of 100 ms took {:?}", began.elapsed());
        // One after the other they would take 100 s, and the watchdog would have ended this.
        assert!(parks("clock_nanosleep") + parks("nanosleep") >= before + 1000);
    });
}

static PIPE: AtomicI32 = AtomicI32::new(-1);
static WROTE: AtomicI32 = AtomicI32::new(0);

/// Writes to a pipe, as handlers do that wake an event loop.
extern "C" fn handler(_: libc::c_int) {
    let fd = PIPE.load(Ordering::Relaxed);
    for _ in 0..2 {
        // SAFETY: one byte.
        let wrote = unsafe { libc::write(fd, c"x".as_ptr().cast(), 1) };
        WROTE.fetch_add(wrote as i32, Ordering::Relaxed);
    }
}

/// Bytes that the handler wrote, and calls of `write` that were taken for a coroutine's.
fn raise_and_count(writing: libc::c_int) -> (i32, u64) {
    let calls = || monkey::status().iter().find(|symbol| symbol.name() == "write").map_or(0, |w| w.calls());
    PIPE.store(writing, Ordering::Relaxed);
    WROTE.store(0, Ordering::Relaxed);
    let before = calls();
    // SAFETY: a signal with a handler, to the calling thread.
    unsafe { libc::raise(libc::SIGUSR1) };
    (WROTE.load(Ordering::Relaxed), calls() - before)
}

#[test]
fn signal_handlers_call_the_kernel() {
    // One handler is there before the patch, the other comes after it.
    // SAFETY: the handler writes, and counts.
    unsafe { libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t) };
    on_one_worker(|| {
        let mut ends = [0; 2];
        // SAFETY: room for two.
        assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK) }, 0);
        assert_eq!(raise_and_count(ends[1]), (2, 0));
        // SAFETY: all zeros is an action.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
        let mut before = action;
        // SAFETY: both live through the call.
        assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, &mut before) }, 0);
        // Who asks is given its own.
        assert_eq!(before.sa_sigaction, handler as *const () as usize);
        assert_eq!(raise_and_count(ends[1]), (2, 0));
    });
}
