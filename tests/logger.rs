//! A logger is user code: it may wait on locks of this crate, whoever calls it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{runtime, watched};
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
