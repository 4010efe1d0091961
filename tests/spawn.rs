//! Spawning, joining, yielding, parking, sleeping: what std::thread does, on coroutines.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{on_workers, runtime, watched};
use ropewalk::{JoinError, Runtime};

#[test]
fn a_spawned_coroutine_gives_its_value() {
    on_workers(|| assert_eq!(ropewalk::spawn(|| 6 * 7).join().unwrap(), 42));
}

#[test]
fn many_coroutines_all_run_once() {
    on_workers(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..20_000)
            .map(|_| {
                let count = Arc::clone(&count);
                ropewalk::spawn(move || count.fetch_add(1, Ordering::Relaxed))
            })
            .collect();
        handles.into_iter().for_each(|handle| assert!(handle.join().is_ok()));
        assert_eq!(count.load(Ordering::Relaxed), 20_000);
    });
}

#[test]
fn a_panic_reaches_the_joiner_with_its_payload() {
    on_workers(|| {
        let error = ropewalk::spawn(|| std::panic::panic_any(17u8)).join().unwrap_err();
        let JoinError::Panicked(payload) = error else { panic!("not a panic") };
        assert_eq!(payload.downcast_ref::<u8>(), Some(&17));
    });
}

#[test]
fn a_parent_that_yields_in_a_loop_lets_its_child_run() {
    on_workers(|| {
        let done = Arc::new(AtomicUsize::new(0));
        let child = {
            let done = Arc::clone(&done);
            ropewalk::spawn(move || done.store(1, Ordering::Release))
        };
        while done.load(Ordering::Acquire) == 0 {
            ropewalk::yield_now();
        }
        child.join().unwrap();
    });
}

#[test]
fn plain_threads_join_and_coroutines_join_deeply() {
    fn tree(depth: u32) -> u64 {
        if depth == 0 {
            return 1;
        }
        let handles: Vec<_> = (0..3).map(|_| ropewalk::spawn(move || tree(depth - 1))).collect();
        handles.into_iter().map(|handle| handle.join().unwrap()).sum()
    }
    watched(|| {
        for workers in [1, 2, 8] {
            assert_eq!(runtime(workers).spawn(|| tree(8)).join().unwrap(), 3u64.pow(8));
        }
    });
}

#[test]
fn sleeping_takes_at_least_as_long_as_asked_and_others_run_meanwhile() {
    on_workers(|| {
        let began = Instant::now();
        let sleepers: Vec<_> = (0..200)
            .map(|n| ropewalk::spawn(move || ropewalk::sleep(Duration::from_millis(n % 20))))
            .collect();
        ropewalk::sleep(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        sleepers.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn an_unpark_before_the_park_is_kept() {
    on_workers(|| {
        let handle = ropewalk::spawn(|| {
            ropewalk::yield_now();
            ropewalk::park();
            ropewalk::park_timeout(Duration::ZERO)
        });
        handle.handle().unpark();
        handle.handle().unpark();
        assert!(!handle.join().unwrap());
    });
}

#[test]
fn a_cancelled_sleeper_unwinds_with_its_destructors() {
    struct Note(Arc<AtomicUsize>);
    impl Drop for Note {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    on_workers(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        let started = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..50)
            .map(|_| {
                let (note, started) = (Note(Arc::clone(&dropped)), Arc::clone(&started));
                ropewalk::spawn(move || {
                    let _note = note;
                    started.fetch_add(1, Ordering::Relaxed);
                    ropewalk::sleep(Duration::from_secs(3600));
                })
            })
            .collect();
        while started.load(Ordering::Relaxed) < 25 {
            ropewalk::yield_now();
        }
        handles.iter().for_each(ropewalk::JoinHandle::cancel);
        for handle in handles {
            assert!(handle.join().unwrap_err().is_cancelled());
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 50);
    });
}

#[test]
fn a_shielded_wait_is_not_cancelled() {
    on_workers(|| {
        let handle = ropewalk::spawn(|| {
            ropewalk::shield(|| ropewalk::sleep(Duration::from_millis(10)));
            let reached = 1;
            ropewalk::sleep(Duration::from_secs(3600));
            reached
        });
        ropewalk::sleep(Duration::from_millis(2));
        handle.cancel();
        assert!(handle.join().unwrap_err().is_cancelled());
    });
}

#[test]
fn timeouts_nest_and_the_right_one_fires() {
    let check = || {
        let outer = ropewalk::timeout(Duration::from_secs(100), || {
            let inner =
                ropewalk::timeout(Duration::from_millis(3), || ropewalk::sleep(Duration::from_secs(50)));
            assert!(inner.is_err());
            7
        });
        assert_eq!(outer, Ok(7));
        let outer = ropewalk::timeout(Duration::from_millis(3), || {
            ropewalk::timeout(Duration::from_secs(100), || ropewalk::sleep(Duration::from_secs(50)))
        });
        assert!(outer.is_err());
    };
    on_workers(check);
    watched(check);
}

#[test]
fn scoped_coroutines_borrow_and_are_waited_for() {
    on_workers(|| {
        let mut numbers = [1u64; 64];
        ropewalk::scope(|s| {
            for number in &mut numbers {
                s.spawn(move || {
                    ropewalk::yield_now();
                    *number += 1;
                });
            }
        });
        assert_eq!(numbers, [2; 64]);
    });
}

#[test]
fn locals_belong_to_their_coroutine() {
    ropewalk::coroutine_local! {
        static NAME: RefCell<String> = RefCell::new("none".into());
        static COUNT: Cell<u32> = Cell::new(0);
    }
    on_workers(|| {
        NAME.with_borrow_mut(|name| name.push_str(" yet"));
        let other = ropewalk::spawn(|| {
            COUNT.set(COUNT.get() + 1);
            (NAME.with_borrow(String::clone), COUNT.get())
        });
        assert_eq!(other.join().unwrap(), ("none".to_owned(), 1));
        assert_eq!(NAME.with_borrow(String::clone), "none yet");
        NAME.with_borrow_mut(|name| name.truncate(4));
    });
}

#[test]
fn dropping_a_runtime_unwinds_what_waits() {
    watched(|| {
        for workers in [1, 2, 8] {
            let live = Arc::new(());
            let runtime = runtime(workers);
            for _ in 0..100 {
                let live = Arc::clone(&live);
                drop(runtime.spawn(move || {
                    let _live = live;
                    ropewalk::park();
                }));
            }
            drop(runtime);
            assert_eq!(Arc::strong_count(&live), 1);
        }
    });
}

#[test]
fn a_runtime_can_be_dropped_by_a_coroutine_of_another() {
    watched(|| {
        runtime(1).run(|| {
            let inner = runtime(2);
            let value = inner.run(|| 5);
            drop(inner);
            assert_eq!(value, 5);
        });
    });
}

#[test]
fn bad_settings_are_errors_that_name_the_runtime() {
    let error = Runtime::builder().name("zero").workers(0).build().unwrap_err();
    assert!(error.to_string().contains("'zero'"), "{error}");
    let error = Runtime::builder().name("flat").stack_size(0).build().unwrap_err();
    assert!(error.to_string().contains("'flat'") && error.to_string().contains("KiB"), "{error}");
    let error = ropewalk::Builder::new().name("huge").stack_size(usize::MAX).spawn(|| ()).unwrap_err();
    assert!(error.to_string().contains("'huge'"), "{error}");
}

#[test]
fn joining_oneself_panics_with_the_name() {
    watched(|| {
        let slot = Arc::new(std::sync::Mutex::new(None::<ropewalk::JoinHandle<()>>));
        let own = Arc::clone(&slot);
        let handle = ropewalk::Builder::new()
            .name("ouroboros")
            .spawn(move || {
                ropewalk::park();
                let handle = own.lock().unwrap().take().unwrap();
                let payload =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handle.join())).unwrap_err();
                let text = payload.downcast_ref::<String>().unwrap();
                assert!(text.contains("ouroboros"), "{text}");
            })
            .unwrap();
        let unparker = handle.handle();
        let canceller = handle.canceller();
        *slot.lock().unwrap() = Some(handle);
        unparker.unpark();
        while slot.lock().unwrap().is_some() {
            std::thread::yield_now();
        }
        canceller.cancel();
    });
}

#[test]
fn a_join_handle_is_a_future() {
    watched(|| {
        let handle = ropewalk::spawn(|| {
            ropewalk::sleep(Duration::from_millis(2));
            9
        });
        assert_eq!(ropewalk::block_on(handle).unwrap(), 9);
    });
    on_workers(|| {
        let handle = ropewalk::spawn(|| 9);
        assert_eq!(ropewalk::block_on(async move { handle.await.unwrap() + 1 }), 10);
    });
}

#[test]
fn a_join_that_times_out_gives_the_handle_back() {
    on_workers(|| {
        let handle = ropewalk::spawn(ropewalk::park);
        let Err(handle) = handle.join_timeout(Duration::from_millis(2)) else { panic!("it parks") };
        handle.handle().unpark();
        handle.join().unwrap();
    });
}

#[test]
fn a_scoped_join_that_times_out_gives_the_handle_back_and_takes_a_panic() {
    on_workers(|| {
        let text = String::from("borrowed");
        ropewalk::scope(|s| {
            let parked = s.spawn(|| {
                ropewalk::park();
                text.len()
            });
            let Err(parked) = parked.join_timeout(Duration::from_millis(2)) else { panic!("it parks") };
            let Err(parked) = parked.join_deadline(Instant::now()) else { panic!("it parks") };
            parked.handle().unpark();
            let long = Instant::now() + Duration::from_secs(60);
            assert!(matches!(parked.join_deadline(long), Ok(Ok(8))));
            let failed = s.spawn(|| panic!("taken by the join"));
            let failed = failed.join_timeout(Duration::from_secs(60));
            assert!(matches!(failed, Ok(Err(JoinError::Panicked(_)))));
        });
        let gate = ropewalk::sync::Event::new();
        let unjoined = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ropewalk::scope(|s| {
                let failing = s.spawn(|| {
                    gate.wait();
                    panic!("nobody takes this");
                });
                assert!(failing.join_timeout(Duration::from_millis(1)).is_err());
                gate.set();
            });
        }));
        assert!(unjoined.is_err());
    });
}

#[test]
fn metrics_count_what_has_happened() {
    watched(|| {
        let runtime = runtime(2);
        runtime.run(|| {
            let handles: Vec<_> = (0..10).map(|_| ropewalk::spawn(ropewalk::yield_now)).collect();
            ropewalk::join_all(handles).into_iter().for_each(Result::unwrap);
        });
        let total = runtime.metrics().total;
        assert_eq!(total.spawned, 11);
        assert!(total.switches >= 22, "{total:?}");
        assert_eq!(runtime.metrics().workers.len(), 2);
    });
}

#[test]
fn a_deadline_around_a_scope_cancels_its_coroutines() {
    fn run() {
        let ended = AtomicUsize::new(0);
        let limit = Duration::from_millis(5);
        let result = ropewalk::timeout(limit, || {
            ropewalk::scope(|outer| {
                outer.spawn(|| {
                    ropewalk::scope(|inner| {
                        inner.spawn(|| {
                            let _count = Count(&ended);
                            ropewalk::park();
                            unreachable!("nobody unparks it");
                        });
                    });
                });
                for _ in 0..3 {
                    outer.spawn(|| {
                        let _count = Count(&ended);
                        loop {
                            ropewalk::sleep(Duration::from_secs(3600));
                        }
                    });
                }
            });
        });
        assert!(result.is_err());
        // Those that had not started by then have not run.
        assert!(ended.load(Ordering::SeqCst) <= 4);
    }
    on_workers(run);
    watched(run);
}

#[test]
fn a_cancellation_of_the_parent_reaches_into_its_scope_and_ends_it_as_cancelled() {
    on_workers(|| {
        let started = Arc::new(ropewalk::sync::Event::new());
        let ended = Arc::new(AtomicUsize::new(0));
        let (told, count) = (Arc::clone(&started), Arc::clone(&ended));
        let parent = ropewalk::spawn(move || {
            ropewalk::scope(|s| {
                s.spawn(|| {
                    let _count = Count(&count);
                    told.set();
                    ropewalk::park();
                });
            });
        });
        started.wait();
        parent.cancel();
        assert!(parent.join().unwrap_err().is_cancelled());
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_panic_in_a_scope_lets_the_other_coroutines_run_to_their_end() {
    on_workers(|| {
        let ended = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            ropewalk::scope(|s| {
                s.spawn(|| {
                    ropewalk::sleep(Duration::from_millis(5));
                    ended.fetch_add(1, Ordering::SeqCst);
                });
                std::panic::resume_unwind(Box::new("the closure of the scope"));
            })
        }));
        let payload = result.unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the closure of the scope"));
        assert_eq!(ended.load(Ordering::SeqCst), 1);
    });
}

/// Counts its own drop.
struct Count<'a>(&'a AtomicUsize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Runs a test of this program in a process of its own, which finds `CHILD` set, and gives its standard error.
fn stderr_of(test: &str, warnings: &str) -> String {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let output = command.env("CHILD", "1").env("ROPEWALK_WARNINGS", warnings).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn without_a_logger_a_long_turn_is_reported_on_standard_error_unless_that_is_off() {
    if std::env::var_os("CHILD").is_some() {
        let runtime =
            Runtime::builder().workers(1).monitor_threshold(Duration::from_millis(20)).build().unwrap();
        let builder = ropewalk::Builder::new().name("grinder");
        let busy = builder.spawn_in(&runtime, || {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(1) {}
        });
        busy.unwrap().join().unwrap();
        return;
    }
    let test = "without_a_logger_a_long_turn_is_reported_on_standard_error_unless_that_is_off";
    let text = stderr_of(test, "on");
    assert!(text.contains("ropewalk: ") && text.contains("coroutine 'grinder'"), "{text}");
    let text = stderr_of(test, "off");
    assert!(!text.contains("grinder"), "{text}");
}

#[test]
fn a_panic_names_its_coroutine_and_the_hook_of_the_program_is_called() {
    if std::env::var_os("CHILD").is_some() {
        std::panic::set_hook(Box::new(|_| eprintln!("the hook of the program")));
        let runtime = runtime(1);
        let builder = ropewalk::Builder::new().name("faller");
        assert!(builder.spawn_in(&runtime, || panic!("falls")).unwrap().join().is_err());
        return;
    }
    let text = stderr_of("a_panic_names_its_coroutine_and_the_hook_of_the_program_is_called", "on");
    assert!(text.contains("coroutine 'faller' (#") && text.contains("the hook of the program"), "{text}");
}
