//! A logger is user code: it may wait on locks of this crate, whoever calls it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use common::{runtime, watched};
use ropewalk::process::{Fd, Pool, Process, StartMethod, TaskError, children};
use ropewalk::sync::{Event, Mutex};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The logger has been called, and is about to wait.
static CALLS: AtomicBool = AtomicBool::new(false);

struct Waits;

impl log::Log for Waits {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        if line.contains("waits (") && line.contains("destructor") {
            CALLS.store(true, Ordering::SeqCst);
            LINES.lock().push(line);
        } else if line.contains("keep their memory") {
            KEPT.lock().push(line);
        }
    }

    fn flush(&self) {}
}

fn set_logger() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Waits).expect("nobody else sets one");
        log::set_max_level(log::LevelFilter::Warn);
    });
}

/// Waits for an event in its destructor.
struct WaitsInDrop(Arc<Event>, Arc<AtomicBool>);

impl Drop for WaitsInDrop {
    fn drop(&mut self) {
        self.0.wait();
        self.1.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_logger_that_waits_disturbs_no_wait() {
    set_logger();
    watched(|| {
        let runtime = runtime(1);
        let (event, came) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
        // The logger has to wait for this lock when the coroutine's long wait in a destructor is reported.
        let lines = LINES.lock();
        let waits = WaitsInDrop(Arc::clone(&event), Arc::clone(&came));
        let unwinds = runtime.spawn(move || {
            let _waits = waits;
            panic!("unwinds");
        });
        let reported = runtime.spawn(|| ());
        while !CALLS.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        reported.join().unwrap();
        drop(lines);
        assert!(!came.load(Ordering::SeqCst), "the destructor still waits");
        event.set();
        assert!(unwinds.join().is_err());
        assert!(came.load(Ordering::SeqCst));
        drop(runtime);
        assert!(!LINES.lock().is_empty());
    });
}

#[test]
fn a_logger_that_waits_does_not_keep_a_worker_from_giving_stacks_back() {
    set_logger();
    watched(|| {
        let runtime = runtime(1);
        let go = Arc::new(Event::new());
        // The logger waits for this lock, whose holder waits for coroutines of the only worker.
        let kept = KEPT.lock();
        let end = Arc::clone(&go);
        let all: Vec<_> = (0..3000)
            .map(|_| {
                let go = Arc::clone(&go);
                runtime.spawn(move || {
                    let here = 0u8;
                    // The kernel does not take back what is locked: one page of each stack.
                    // SAFETY: an address on the stack; nothing is read or written.
                    let locked = unsafe { libc::mlock((&raw const here).cast(), 1) } == 0;
                    go.wait();
                    locked
                })
            })
            .collect();
        runtime.spawn(move || end.set()).join().unwrap();
        let locked = all.into_iter().map(|one| one.join().unwrap()).filter(|locked| *locked).count();
        assert_eq!(runtime.spawn(|| 5).join().unwrap(), 5);
        drop(kept);
        if locked < 2000 {
            eprintln!("only {locked} stacks could be locked; nothing is refused then");
            return;
        }
        while KEPT.lock().is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(1));
            runtime.spawn(|| ()).join().unwrap();
        }
    });
}

/// A logger that does something of its own with each warning.
struct Reacts(fn(&str));

impl log::Log for Reacts {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        (self.0)(&record.args().to_string());
    }

    fn flush(&self) {}
}

/// Runs `f` in a child whose logger is `react`.
fn with_logger(test: &str, react: fn(&str), f: fn()) {
    if let Some(output) = common::child(test) {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    log::set_boxed_logger(Box::new(Reacts(react))).expect("nobody else sets one");
    log::set_max_level(log::LevelFilter::Debug);
    watched(f);
}

/// Ends its process. Generic in nothing, so that it can be sent.
fn abort((): ()) {
    // SAFETY: ends the process without a core dump.
    unsafe { libc::_exit(9) }
}

/// Warnings that a test's logger was called with.
static WARNINGS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_logger_that_panics_ends_no_thread_that_others_need() {
    let react = |line: &str| {
        if line.starts_with("process ") || line.starts_with("pool ") {
            WARNINGS.fetch_add(1, Ordering::SeqCst);
            panic!("the logger panics");
        }
    };
    with_logger("a_logger_that_panics_ends_no_thread_that_others_need", react, || {
        // The thread that takes in the ends of processes without a handle, and starts others.
        drop(Process::spawn(abort, ()).unwrap());
        while !children().is_empty() || WARNINGS.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let child = Process::builder().start_method(StartMethod::Exec).spawn(|n: u32| n + 1, 1).unwrap();
        assert_eq!(child.join().unwrap(), 2);
        // A logger's panic is no reason to lose the end of a process.
        assert!(Process::spawn(abort, ()).unwrap().join().is_err());
        // The manager of a pool.
        let pool = Pool::builder(1).retries(1).build().unwrap();
        assert!(matches!(pool.apply(abort, ()), Err(TaskError::WorkerDied { .. })));
        assert_eq!(pool.apply(|n: u32| n + 1, 1).unwrap(), 2);
        pool.terminate();
        pool.join().unwrap();
    });
}

static POOL: OnceLock<Pool> = OnceLock::new();

/// Uses the pool, if the line is what a test waits for.
fn use_pool(line: &str) {
    let wanted = ["is tried again", "have not become ready", "worker 0 (pid"];
    if !line.starts_with("pool ") || !wanted.iter().any(|part| line.contains(part)) {
        return;
    }
    // As far as the pool goes: it may be broken.
    let pool = POOL.get().expect("the line is of the pool");
    let _ = pool.apply_async(|n: u32| n + 1, 1);
    let _ = (pool.unfinished(), pool.workers());
    WARNINGS.fetch_add(1, Ordering::SeqCst);
}

fn await_warning() {
    while WARNINGS.load(Ordering::SeqCst) == 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

#[test]
fn a_logger_may_use_the_pool_whose_task_is_tried_again() {
    with_logger("a_logger_may_use_the_pool_whose_task_is_tried_again", use_pool, || {
        let pool = POOL.get_or_init(|| Pool::builder(1).retries(1).build().unwrap());
        assert!(matches!(pool.apply(abort, ()), Err(TaskError::WorkerDied { .. })));
        await_warning();
    });
}

#[test]
fn a_logger_may_use_the_pool_that_is_broken() {
    with_logger("a_logger_may_use_the_pool_that_is_broken", use_pool, || {
        let pool = POOL.get_or_init(|| Pool::builder(1).initializer(abort, ()).build().unwrap());
        assert!(matches!(pool.apply(|n: u32| n + 1, 1), Err(TaskError::Broken { .. })));
        await_warning();
    });
}

#[test]
fn a_logger_may_use_the_pool_whose_result_is_lost() {
    with_logger("a_logger_may_use_the_pool_whose_result_is_lost", use_pool, || {
        let pool = POOL.get_or_init(|| Pool::builder(1).build().unwrap());
        let many = |(): ()| {
            let null = std::fs::File::open("/dev/null").unwrap();
            let copies = (0..40).map(|_| Fd::from(null.as_fd().try_clone_to_owned().unwrap()));
            copies.collect::<Vec<Fd>>()
        };
        assert_eq!(pool.apply(many, ()).unwrap().len(), 40);
        let next = std::os::fd::AsRawFd::as_raw_fd(&OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let few = libc::rlimit { rlim_cur: next as u64 + 20, rlim_max: next as u64 + 20 };
        // SAFETY: limits that live through the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
        assert!(matches!(pool.apply(many, ()), Err(TaskError::Transfer(_))));
        await_warning();
    });
}
