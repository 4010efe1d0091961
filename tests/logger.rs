//! A logger is user code: it may wait on locks of this crate, whoever calls it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{runtime, watched};
use ropewalk::sync::{Event, Mutex};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

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
        }
    }

    fn flush(&self) {}
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
    log::set_logger(&Waits).expect("the only test here");
    log::set_max_level(log::LevelFilter::Warn);
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
