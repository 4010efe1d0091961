//! Deadlocks of mutexes: each one is reported, by the wait that closes it, and nothing else is.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{on_workers, runtime, watched};
use ropewalk::JoinHandle;
use ropewalk::coroutine::Coroutine;
use ropewalk::sync::{Barrier, Event, Mutex, RawMutex, ReentrantMutex};

/// What a party made of its locks: a sum, or a report.
type Ended = Result<u32, String>;

/// Locks `first`, meets the others, and locks `second`.
fn hold_and_want(first: &Mutex<u32>, second: &Mutex<u32>, meet: &Barrier) -> Ended {
    let attempt = AssertUnwindSafe(|| {
        let one = first.lock();
        meet.wait().unwrap();
        *one + *second.lock()
    });
    catch_unwind(attempt).map_err(|payload| *payload.downcast::<String>().unwrap())
}

/// `count` parties in a ring, each holding one mutex and wanting the next: `as_thread` says who is a thread.
fn ring(count: usize, as_thread: impl Fn(usize) -> bool) -> Vec<Ended> {
    let locks: Arc<Vec<_>> = Arc::new((0..count as u32).map(Mutex::new).collect());
    let meet = Arc::new(Barrier::new(count));
    let party = |n: usize| {
        let (locks, meet) = (Arc::clone(&locks), Arc::clone(&meet));
        move || hold_and_want(&locks[n], &locks[(n + 1) % count], &meet)
    };
    let (mut threads, mut coroutines) = (Vec::new(), Vec::new());
    for n in 0..count {
        let name = format!("party-{n}");
        if as_thread(n) {
            threads.push(thread::Builder::new().name(name).spawn(party(n)).unwrap());
        } else {
            coroutines.push(ropewalk::Builder::new().name(name).spawn(party(n)).unwrap());
        }
    }
    let mut ended: Vec<Ended> = coroutines.into_iter().map(|handle| handle.join().unwrap()).collect();
    ended.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    // The program goes on: everything is free again.
    assert!(locks.iter().all(|lock| lock.try_lock().is_some()));
    ended
}

fn check(count: usize, ended: &[Ended]) {
    let reports: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
    assert_eq!(reports.len(), 1, "one is told, and the others go on: {ended:?}");
    let report = reports[0];
    for n in 0..count {
        assert_eq!(report.matches(&format!("'party-{n}'")).count(), 2, "as holder and as waiter: {report}");
    }
    // Each holds what the one before wants, and says where it wants the next.
    let lines: Vec<_> = report.lines().filter(|line| line.contains(" holds mutex ")).collect();
    assert_eq!(lines.len(), count, "{report}");
    let word =
        |line: &str, after: &str| line.split_once(after).unwrap().1.split(' ').next().unwrap().to_owned();
    for (n, line) in lines.iter().enumerate() {
        let next = lines[(n + 1) % count];
        assert_eq!(word(line, "wants mutex "), word(next, "holds mutex "), "{report}");
        assert!(line.contains("tests/deadlock.rs:"), "{report}");
    }
}

#[test]
fn rings_of_any_length_are_reported_among_coroutines() {
    on_workers(|| {
        for count in [2, 3, 7] {
            check(count, &ring(count, |_| false));
        }
    });
}

#[test]
fn threads_and_coroutines_close_rings_together() {
    for count in [2, 3, 5] {
        watched(move || check(count, &ring(count, |_| true)));
        watched(move || check(count, &ring(count, |n| n % 2 == 0)));
    }
}

#[test]
fn other_locks_of_the_family_are_seen_too() {
    on_workers(|| {
        let (gate, counter) = (Arc::new(RawMutex::new()), Arc::new(ReentrantMutex::new(1)));
        let meet = Arc::new(Barrier::new(2));
        let (own_gate, own_counter, own_meet) = (Arc::clone(&gate), Arc::clone(&counter), Arc::clone(&meet));
        let one = ropewalk::spawn(move || {
            own_gate.acquire();
            own_meet.wait().unwrap();
            let got = catch_unwind(AssertUnwindSafe(|| *own_counter.lock())).is_ok();
            own_gate.release().unwrap();
            got
        });
        let two = ropewalk::spawn(move || {
            let _outer = counter.lock();
            // Once more is no wait.
            let _inner = counter.lock();
            meet.wait().unwrap();
            let got = catch_unwind(AssertUnwindSafe(|| gate.acquire())).is_ok();
            if got {
                gate.release().unwrap();
            }
            got
        });
        assert_eq!(u8::from(one.join().unwrap()) + u8::from(two.join().unwrap()), 1);
    });
}

/// A holds one and wants two; the caller holds two, and is going to want one.
fn half_a_ring(
    want: impl FnOnce(&Mutex<u32>) + Send + 'static,
) -> (Arc<Mutex<u32>>, Arc<Mutex<u32>>, JoinHandle<()>) {
    let (one, two) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let held = Arc::new(Event::new());
    let (first, second, holds) = (Arc::clone(&one), Arc::clone(&two), Arc::clone(&held));
    let two_is_taken = Arc::new(Event::new());
    let taken = Arc::clone(&two_is_taken);
    let other = ropewalk::spawn(move || {
        let _one = first.lock();
        holds.set();
        taken.wait();
        want(&second);
    });
    held.wait();
    let guard = two.lock();
    two_is_taken.set();
    // It waits for `two` now, or will: the deadline or the cancellation below ends that either way.
    while !two.state().contended {
        ropewalk::sleep(Duration::from_micros(50));
    }
    core::mem::forget(guard);
    (one, two, other)
}

#[test]
fn a_wait_with_a_deadline_is_no_part_of_a_deadlock() {
    on_workers(|| {
        let (one, two, other) = half_a_ring(|two| {
            assert!(two.lock_timeout(Duration::from_millis(20)).is_none());
        });
        // Would close the ring; but the other gives up and lets go of `one`.
        assert_eq!(*one.lock(), 1);
        other.join().unwrap();
        drop((one, two));
    });
}

#[test]
fn a_timeout_around_a_wait_counts_as_a_deadline() {
    on_workers(|| {
        let (one, two, other) = half_a_ring(|two| {
            assert!(ropewalk::timeout(Duration::from_millis(20), || drop(two.lock())).is_err());
        });
        assert_eq!(*one.lock(), 1);
        other.join().unwrap();
        drop((one, two));
    });
}

#[test]
fn a_waiter_that_is_being_cancelled_is_no_part_of_a_deadlock() {
    on_workers(|| {
        let (one, two, other) = half_a_ring(|two| drop(two.lock()));
        other.cancel();
        // The cancelled one may not have run since; it will let go of `one`.
        assert_eq!(*one.lock(), 1);
        assert!(other.join().unwrap_err().is_cancelled());
        drop((one, two));
    });
}

#[test]
fn chains_without_a_cycle_are_not_reported() {
    on_workers(|| {
        let locks: Arc<Vec<_>> = Arc::new((0..20).map(Mutex::new).collect());
        let handles: Vec<_> = (0..19)
            .map(|n| {
                let locks = Arc::clone(&locks);
                ropewalk::spawn(move || {
                    for _ in 0..50 {
                        let one = locks[n].lock();
                        ropewalk::yield_now();
                        let two = locks[n + 1].lock();
                        assert_eq!(*one + 1, *two);
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

thread_local! {
    static CARRIED: RefCell<Option<Coroutine<(), ()>>> = const { RefCell::new(None) };
}

#[test]
fn a_guard_that_outlives_its_coroutine_makes_nobody_look_like_the_holder() {
    static HELD: Mutex<u32> = Mutex::new(7);
    watched(|| {
        runtime(1).run(|| {
            let locks = ropewalk::spawn(|| {
                let mut inner = Coroutine::<(), ()>::new(|out, ()| {
                    let _guard = HELD.lock();
                    out.suspend(());
                });
                inner.resume(());
                CARRIED.set(Some(inner));
            });
            locks.join().unwrap();
            // It runs on the stack of the one that has ended.
            let waits = ropewalk::spawn(|| {
                let own = Mutex::new(0);
                let _own = own.lock();
                ropewalk::spawn(|| {
                    while !HELD.state().contended {
                        ropewalk::yield_now();
                    }
                    drop(CARRIED.take());
                });
                *HELD.lock()
            });
            assert_eq!(waits.join().unwrap(), 7);
        });
    });
}

#[test]
fn what_a_coroutine_has_left_locked_cannot_be_released_by_a_later_one() {
    static GATE: RawMutex = RawMutex::new();
    watched(|| {
        runtime(1).run(|| {
            ropewalk::spawn(|| GATE.acquire()).join().unwrap();
            for _ in 0..10 {
                assert!(ropewalk::spawn(|| GATE.release()).join().unwrap().is_err());
            }
            assert!(GATE.is_held());
        });
    });
}

/// Locks `first`, meets the others, and locks `second`: at once, or in a destructor while it unwinds.
fn hold_and_want_later(first: &Mutex<u32>, second: &Mutex<u32>, meet: &Barrier, unwinding: bool) -> Ended {
    struct Locks<'a>(&'a Mutex<u32>, &'a Mutex<u32>);
    impl Drop for Locks<'_> {
        fn drop(&mut self) {
            // The other waits for `first` by now, and so this closes the cycle; or it will.
            let patience = std::time::Instant::now() + Duration::from_millis(20);
            while !self.0.state().contended && std::time::Instant::now() < patience {
                thread::yield_now();
            }
            *self.1.lock() += 10;
        }
    }
    if !unwinding {
        return hold_and_want(first, second, meet);
    }
    let attempt = AssertUnwindSafe(|| {
        let _one = first.lock();
        let _later = Locks(first, second);
        meet.wait().unwrap();
        panic!("on purpose");
    });
    catch_unwind(attempt).map_err(|payload| (*payload.downcast::<&str>().unwrap()).to_owned())
}

#[test]
fn a_party_that_unwinds_is_not_told_but_another_one() {
    for threads in [true, false] {
        for _ in 0..3 {
            watched(move || {
                let (one, two, meet) = (Mutex::new(1), Mutex::new(2), Barrier::new(2));
                let unwinds = || hold_and_want_later(&one, &two, &meet, true);
                let waits = || hold_and_want_later(&two, &one, &meet, false);
                let (purpose, told) = if threads {
                    thread::scope(|scope| {
                        let (first, second) = (scope.spawn(unwinds), scope.spawn(waits));
                        (first.join().unwrap(), second.join().unwrap())
                    })
                } else {
                    ropewalk::scope(|scope| {
                        let (first, second) = (scope.spawn(unwinds), scope.spawn(waits));
                        (first.join().unwrap(), second.join().unwrap())
                    })
                };
                assert_eq!(purpose, Err("on purpose".to_owned()));
                assert!(told.clone().unwrap_err().starts_with("deadlock:"), "{told:?}");
                assert_eq!((*one.lock(), *two.lock()), (1, 12));
            });
        }
    }
}

#[test]
fn a_deadlock_of_parties_that_all_unwind_is_logged_and_aborts_nothing() {
    struct Told(std::sync::mpsc::SyncSender<String>);
    impl log::Log for Told {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            let _ = self.0.try_send(record.args().to_string());
        }
        fn flush(&self) {}
    }
    if let Some(output) = common::child("a_deadlock_of_parties_that_all_unwind_is_logged_and_aborts_nothing")
    {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let (sender, told) = std::sync::mpsc::sync_channel(16);
    log::set_boxed_logger(Box::new(Told(sender))).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let shared = Arc::new((Mutex::new(1), Mutex::new(2), Barrier::new(2)));
    for turn in [false, true] {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let (one, two, meet) = &*shared;
            let (first, second) = if turn { (one, two) } else { (two, one) };
            hold_and_want_later(first, second, meet, true)
        });
    }
    let report = told.recv_timeout(Duration::from_secs(20)).expect("the log is told");
    assert!(report.starts_with("deadlock:") && report.contains("while they unwind"), "{report}");
    // The two wait for ever.
    std::process::exit(0);
}
