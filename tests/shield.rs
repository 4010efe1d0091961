//! Shields and time limits stay with the code that they are around, whoever runs it. A destructor that runs because of
//! an unwinding is shielded by that.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{on_workers, runtime, watched};
use ropewalk::coroutine::{Boost, Coroutine, DefaultSwitch, Switch};
use ropewalk::sync::Event;

const MOMENT: Duration = Duration::from_millis(5);

#[test]
fn a_shield_holds_cancellations_and_deadlines_back_until_its_end() {
    on_workers(|| {
        let written = Arc::new(AtomicBool::new(false));
        let inside = Arc::new(Event::new());
        let (set, told) = (Arc::clone(&written), Arc::clone(&inside));
        let handle = ropewalk::spawn(move || {
            ropewalk::shield(|| {
                told.set();
                ropewalk::sleep(MOMENT);
                set.store(true, Ordering::Relaxed);
            });
            ropewalk::park();
        });
        inside.wait();
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
        assert!(written.load(Ordering::Relaxed));
        let late = ropewalk::timeout(Duration::ZERO, || {
            ropewalk::shield(|| ropewalk::sleep(MOMENT));
            ropewalk::park();
        });
        assert!(late.is_err());
    });
}

thread_local! {
    static CARRIED: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// A coroutine by hand, two deep, that is suspended under a shield, and then waits there.
fn suspended_under_a_shield<S: Switch>(inside: &Arc<Event>, written: &Arc<AtomicBool>) -> Box<dyn FnMut()> {
    let (inside, written) = (Arc::clone(inside), Arc::clone(written));
    let mut outer = Coroutine::<(), (), (), S>::new(move |out, ()| {
        ropewalk::shield(|| {
            out.suspend(());
            // The shield is around the one that resumes this one, and so around this one.
            Coroutine::<(), (), (), S>::new(move |_, ()| {
                inside.set();
                ropewalk::sleep(MOMENT);
                written.store(true, Ordering::Relaxed);
            })
            .resume(());
        });
        ropewalk::park();
    });
    outer.resume(());
    Box::new(move || {
        outer.resume(());
    })
}

fn carry<S: Switch>() {
    let (inside, written) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
    let (told, set) = (Arc::clone(&inside), Arc::clone(&written));
    let first = ropewalk::spawn(move || {
        CARRIED.set(Some(suspended_under_a_shield::<S>(&told, &set)));
        // Not under the shield, and so it times out, and can be cancelled.
        assert!(ropewalk::timeout(MOMENT, ropewalk::park).is_err());
        told.set();
        ropewalk::park();
    });
    inside.wait();
    first.cancel();
    assert!(first.join().unwrap_err().is_cancelled(), "the first one can be cancelled");
    inside.clear();
    let second = ropewalk::spawn(|| {
        let mut go_on = CARRIED.take().unwrap();
        go_on();
    });
    inside.wait();
    second.cancel();
    assert!(second.join().unwrap_err().is_cancelled(), "the second one, after the shield");
    assert!(written.load(Ordering::Relaxed), "the shield holds for the second one");
}

#[test]
fn a_shield_is_carried_along_with_a_coroutine_by_hand() {
    watched(|| runtime(1).run(carry::<DefaultSwitch>));
    watched(|| runtime(1).run(carry::<Boost>));
}

#[test]
fn a_coroutine_that_is_forgotten_under_a_shield_shields_nobody_else() {
    let forget = || {
        let (inside, written) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
        std::mem::forget(suspended_under_a_shield::<DefaultSwitch>(&inside, &written));
        assert!(ropewalk::timeout(MOMENT, ropewalk::park).is_err());
    };
    watched(forget);
    on_workers(move || {
        let handle = ropewalk::spawn(move || {
            forget();
            ropewalk::park();
        });
        ropewalk::sleep(2 * MOMENT);
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_time_limit_that_a_suspended_coroutine_is_under_ends_no_wait_of_its_resumer() {
    on_workers(|| {
        let mut inner = Coroutine::<(), (), bool>::new(|out, ()| {
            ropewalk::timeout(MOMENT, || {
                out.suspend(());
                Event::new().wait();
            })
            .is_err()
        });
        assert!(inner.resume(()).yielded().is_some());
        // The limit passes meanwhile; nobody here is under it.
        ropewalk::sleep(MOMENT * 3);
        assert!(ropewalk::timeout(MOMENT, ropewalk::park).is_err());
        assert_eq!(inner.resume(()).returned(), Some(true));
    });
}

/// A coroutine by hand under a time limit, which waits for longer than that where `out` says so.
fn under_a_limit<S: Switch>() -> Coroutine<(), bool, (), S> {
    Coroutine::new(|out, ()| {
        let elapsed = ropewalk::timeout(MOMENT, || {
            out.suspend(false);
            Event::new().wait();
        });
        out.suspend(elapsed.is_err());
        ropewalk::sleep(2 * MOMENT);
        assert!(ropewalk::timeout(MOMENT, ropewalk::park).is_err(), "a later limit");
    })
}

thread_local! {
    static LIMITED: RefCell<Option<Box<dyn Iterator<Item = bool>>>> = const { RefCell::new(None) };
}

fn carry_a_limit<S: Switch>(on_thread: bool) {
    let next = || {
        let mut coroutine = LIMITED.take().unwrap();
        let next = coroutine.next();
        LIMITED.set(Some(coroutine));
        next
    };
    LIMITED.set(Some(Box::new(under_a_limit::<S>())));
    assert_eq!(next(), Some(false));
    if on_thread {
        assert_eq!(next(), Some(true));
    } else {
        let elapsed = ropewalk::spawn(next).join().unwrap();
        assert_eq!(elapsed, Some(true), "the limit holds for whoever resumes it");
    }
    // The call under which it was first resumed here is over.
    assert_eq!(next(), None);
    LIMITED.take();
}

#[test]
fn a_time_limit_is_carried_along_with_a_coroutine_by_hand_and_ends_with_its_call() {
    watched(|| runtime(1).run(|| carry_a_limit::<DefaultSwitch>(false)));
    watched(|| runtime(1).run(|| carry_a_limit::<Boost>(false)));
    watched(|| carry_a_limit::<DefaultSwitch>(true));
}

/// Longer than an unwinding coroutine keeps its worker.
const LONG: Duration = Duration::from_millis(150);

/// Calls its closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Spawns a coroutine that panics, and waits `rounds` times in a destructor because of that.
fn waits_in_a_destructor(
    runtime: &ropewalk::Runtime,
    rounds: u32,
) -> (ropewalk::coroutine::JoinHandle<()>, Arc<Event>, Arc<AtomicBool>) {
    let (inside, done) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
    let (told, set) = (Arc::clone(&inside), Arc::clone(&done));
    let handle = runtime.spawn(move || {
        let _on_drop = OnDrop(|| {
            (0..rounds).for_each(|_| {
                ropewalk::sleep(2 * LONG);
                told.set();
            });
            set.store(true, Ordering::Relaxed);
        });
        // Without a word of the panic hook.
        std::panic::resume_unwind(Box::new("ordinary"));
    });
    (handle, inside, done)
}

#[test]
fn a_cancellation_ends_no_wait_of_a_destructor_that_runs_because_of_a_panic() {
    watched(|| {
        let runtime = runtime(1);
        let (handle, inside, done) = waits_in_a_destructor(&runtime, 3);
        inside.wait();
        std::thread::sleep(LONG);
        handle.cancel();
        let panicked = handle.join().unwrap_err();
        assert!(!panicked.is_cancelled() && done.load(Ordering::Relaxed));
    });
}

#[test]
fn the_end_of_a_runtime_lets_destructors_wait_that_run_because_of_a_panic() {
    watched(|| {
        let runtime = runtime(1);
        let (first, inside, done) = waits_in_a_destructor(&runtime, 3);
        let (second, _, done_too) = waits_in_a_destructor(&runtime, 3);
        inside.wait();
        drop(runtime);
        assert!(!first.join().unwrap_err().is_cancelled() && !second.join().unwrap_err().is_cancelled());
        assert!(done.load(Ordering::Relaxed) && done_too.load(Ordering::Relaxed));
    });
}

#[test]
fn what_was_cancelled_while_another_one_unwinds_may_wait_in_its_destructors() {
    watched(|| {
        let runtime = runtime(1);
        let done = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&done);
        let cancelled = runtime.spawn(move || {
            let _on_drop = OnDrop(|| {
                (0..3).for_each(|_| ropewalk::sleep(LONG));
                set.store(true, Ordering::Relaxed);
            });
            ropewalk::park();
        });
        let (panicked, inside, _) = waits_in_a_destructor(&runtime, 8);
        inside.wait();
        cancelled.cancel();
        std::thread::sleep(LONG);
        drop(runtime);
        assert!(cancelled.join().unwrap_err().is_cancelled() && done.load(Ordering::Relaxed));
        assert!(!panicked.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn a_destructor_that_waits_while_it_unwinds_can_cancel_and_join_what_never_ends() {
    watched(|| {
        for naps in [false, true] {
            let runtime = runtime(1);
            let panicked = runtime.spawn(move || {
                let mut child = Some(ropewalk::spawn(move || {
                    loop {
                        if naps { ropewalk::sleep(MOMENT) } else { ropewalk::yield_now() }
                    }
                }));
                let _on_drop = OnDrop(move || {
                    ropewalk::sleep(LONG);
                    let child = child.take().unwrap();
                    child.cancel();
                    assert!(child.join().unwrap_err().is_cancelled());
                });
                std::panic::resume_unwind(Box::new("ordinary"));
            });
            assert!(!panicked.join().unwrap_err().is_cancelled());
        }
    });
}
