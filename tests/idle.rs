//! What a runtime does when there is nothing to do, and for how long it sleeps: counted, not timed.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{on_workers, watched};
use ropewalk::Runtime;

/// Times that threads with this name have gone to sleep so far.
fn sleeps(name: &str) -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("the kernel lists threads") {
        let folder = task.expect("an entry").path();
        // A thread may end while it is looked at.
        let Ok(status) = std::fs::read_to_string(folder.join("status")) else { continue };
        let field = |key: &str| {
            status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim).unwrap_or("0").to_owned()
        };
        if field("Name:").starts_with(name) {
            sum += field("voluntary_ctxt_switches:").parse::<u64>().expect("a number");
        }
    }
    sum
}

#[test]
fn an_idle_runtime_with_parked_coroutines_wakes_up_for_nothing() {
    watched(|| {
        let runtime = Runtime::builder().workers(2).name("quiet").build().unwrap();
        let parked: Vec<_> = (0..100).map(|_| runtime.spawn(ropewalk::park)).collect();
        // It comes to rest after a while: stacks are made flat, the monitor goes to sleep. Were there any
        // periodic wake-up, this loop would not end.
        let calm = Duration::from_millis(500);
        loop {
            let before = (sleeps("quiet"), runtime.metrics().total.kernel_sleeps);
            std::thread::sleep(calm);
            if runtime.metrics().total.parked == 100
                && before == (sleeps("quiet"), runtime.metrics().total.kernel_sleeps)
            {
                break;
            }
        }
        assert!(sleeps("quiet") > 0, "its threads are found by name");
        parked.iter().for_each(|one| one.handle().unpark());
        parked.into_iter().for_each(|one| one.join().unwrap());
    });
}

#[test]
fn a_short_sleep_is_neither_cut_nor_spun() {
    watched(|| {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        for micros in [1, 10, 100, 300, 999] {
            let before = runtime.metrics().total;
            let limit = Duration::from_micros(micros);
            let took = runtime.run(move || {
                let start = Instant::now();
                ropewalk::sleep(limit);
                start.elapsed()
            });
            assert!(took >= limit, "{took:?} instead of {limit:?}");
            let after = runtime.metrics().total;
            // One turn to start it and one after the sleep; a spin would be a turn each.
            assert_eq!(after.switches - before.switches, 2, "{limit:?}");
        }
    });
}

#[test]
fn durations_without_end_do_not_overflow() {
    on_workers(|| {
        for limit in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(u64::from(u32::MAX))]
        {
            let sleeper = ropewalk::spawn(move || ropewalk::sleep(limit));
            let parked = ropewalk::spawn(move || ropewalk::park_timeout(limit));
            let patient = ropewalk::spawn(move || {
                ropewalk::timeout(limit, || ropewalk::sleep(Duration::from_micros(1)))
            });
            ropewalk::sleep(Duration::from_millis(1));
            assert!(!sleeper.is_finished() && !parked.is_finished());
            sleeper.cancel();
            parked.handle().unpark();
            assert!(sleeper.join().unwrap_err().is_cancelled());
            assert!(parked.join().unwrap(), "it was given the token");
            assert_eq!(patient.join().unwrap(), Ok(()));
        }
    });
}
