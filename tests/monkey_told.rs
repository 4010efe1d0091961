//! Cancellations and deadlines of coroutines that wait for std's locks: told once, as an error that std takes for a wake.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use common::{on_one_worker, runtime, watched};
use ropewalk::{monkey, spawn, yield_now};

const MS: Duration = Duration::from_millis(1);

/// Waits on a word as std does; the errno.
fn wait_on(word: &AtomicU32) -> i32 {
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let (until, unused) = (std::ptr::null::<libc::timespec>(), std::ptr::null::<u32>());
    // SAFETY: the word outlives the call.
    let answer =
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 0, until, unused, u32::MAX) };
    if answer == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
}

fn wake(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

#[test]
fn a_cancellation_is_an_errno_once() {
    on_one_worker(|| {
        let word = Arc::new(AtomicU32::new(0));
        let waits = spawn({
            let word = Arc::clone(&word);
            move || {
                let first = wait_on(&word);
                let second = wait_on(&word);
                assert_eq!((first, second), (libc::ECANCELED, 0));
                ropewalk::sleep(MS);
                unreachable!("the next wait of another kind unwinds");
            }
        });
        (0..3).for_each(|_| yield_now());
        waits.cancel();
        (0..3).for_each(|_| yield_now());
        assert!(!waits.is_finished());
        wake(&word);
        assert!(waits.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn each_deadline_is_an_errno_once() {
    on_one_worker(|| {
        let word = AtomicU32::new(0);
        let mut told = Vec::new();
        let outer = ropewalk::timeout(MS, || {
            told.push(wait_on(&word));
            // It ends the wait, and the outer one, whose time is over as well, says so.
            let _ = ropewalk::timeout(MS, || told.push(wait_on(&word)));
        });
        assert!(outer.is_err());
        for _ in 0..3 {
            assert!(ropewalk::timeout(MS, || told.push(wait_on(&word))).is_err());
        }
        assert_eq!(told, [libc::ECANCELED; 5]);
    });
}

#[test]
fn a_cancelled_coroutine_gets_its_lock_and_ends_then() {
    on_one_worker(|| {
        let lock = Arc::new(Mutex::new(0));
        let guard = lock.lock().unwrap();
        let waits = spawn({
            let lock = Arc::clone(&lock);
            move || {
                *lock.lock().unwrap() += 1;
                ropewalk::sleep(MS);
                *lock.lock().unwrap() += 1;
            }
        });
        (0..3).for_each(|_| yield_now());
        waits.cancel();
        (0..3).for_each(|_| yield_now());
        assert!(!waits.is_finished());
        drop(guard);
        assert!(waits.join().unwrap_err().is_cancelled());
        assert_eq!(*lock.lock().unwrap(), 1);
    });
}

#[test]
fn a_wait_on_a_condvar_returns_for_who_asks_whether_it_is_cancelled() {
    on_one_worker(|| {
        let pair = Arc::new((Mutex::new(()), Condvar::new()));
        let asked_to_end = Arc::new(AtomicBool::new(false));
        let waits = spawn({
            let (pair, asked) = (Arc::clone(&pair), Arc::clone(&asked_to_end));
            move || {
                let mut guard = pair.0.lock().unwrap();
                while !asked.load(Ordering::Relaxed) {
                    guard = pair.1.wait(guard).unwrap();
                }
            }
        });
        (0..3).for_each(|_| yield_now());
        asked_to_end.store(true, Ordering::Relaxed);
        waits.cancel();
        waits.join().unwrap();
    });
}

#[test]
fn a_park_returns_once() {
    on_one_worker(|| {
        let flag = Arc::new(AtomicBool::new(false));
        let returns = Arc::new(AtomicU32::new(0));
        let waits = spawn({
            let (flag, returns) = (Arc::clone(&flag), Arc::clone(&returns));
            move || {
                while !flag.load(Ordering::Acquire) {
                    thread::park();
                    returns.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        ropewalk::sleep(5 * MS);
        let before = returns.load(Ordering::Relaxed);
        waits.cancel();
        ropewalk::sleep(20 * MS);
        // By the cancellation, and by looks of its own, since this coroutine has run twice.
        let more = returns.load(Ordering::Relaxed) - before;
        flag.store(true, Ordering::Release);
        thread::current().unpark();
        waits.join().unwrap();
        assert!((1..=3).contains(&more), "{more} returns");
    });
}

#[test]
fn a_runtime_that_cannot_end_says_why() {
    struct Capture;
    static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());
    impl log::Log for Capture {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            SAID.lock().unwrap().push(record.args().to_string());
        }
        fn flush(&self) {}
    }
    if let Some(output) = common::child("a_runtime_that_cannot_end_says_why") {
        return assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    log::set_logger(&Capture).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    watched(|| {
        monkey::patch_all().unwrap();
        let runtime = runtime(1);
        let pair = Arc::new((Mutex::new(false), Condvar::new()));
        let waits = ropewalk::coroutine::Builder::new().name("stubborn");
        let waits = {
            let pair = Arc::clone(&pair);
            waits.spawn_in(&runtime, move || {
                drop(pair.1.wait_while(pair.0.lock().unwrap(), |done| !*done).unwrap());
            })
        };
        let helper = thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(25);
            while Instant::now() < end && SAID.lock().unwrap().is_empty() {
                thread::sleep(MS);
            }
            *pair.0.lock().unwrap() = true;
            pair.1.notify_all();
        });
        runtime.run(|| ());
        drop(runtime);
        waits.unwrap().join().unwrap();
        helper.join().unwrap();
        let said = SAID.lock().unwrap();
        common::named(&said[0], &["runtime 'test'", "cannot end", "'stubborn'", "worker 0"]);
    });
}
