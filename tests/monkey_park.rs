//! `std::thread::park` on coroutines, of which many share one thread's token.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use common::{Random, on_one_worker, runtime, watched};
use ropewalk::{channel, join_all, monkey, spawn, yield_now};

const MS: Duration = Duration::from_millis(1);

/// How often a lock or a park has begun to wait.
fn parks() -> u64 {
    monkey::status().iter().find(|symbol| symbol.name() == "syscall").unwrap().parks()
}

/// Parks until the flag is set, and takes it.
fn take(flag: &AtomicBool) {
    while !flag.swap(false, Ordering::AcqRel) {
        thread::park();
    }
}

/// Sets the flag, and unparks.
fn give(flag: &AtomicBool, thread: &Thread) {
    flag.store(true, Ordering::Release);
    thread.unpark();
}

#[test]
fn a_coroutine_of_the_same_worker_unparks() {
    on_one_worker(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let parked = spawn({
            let flag = Arc::clone(&flag);
            move || take(&flag)
        });
        (0..3).for_each(|_| yield_now());
        give(&flag, &thread::current());
        parked.join().unwrap();
    });
}

#[test]
fn a_thread_unparks() {
    on_one_worker(|| {
        for round in 0..200u32 {
            let worker = thread::current();
            let told = Arc::new(AtomicBool::new(false));
            let tells = Arc::clone(&told);
            let waker = thread::spawn(move || {
                if round % 20 == 0 {
                    thread::sleep(MS);
                }
                tells.store(true, Ordering::Release);
                worker.unpark();
            });
            let sleeper = spawn(move || {
                while !told.load(Ordering::Acquire) {
                    thread::park();
                }
            });
            sleeper.join().unwrap();
            waker.join().unwrap();
        }
        thread::park_timeout(2 * MS);
    });
}

#[test]
fn two_coroutines_of_a_worker_hand_each_other_the_turn() {
    on_one_worker(|| {
        let flags = Arc::new([AtomicBool::new(true), AtomicBool::new(false)]);
        let player = |own: usize| {
            let flags = Arc::clone(&flags);
            spawn(move || {
                for _ in 0..200 {
                    take(&flags[own]);
                    give(&flags[1 - own], &thread::current());
                }
            })
        };
        join_all([player(0), player(1)]).into_iter().for_each(|end| end.unwrap());
    });
}

#[test]
fn no_wake_is_lost_between_coroutines_and_threads() {
    let mut random = Random::new();
    for workers in [1, 2, 8] {
        let seed = random.next();
        watched(move || {
            monkey::patch_all().unwrap();
            let runtime = runtime(workers);
            let mut random = Random::from(seed | 1);
            let mut coroutines = Vec::new();
            let mut threads = Vec::new();
            for pair in 0..12 {
                let rounds = 100 + random.below(200);
                let flags = Arc::new([AtomicBool::new(true), AtomicBool::new(false)]);
                let (tell, told) = channel::bounded::<Thread>(1);
                let (tell_back, told_back) = channel::bounded::<Thread>(1);
                let own = Arc::clone(&flags);
                coroutines.push(runtime.spawn(move || {
                    tell.send(thread::current()).unwrap();
                    let other = told_back.recv().unwrap();
                    for round in 0..rounds {
                        take(&own[0]);
                        if round % 16 == pair {
                            yield_now();
                        }
                        give(&own[1], &other);
                    }
                }));
                let play = move || {
                    tell_back.send(thread::current()).unwrap();
                    let other = told.recv().unwrap();
                    for _ in 0..rounds {
                        take(&flags[1]);
                        give(&flags[0], &other);
                    }
                };
                // Half of the pairs are two coroutines, each on the worker that takes it.
                if pair % 2 == 0 {
                    threads.push(thread::spawn(play));
                } else {
                    coroutines.push(runtime.spawn(play));
                }
            }
            coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}

#[test]
fn one_that_is_parked_alone_sleeps_until_it_is_unparked() {
    let output = common::child("one_that_is_parked_alone_sleeps_until_it_is_unparked");
    if let Some(output) = output {
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    on_one_worker(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let parked = spawn({
            let flag = Arc::clone(&flag);
            move || take(&flag)
        });
        // The first finds the token by which the thread's word was learnt.
        (0..5).for_each(|_| yield_now());
        let before = parks();
        ropewalk::sleep(50 * MS);
        // It looks once, because this coroutine has run after it.
        let looks = parks() - before;
        give(&flag, &thread::current());
        parked.join().unwrap();
        assert!(looks <= 1, "{looks} looks");
    });
}

#[test]
fn several_that_are_parked_in_vain_do_not_spin() {
    if let Some(output) = common::child("several_that_are_parked_in_vain_do_not_spin") {
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    on_one_worker(|| {
        let flags: Arc<Vec<AtomicBool>> = Arc::new((0..4).map(|_| AtomicBool::new(false)).collect());
        let parked: Vec<_> = (0..4)
            .map(|n| {
                let flags = Arc::clone(&flags);
                spawn(move || take(&flags[n]))
            })
            .collect();
        (0..100).for_each(|_| yield_now());
        thread::current().unpark();
        let (before, began) = (parks(), Instant::now());
        ropewalk::sleep(100 * MS);
        // Each pause takes a millisecond at least, parks all four again, and lets sixteen end each other's waits.
        let limit = 20 * (5 + began.elapsed().as_millis() as u64);
        let parks = parks() - before;
        flags.iter().for_each(|flag| flag.store(true, Ordering::Release));
        thread::current().unpark();
        parked.into_iter().for_each(|parked| parked.join().unwrap());
        assert!(parks <= limit, "{parks} parks, more than {limit}");
    });
}

#[test]
fn scopes_of_threads_are_waited_for_side_by_side() {
    on_one_worker(|| {
        let (coroutines, rounds) = (10, 20);
        let barrier = Arc::new(Barrier::new(coroutines));
        let all = (0..coroutines).map(|_| {
            let barrier = Arc::clone(&barrier);
            spawn(move || {
                for _ in 0..rounds {
                    // No scope ends before all have begun.
                    thread::scope(|scope| drop(scope.spawn(|| barrier.wait())));
                }
            })
        });
        join_all(all.collect::<Vec<_>>()).into_iter().for_each(|end| end.unwrap());
    });
}

#[test]
fn channels_from_threads_are_waited_for_side_by_side() {
    on_one_worker(|| {
        let all = (0..10).map(|n| {
            spawn(move || {
                let (sender, receiver) = mpsc::sync_channel(1);
                let thread =
                    thread::spawn(move || (0..200u32).try_for_each(|value| sender.send(value)).unwrap());
                let sum: u32 = receiver.iter().sum();
                thread.join().unwrap();
                assert_eq!(sum, 19_900, "coroutine {n}");
            })
        });
        join_all(all.collect::<Vec<_>>()).into_iter().for_each(|end| end.unwrap());
    });
}

#[test]
fn a_park_with_a_limit_ends_by_it() {
    on_one_worker(|| {
        let all = (1..=20u32).map(|n| {
            spawn(move || {
                let until = Instant::now() + n * MS / 2;
                while let Some(left) = until.checked_duration_since(Instant::now()) {
                    thread::park_timeout(left);
                }
            })
        });
        join_all(all.collect::<Vec<_>>()).into_iter().for_each(|end| end.unwrap());
    });
}

#[test]
fn threads_unpark_whom_they_like() {
    watched(|| {
        monkey::patch_all().unwrap();
        let runtime = runtime(2);
        let done = Arc::new(AtomicU64::new(0));
        let (tell, told) = mpsc::channel::<(Thread, Arc<AtomicU32>)>();
        let coroutines: Vec<_> = (0..40)
            .map(|_| {
                let (tell, done) = (tell.clone(), Arc::clone(&done));
                runtime.spawn(move || {
                    let tokens = Arc::new(AtomicU32::new(0));
                    tell.send((thread::current(), Arc::clone(&tokens))).unwrap();
                    for taken in 0..50 {
                        while tokens.load(Ordering::Acquire) <= taken {
                            thread::park();
                        }
                        done.fetch_add(1, Ordering::Release);
                    }
                })
            })
            .collect();
        let all: Vec<_> = told.into_iter().take(40).collect();
        let threads: Vec<_> = all
            .chunks(20)
            .map(|some| {
                let (some, done) = (some.to_vec(), Arc::clone(&done));
                thread::spawn(move || {
                    for round in 0..50u64 {
                        for (thread, tokens) in &some {
                            tokens.fetch_add(1, Ordering::Release);
                            thread.unpark();
                        }
                        // Nothing more is given before what was given is taken: a lost wake would never be made up for.
                        while done.load(Ordering::Acquire) < round * 20 {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
    });
}

#[test]
fn a_handler_parks_beside_coroutines_that_are() {
    extern "C" fn handler(_: i32) {
        thread::park_timeout(MS);
    }
    on_one_worker(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let parked = spawn({
            let flag = Arc::clone(&flag);
            move || take(&flag)
        });
        (0..5).for_each(|_| yield_now());
        // SAFETY: the handler parks, which is a system call and some words of the thread's.
        unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) };
        for _ in 0..20 {
            // SAFETY: a signal that is handled.
            unsafe { libc::raise(libc::SIGUSR1) };
        }
        give(&flag, &thread::current());
        parked.join().unwrap();
    });
}

#[test]
fn calls_that_name_no_word_leave_who_is_parked_alone() {
    on_one_worker(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let parked = spawn({
            let flag = Arc::clone(&flag);
            move || take(&flag)
        });
        (0..5).for_each(|_| yield_now());
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        // SAFETY: a wake takes an address for a key.
        unsafe { libc::syscall(libc::SYS_futex, std::ptr::null::<u32>(), operation, 1) };
        let words = [0u32; 2];
        let askew = words.as_ptr().cast::<u8>().wrapping_add(1);
        let (operation, none) = (libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG, std::ptr::null::<u32>());
        // SAFETY: the kernel refuses the address.
        let answer = unsafe { libc::syscall(libc::SYS_futex, askew, operation, 0, none, none, u32::MAX) };
        assert_eq!((answer, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EINVAL)));
        ropewalk::sleep(MS);
        give(&flag, &thread::current());
        parked.join().unwrap();
    });
}
