//! Shields and time limits stay with the code that they are around, whoever runs it.
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
