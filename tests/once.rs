//! `Once`, `OnceCell` and `Lazy` when another is at it: who waits, for how long, and who takes over.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{mixed, on_workers, panic_text};
use ropewalk::sync::{Event, Lazy, Once, OnceCell};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(1);

fn soon() -> Instant {
    Instant::now() + SHORT
}

#[test]
fn every_form_runs_it_once_among_many() {
    let (once, cell) = (Arc::new(Once::new()), Arc::new(OnceCell::new()));
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    mixed(move || {
        let run = || {
            ropewalk::yield_now();
            counted.fetch_add(1, Ordering::Relaxed);
        };
        assert!(once.call_once_timeout(LONG, run));
        assert!(once.try_call_once(run));
        assert!(once.call_once_deadline(Instant::now(), run));
        let make = || {
            run();
            7
        };
        assert_eq!(cell.get_or_init_deadline(Instant::now() + LONG, make), Some(&7));
        assert_eq!(cell.try_get_or_init(make), Some(&7));
        assert_eq!(cell.get_or_init_timeout(Duration::ZERO, make), Some(&7));
    });
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}

#[test]
fn nobody_waits_longer_than_asked_for_anothers_run() {
    on_workers(|| {
        let (once, cell) = (Once::new(), OnceCell::new());
        let (begun, go_on) = (Event::new(), Event::new());
        let lazy = Lazy::new(|| {
            cell.get_or_init(|| {
                once.call_once(|| {
                    begun.set();
                    go_on.wait();
                });
                5
            });
            6
        });
        ropewalk::scope(|s| {
            s.spawn(|| assert_eq!(Lazy::force(&lazy), &6));
            begun.wait();
            assert!(!once.try_call_once(|| unreachable!()));
            assert!(!once.call_once_timeout(SHORT, || unreachable!()));
            assert!(!once.call_once_deadline(soon(), || unreachable!()));
            assert_eq!(cell.try_get_or_init(|| unreachable!()), None);
            assert_eq!(cell.get_or_init_timeout(SHORT, || unreachable!()), None);
            assert_eq!(cell.get_or_init_deadline(soon(), || unreachable!()), None);
            assert_eq!(Lazy::try_force(&lazy), None);
            assert_eq!(Lazy::force_timeout(&lazy, SHORT), None);
            assert_eq!(Lazy::force_deadline(&lazy, soon()), None);
            go_on.set();
            assert_eq!(Lazy::force_deadline(&lazy, Instant::now() + LONG), Some(&6));
            assert_eq!(Lazy::try_force(&lazy), Some(&6));
            assert_eq!(cell.try_get_or_init(|| unreachable!()), Some(&5));
            assert!(once.try_call_once(|| unreachable!()));
        });
    });
}

#[test]
fn a_waiter_with_a_deadline_takes_over_from_a_run_that_panics() {
    on_workers(|| {
        let (once, begun, go_on) = (Once::new(), Event::new(), Event::new());
        ropewalk::scope(|s| {
            let first = s.spawn(|| {
                once.call_once(|| {
                    begun.set();
                    go_on.wait();
                    panic!("not done");
                });
            });
            begun.wait();
            let second = s.spawn(|| {
                let mut ran = false;
                (once.call_once_timeout(LONG, || ran = true), ran)
            });
            // The second has asked before the first fails, or asks after that: it does it either way.
            ropewalk::yield_now();
            go_on.set();
            assert!(first.join().is_err());
            assert_eq!(second.join().unwrap(), (true, true));
        });
        assert!(once.is_completed());
    });
}

#[test]
fn a_run_that_uses_itself_is_told_at_once() {
    let once = Once::new();
    let text = panic_text(|| once.call_once(|| assert!(once.call_once_timeout(LONG, || ()))));
    assert!(text.contains("a Once was used again from within its own init"), "{text}");
    assert!(once.try_call_once(|| assert!(!once.try_call_once(|| unreachable!()))));
    let cell = OnceCell::new();
    let text = panic_text(|| {
        cell.get_or_init(|| cell.get_or_init_deadline(Instant::now() + LONG, || 1).map_or(0, |n| *n));
    });
    assert!(text.contains("a OnceCell or Lazy was used again"), "{text}");
    assert_eq!(cell.get(), None);
}

#[test]
fn a_lazy_whose_function_has_panicked_says_so_in_every_form() {
    type Form = fn(&Lazy<u8>) -> Option<&u8>;
    let lazy: Lazy<u8> = Lazy::new(|| panic!("no value"));
    assert!(catch_unwind(AssertUnwindSafe(|| Lazy::try_force(&lazy).copied())).is_err());
    let forms: [Form; 3] = [
        |lazy| Lazy::try_force(lazy),
        |lazy| Lazy::force_timeout(lazy, LONG),
        |lazy| Lazy::force_deadline(lazy, Instant::now()),
    ];
    for form in forms {
        let text = panic_text(|| assert_eq!(form(&lazy), None));
        assert!(text.contains("has panicked before"), "{text}");
    }
}

#[test]
fn a_cancelled_wait_for_anothers_run_leaves_it_alone() {
    on_workers(|| {
        let (cell, begun, go_on) = (OnceCell::new(), Event::new(), Event::new());
        ropewalk::scope(|s| {
            s.spawn(|| {
                cell.get_or_init(|| {
                    begun.set();
                    go_on.wait();
                    1
                });
            });
            begun.wait();
            let waiter = s.spawn(|| cell.get_or_init_timeout(LONG, || 2).copied());
            ropewalk::yield_now();
            waiter.cancel();
            assert!(waiter.join().unwrap_err().is_cancelled());
            go_on.set();
        });
        assert_eq!(cell.get(), Some(&1));
    });
}
