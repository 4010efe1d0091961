//! `exit` in a coroutine, and the end of a worker: whatever waits in a destructor or a handler, no other coroutine of
//! the worker runs any more.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use common::{child, runtime, watched};
use ropewalk::channel;
use ropewalk::coroutine::{Canceller, Coroutine, Suspender};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_millis(150);

/// Whether `exit` has been called.
static EXITING: AtomicBool = AtomicBool::new(false);

/// A thread-local whose destructor does something, in the middle of `exit`.
struct AtEnd(Box<dyn FnOnce()>);
struct Ends(Cell<Option<AtEnd>>);

impl Drop for Ends {
    fn drop(&mut self) {
        let AtEnd(call) = self.0.take().unwrap();
        call();
        eprintln!("the destructor is done");
    }
}

thread_local! {
    static ENDS: RefCell<Option<Ends>> = const { RefCell::new(None) };
}

fn at_end(call: impl FnOnce() + 'static) {
    ENDS.set(Some(Ends(Cell::new(Some(AtEnd(Box::new(call)))))));
}

/// Keeps a worker busy with coroutines that say so if they run after the exit has begun.
fn neighbours() {
    fn look() {
        if EXITING.load(Ordering::SeqCst) {
            eprintln!("another coroutine runs");
        }
    }
    ropewalk::spawn(|| {
        loop {
            ropewalk::sleep(Duration::from_millis(1));
            look();
        }
    });
    ropewalk::spawn(|| {
        loop {
            ropewalk::yield_now();
            look();
        }
    });
}

fn exit() -> ! {
    EXITING.store(true, Ordering::SeqCst);
    std::process::exit(7)
}

/// Runs `f` in a coroutine of one worker, in a child, and gives what that says before it has exited with 7.
fn exits(test: &str, f: impl FnOnce() + Send + 'static) -> Option<String> {
    if let Some(output) = child(test) {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{said}");
        assert!(!said.contains("another coroutine runs"), "{said}");
        return Some(said);
    }
    watched(move || runtime(1).run(f));
    None
}

#[test]
fn a_destructor_that_waits_after_exit_lets_no_other_coroutine_run() {
    let Some(said) = exits("a_destructor_that_waits_after_exit_lets_no_other_coroutine_run", || {
        at_end(|| {
            ropewalk::sleep(SHORT);
            (0..2000).for_each(|_| ropewalk::yield_now());
            let (sender, receiver) = channel::bounded(0);
            std::thread::spawn(move || {
                std::thread::sleep(LONG);
                sender.send(3).unwrap();
            });
            assert_eq!(receiver.recv(), Ok(3));
            assert!(!ropewalk::park_timeout(SHORT));
        });
        neighbours();
        ropewalk::sleep(SHORT);
        exit();
    }) else {
        return;
    };
    assert!(said.contains("the destructor is done"), "{said}");
}

#[test]
fn a_handler_of_atexit_that_waits_lets_no_other_coroutine_run() {
    extern "C" fn handler() {
        ropewalk::sleep(SHORT);
        (0..2000).for_each(|_| ropewalk::yield_now());
        eprintln!("the handler is done");
    }
    let Some(said) = exits("a_handler_of_atexit_that_waits_lets_no_other_coroutine_run", || {
        // SAFETY: the handler does not unwind.
        assert_eq!(unsafe { libc::atexit(handler) }, 0);
        neighbours();
        ropewalk::sleep(SHORT);
        exit();
    }) else {
        return;
    };
    assert!(said.contains("the handler is done"), "{said}");
}

#[test]
fn neither_a_cancellation_nor_a_deadline_ends_a_wait_after_exit() {
    static SELF: OnceLock<Canceller> = OnceLock::new();
    let test = "neither_a_cancellation_nor_a_deadline_ends_a_wait_after_exit";
    let Some(said) = exits(test, || {
        std::thread::spawn(|| {
            while !EXITING.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            std::thread::sleep(SHORT);
            SELF.get().unwrap().cancel();
        });
        let own = ropewalk::spawn(|| {
            at_end(|| {
                (0..10).for_each(|_| ropewalk::sleep(SHORT));
                ropewalk::yield_now();
            });
            let _ = ropewalk::timeout(SHORT, || exit());
        });
        SELF.set(own.canceller()).unwrap();
        let _ = own.join();
    }) else {
        return;
    };
    assert!(said.contains("the destructor is done"), "{said}");
}

#[test]
fn a_coroutine_by_hand_that_is_unwound_by_exit_may_wait() {
    let Some(said) = exits("a_coroutine_by_hand_that_is_unwound_by_exit_may_wait", || {
        struct Waits;
        impl Drop for Waits {
            fn drop(&mut self) {
                ropewalk::sleep(LONG);
                eprintln!("unwound");
            }
        }
        let mut coroutine = Coroutine::<(), ()>::new(|out, ()| {
            let _waits = Waits;
            out.suspend(());
        });
        coroutine.resume(());
        neighbours();
        ropewalk::sleep(SHORT);
        exit();
    }) else {
        return;
    };
    assert!(said.contains("unwound"), "{said}");
}

#[test]
fn a_coroutine_by_hand_that_has_called_exit_cannot_suspend() {
    thread_local!(static OUT: Cell<*const Suspender<(), ()>> = const { Cell::new(std::ptr::null()) });
    if let Some(output) = child("a_coroutine_by_hand_that_has_called_exit_cannot_suspend") {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(said.contains("because `exit` was called in it"), "{said}");
        assert!(!said.contains("the resumer goes on"), "{said}");
        return;
    }
    let mut coroutine = Coroutine::<(), ()>::new(|out, ()| {
        OUT.set(out);
        // SAFETY: the coroutine is in `exit`, so its suspender lives.
        at_end(|| unsafe { &*OUT.get() }.suspend(()));
        exit();
    });
    coroutine.resume(());
    eprintln!("the resumer goes on");
}

#[test]
fn the_destructors_of_a_worker_that_ends_may_wait_for_another_runtime() {
    watched(|| {
        let other = Arc::new(runtime(1));
        let (tell, told) = std::sync::mpsc::channel();
        let own = runtime(1);
        own.run({
            let other = Arc::clone(&other);
            move || {
                at_end(move || {
                    ropewalk::sleep(SHORT);
                    other.run(|| ropewalk::sleep(SHORT));
                    tell.send(()).unwrap();
                });
            }
        });
        drop(own);
        assert_eq!(told.recv(), Ok(()));
    });
}
