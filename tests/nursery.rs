//! Nurseries: coroutines that borrow, and of which the first failure cancels the others.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{on_workers, runtime, watched};
use ropewalk::sync::Event;
use ropewalk::{JoinError, nursery};

/// Counts its own drop.
#[derive(Debug)]
struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs `f` on coroutines of 1, 2 and 8 workers, and on a plain thread.
fn everywhere(f: fn()) {
    on_workers(f);
    watched(f);
}

/// Parks, as a task.
fn park<E>() -> Result<(), E> {
    ropewalk::park();
    Ok(())
}

fn payload_of<T>(f: impl FnOnce() -> T) -> &'static str {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else { panic!("it panics") };
    payload.downcast_ref::<&'static str>().expect("a payload of this test")
}

#[test]
fn tasks_borrow_and_give_values_and_the_closure_gives_its_own() {
    everywhere(|| {
        let mut numbers = [1u64; 64];
        let words = ["stack", "ful"];
        let total = nursery(|n| {
            for number in &mut numbers {
                n.spawn(move || {
                    ropewalk::yield_now();
                    *number += 1;
                    Ok(())
                });
            }
            let lengths = words.map(|word| n.spawn(|| Ok::<_, ()>(word.len())));
            Ok(lengths.into_iter().map(|length| length.join()).sum::<usize>())
        });
        assert_eq!((total, numbers), (Ok(8), [2; 64]));
    });
}

#[test]
fn the_first_error_cancels_the_others_and_is_returned() {
    everywhere(|| {
        let (started, ended) = (Event::new(), AtomicUsize::new(0));
        let result: Result<(), String> = nursery(|n| {
            n.spawn(|| -> Result<(), _> {
                let _count = Count(&ended);
                started.set();
                loop {
                    ropewalk::sleep(Duration::from_secs(3600));
                }
            });
            n.spawn(|| {
                started.wait();
                Err::<(), _>("first".to_owned())
            });
            Ok(())
        });
        assert_eq!(result, Err("first".to_owned()));
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn the_first_panic_cancels_the_others_and_is_resumed() {
    everywhere(|| {
        let (started, ended) = (Event::new(), AtomicUsize::new(0));
        let payload = payload_of(|| {
            nursery::<_, (), ()>(|n| {
                n.spawn(|| {
                    let _count = Count(&ended);
                    started.set();
                    park()
                });
                n.spawn(|| -> Result<(), ()> {
                    started.wait();
                    resume_unwind(Box::new("first"))
                });
                Ok(())
            })
        });
        assert_eq!((payload, ended.load(Ordering::SeqCst)), ("first", 1));
    });
}

#[test]
fn an_error_and_a_panic_of_the_closure_are_failures() {
    everywhere(|| {
        let ended = AtomicUsize::new(0);
        let sleep = || {
            let _count = Count(&ended);
            ropewalk::park();
            Ok(())
        };
        let error: Result<(), _> = nursery(|n| {
            n.spawn(sleep);
            Err("of the closure")
        });
        assert_eq!(error, Err("of the closure"));
        let payload = payload_of(|| {
            nursery::<_, (), &str>(|n| {
                n.spawn(sleep);
                resume_unwind(Box::new("panic of the closure"))
            })
        });
        assert_eq!(payload, "panic of the closure");
    });
}

#[test]
fn what_is_spawned_after_a_failure_does_not_run_and_gives_no_value() {
    everywhere(|| {
        let ran = AtomicUsize::new(0);
        let joined = AtomicUsize::new(0);
        let result = nursery(|n| {
            n.spawn(|| Err::<(), _>(7));
            while !n.is_cancelled() {
                ropewalk::yield_now();
            }
            let late = n.spawn(|| Ok(ran.fetch_add(1, Ordering::SeqCst)));
            late.join();
            joined.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        assert_eq!(result, Err(7));
        assert_eq!((ran.into_inner(), joined.into_inner()), (0, 0));
    });
}

#[test]
fn a_join_of_a_failed_task_ends_the_closure_and_the_joining_task() {
    everywhere(|| {
        let reached = AtomicUsize::new(0);
        let result = nursery(|n| {
            let failing = n.spawn(|| {
                ropewalk::yield_now();
                Err::<u32, _>("failed")
            });
            let joiner = n.spawn(|| {
                let value = failing.join();
                reached.fetch_add(1, Ordering::SeqCst);
                Ok(value)
            });
            let value = joiner.join();
            reached.fetch_add(1, Ordering::SeqCst);
            Ok(value)
        });
        assert_eq!((result, reached.into_inner()), (Err("failed"), 0));
    });
}

/// An error whose destructor counts and panics.
#[derive(Debug)]
struct Bomb<'a>(u32, &'a AtomicUsize);

impl Drop for Bomb<'_> {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        if self.0 > 0 {
            resume_unwind(Box::new("a destructor"));
        }
    }
}

#[test]
fn later_errors_payloads_and_values_are_dropped_and_their_panics_go_no_further() {
    everywhere(|| {
        let dropped = AtomicUsize::new(0);
        let (meeting, first) = (ropewalk::sync::Barrier::new(3), Event::new());
        let result = nursery(|n| {
            n.spawn(|| {
                meeting.wait().unwrap();
                Err::<(), _>(Bomb(0, &dropped))
            });
            n.spawn(|| {
                meeting.wait().unwrap();
                ropewalk::shield(|| first.wait());
                Err::<(), _>(Bomb(1, &dropped))
            });
            n.spawn(|| -> Result<(), Bomb> {
                meeting.wait().unwrap();
                ropewalk::shield(|| first.wait());
                resume_unwind(Box::new("a later panic"));
            });
            while !n.is_cancelled() {
                ropewalk::yield_now();
            }
            first.set();
            Ok(Bomb(2, &dropped))
        });
        assert_eq!(dropped.load(Ordering::SeqCst), 2, "{result:?}");
        assert_eq!(result.as_ref().map_err(|error| error.0).map(|value| value.0), Err(0));
    });
}

#[test]
fn a_task_cancelled_by_its_handle_is_no_failure() {
    everywhere(|| {
        let result = nursery(|n| {
            let (parked, other) = (n.spawn(park), n.spawn(|| Ok::<_, ()>(5)));
            parked.cancel();
            Ok((other.join(), n.is_cancelled()))
        });
        assert_eq!(result, Ok((5, false)));
    });
}

#[test]
fn a_deadline_cancels_the_tasks_and_ends_the_nursery_as_elapsed() {
    everywhere(|| {
        let (started, ended) = (Event::new(), AtomicUsize::new(0));
        let limit = Duration::from_millis(5);
        let run = || {
            nursery(|outer| {
                outer.spawn(|| {
                    nursery(|inner| {
                        inner.spawn(|| {
                            let _count = Count(&ended);
                            started.set();
                            park()
                        });
                        Ok(())
                    })
                });
                ropewalk::shield(|| started.wait());
                Ok::<_, ()>(())
            })
        };
        assert!(ropewalk::timeout(limit, run).is_err());
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_error_that_a_task_returns_because_of_a_cancellation_is_not_the_first() {
    everywhere(|| {
        let started = Event::new();
        let result = ropewalk::timeout(Duration::from_millis(5), || {
            nursery(|n| {
                n.spawn(|| {
                    started.set();
                    match catch_unwind(ropewalk::park) {
                        Ok(()) => Ok(()),
                        Err(_) => Err("interrupted"),
                    }
                });
                ropewalk::shield(|| started.wait());
                Ok(())
            })
        });
        assert!(result.is_err(), "{result:?}");
    });
}

#[test]
fn a_cancelled_parent_cancels_its_nursery_and_ends_as_cancelled() {
    on_workers(|| {
        let (started, ended) = (std::sync::Arc::new(Event::new()), std::sync::Arc::new(AtomicUsize::new(0)));
        let (set, count) = (started.clone(), ended.clone());
        let parent = ropewalk::spawn(move || {
            nursery::<_, (), ()>(|n| {
                n.spawn(|| {
                    let _count = Count(&count);
                    set.set();
                    park()
                });
                Ok(())
            })
        });
        started.wait();
        parent.cancel();
        assert!(matches!(parent.join(), Err(JoinError::Cancelled)));
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_failure_reaches_into_the_nurseries_and_scopes_of_the_other_tasks() {
    everywhere(|| {
        let (meeting, ended) = (ropewalk::sync::Barrier::new(3), AtomicUsize::new(0));
        let wait = || {
            let _count = Count(&ended);
            meeting.wait().unwrap();
            ropewalk::park();
        };
        let result = nursery(|n| {
            n.spawn(|| {
                nursery(|inner| {
                    inner.spawn(|| {
                        wait();
                        Ok(())
                    });
                    Ok(())
                })
            });
            n.spawn(|| {
                ropewalk::scope(|s| drop(s.spawn(wait)));
                Ok(())
            });
            n.spawn(|| {
                meeting.wait().unwrap();
                Err::<(), _>("outer")
            });
            Ok(())
        });
        assert_eq!((result, ended.into_inner()), (Err("outer"), 2));
    });
}

#[test]
fn an_error_of_an_inner_nursery_is_the_first_of_the_outer_one() {
    everywhere(|| {
        let text = String::from("borrowed");
        let result: Result<(), &str> = nursery(|n| {
            n.spawn(|| {
                nursery(|inner| {
                    inner.spawn(|| Err::<(), _>(text.as_str()));
                    Ok(())
                })
            });
            n.spawn(park);
            Ok(())
        });
        assert_eq!(result, Err("borrowed"));
    });
}

#[test]
fn a_panic_in_a_destructor_of_a_task_that_never_started_is_a_failure() {
    struct Falls;
    impl Drop for Falls {
        fn drop(&mut self) {
            panic_any("dropped");
        }
    }
    // With one worker the task cannot have started.
    watched(|| {
        runtime(1).run(|| {
            let payload = payload_of(|| {
                nursery::<_, (), ()>(|n| {
                    let falls = Falls;
                    let task = n.spawn(move || {
                        drop(falls);
                        Ok(())
                    });
                    task.cancel();
                    Ok(())
                })
            });
            assert_eq!(payload, "dropped");
        });
    });
}

#[test]
fn of_many_failures_exactly_the_first_recorded_is_returned_and_no_error_is_lost() {
    on_workers(|| {
        for _ in 0..50 {
            let dropped = AtomicUsize::new(0);
            let returned = Mutex::new(0);
            let result = nursery(|n| {
                for _ in 0..16 {
                    n.spawn(|| {
                        ropewalk::yield_now();
                        *returned.lock().unwrap() += 1;
                        Err::<(), _>(Count(&dropped))
                    });
                }
                Ok(())
            });
            let returned = returned.into_inner().unwrap();
            assert!(returned > 0);
            assert_eq!(dropped.load(Ordering::SeqCst), returned - 1);
            drop(result);
            assert_eq!(dropped.load(Ordering::SeqCst), returned);
        }
    });
}

#[test]
fn a_bad_stack_size_is_an_error_of_the_spawn_and_no_failure() {
    everywhere(|| {
        let result = nursery(|n| {
            let builder = ropewalk::Builder::new().stack_size(usize::MAX);
            let error = n.spawn_with(builder, || Ok::<_, ()>(())).unwrap_err();
            Ok((error.kind(), n.is_cancelled()))
        });
        assert_eq!(result, Ok((std::io::ErrorKind::InvalidInput, false)));
    });
}

#[test]
fn a_join_that_times_out_gives_the_handle_back() {
    everywhere(|| {
        let result = nursery(|n| {
            let parked = n.spawn(park::<()>);
            let Err(parked) = parked.join_timeout(Duration::from_millis(2)) else { panic!("it parks") };
            assert!(!parked.is_finished());
            parked.handle().unpark();
            assert!(parked.join_timeout(Duration::from_secs(60)).is_ok());
            Ok(())
        });
        assert_eq!(result, Ok(()));
    });
}
