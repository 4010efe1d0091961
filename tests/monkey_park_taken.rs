//! Tokens of `std::thread::park` that another coroutine took, and coroutines that wait in the middle of a park.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::on_one_worker;
use ropewalk::sync::Event;
use ropewalk::{spawn, yield_now};

const MS: Duration = Duration::from_millis(1);

/// As many allocators do, it has a lock; only who has asked for that takes it.
struct Locked;

static LOCK: Mutex<()> = Mutex::new(());
static TAKES_LOCK: AtomicBool = AtomicBool::new(false);
/// For tests that use these two.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

// SAFETY: it is the system's.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if TAKES_LOCK.load(Ordering::Relaxed) && TAKES_LOCK.swap(false, Ordering::Relaxed) {
            drop(LOCK.lock());
        }
        // SAFETY: the caller's duty.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Locked = Locked;

/// Parks until nothing is left of what others have done before.
fn settle() {
    (0..5).for_each(|_| thread::park_timeout(MS));
}

#[test]
fn a_token_that_was_taken_between_the_check_and_the_park_is_made_up_for() {
    on_one_worker(|| {
        let (flag, checked, taken) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Event::new()), Arc::new(Event::new()));
        let parked = spawn({
            let (flag, checked, taken) = (Arc::clone(&flag), Arc::clone(&checked), Arc::clone(&taken));
            move || {
                settle();
                while !flag.load(Ordering::Acquire) {
                    checked.set();
                    taken.wait();
                    thread::park();
                }
            }
        });
        checked.wait();
        flag.store(true, Ordering::Release);
        thread::current().unpark();
        // Takes that token, and nobody sees it.
        thread::park();
        taken.set();
        // From here on nobody runs but for the other.
        parked.join().unwrap();
    });
}

/// Runs `f` while a coroutine waits for memory in its first park; then it has to end.
fn in_the_middle_of_a_park(f: impl FnOnce(&AtomicBool) + Send + 'static) {
    let _one = ONE_AT_A_TIME.lock();
    on_one_worker(|| {
        settle();
        let flag = Arc::new(AtomicBool::new(false));
        let locked = LOCK.lock().unwrap();
        let parked = spawn({
            let flag = Arc::clone(&flag);
            move || {
                TAKES_LOCK.store(true, Ordering::Relaxed);
                while !flag.load(Ordering::Acquire) {
                    thread::park();
                }
            }
        });
        (0..3).for_each(|_| yield_now());
        assert!(!TAKES_LOCK.load(Ordering::Relaxed), "a park needs no memory: the test tests nothing");
        f(&flag);
        drop(locked);
        parked.join().unwrap();
    });
}

#[test]
fn others_park_while_one_waits_in_the_middle_of_it() {
    in_the_middle_of_a_park(|flag| {
        let done = Arc::new(AtomicBool::new(false));
        let other = spawn({
            let done = Arc::clone(&done);
            move || {
                while !done.load(Ordering::Acquire) {
                    thread::park();
                }
            }
        });
        (0..3).for_each(|_| yield_now());
        done.store(true, Ordering::Release);
        flag.store(true, Ordering::Release);
        thread::current().unpark();
        other.join().unwrap();
    });
}
