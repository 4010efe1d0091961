//! Runtimes that come and go, with coroutines in all states, while others hold handles into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ropewalk::channel;
use ropewalk::sync::{Event, Mutex};

use crate::harness::{Round, ended, rounds};

fn come_and_go(round: &Round) {
    let live = Arc::new(AtomicUsize::new(0));
    let (sender, receiver) = channel::bounded::<usize>(2);
    let (mutex, never) = (Arc::new(Mutex::new(0)), Arc::new(Event::new()));
    let mut kept = Vec::new();
    let mut dice = round.dice(0);
    for n in 0..2 + dice.below(2) {
        let inner = ropewalk::Runtime::builder().name("inner").workers(1 + n % 3).build().unwrap();
        for at in 0..20 {
            let counted = Arc::clone(&live);
            let (sender, receiver, mutex, never) =
                (sender.clone(), receiver.clone(), Arc::clone(&mutex), Arc::clone(&never));
            let mut dice = round.dice(100 * n + at);
            counted.fetch_add(1, Ordering::Relaxed);
            struct Gone(Arc<AtomicUsize>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.fetch_sub(1, Ordering::Relaxed);
                }
            }
            let gone = Gone(counted);
            let mut naps = dice.clone();
            let handle = inner.spawn(move || {
                let _gone = gone;
                loop {
                    match at % 6 {
                        0 => drop(sender.send(at)),
                        1 => drop(receiver.recv()),
                        2 => never.wait(),
                        3 => {
                            *mutex.lock() += 1;
                            ropewalk::sleep(naps.micros(300));
                        }
                        4 => {
                            let child = ropewalk::spawn(|| ropewalk::sleep(Duration::from_micros(20)));
                            let _ = ended(child.join());
                        }
                        _ => naps.nap(),
                    }
                    ropewalk::yield_now();
                }
            });
            match dice.below(3) {
                0 => drop(handle),
                1 => {
                    // Joined from another runtime while this one ends.
                    kept.push(round.spawn(move || ended(handle.join()).is_none()));
                }
                _ => {
                    let canceller = handle.canceller();
                    kept.push(round.spawn(move || {
                        ropewalk::yield_now();
                        canceller.cancel();
                        handle.handle().unpark();
                        ended(handle.join()).is_none()
                    }));
                }
            }
        }
        std::thread::sleep(dice.micros(500));
        match dice.below(3) {
            0 => drop(inner),
            1 => assert!(inner.shutdown_timeout(Duration::from_secs(50))),
            _ => {
                let outside = round.spawn(move || drop(inner));
                outside.join().unwrap();
            }
        }
        // Those that ended it in the background, too.
        assert_eq!(live.load(Ordering::Relaxed), 0, "a runtime that has ended has nobody left");
    }
    for handle in kept {
        assert!(handle.join().unwrap(), "whoever loops for ever ends by being cancelled");
    }
    assert!(mutex.try_lock().is_some());
    while receiver.try_recv().is_ok() {}
}

#[test]
fn a_runtime_that_ends_leaves_nobody_behind() {
    rounds("runtimes", come_and_go);
}

fn between(round: &Round) {
    let a = Arc::new(ropewalk::Runtime::builder().name("a").workers(1).build().unwrap());
    let (to_a, at_a) = channel::bounded(0);
    let (to_b, at_b) = channel::unbounded();
    let own = Arc::clone(&a);
    let there = a.spawn(move || {
        let _own = own;
        for n in at_a.iter() {
            to_b.send(n + 1).unwrap();
        }
        // The last reference to the runtime may be dropped right here, by its own coroutine.
    });
    drop(a);
    let here = round.spawn(move || {
        for n in 0..100 {
            to_a.send(n).unwrap();
            assert_eq!(at_b.recv().unwrap(), n + 1);
        }
    });
    here.join().unwrap();
    let _ = ended(there.join());
}

#[test]
fn runtimes_talk_and_one_ends_itself() {
    rounds("between runtimes", between);
}
