//! Replaced libc functions: plain blocking code on one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

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
