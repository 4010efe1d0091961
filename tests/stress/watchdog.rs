//! Ends a round that hangs: tells what is known, and aborts.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ropewalk::Runtime;

use crate::harness::Round;

const LIMIT: Duration = Duration::from_secs(60);

struct Watched {
    name: &'static str,
    seed: u64,
    workers: usize,
    since: Instant,
    runtime: Weak<Runtime>,
}

static WATCHED: Mutex<BTreeMap<u64, Watched>> = Mutex::new(BTreeMap::new());

/// While it lives, its round is watched.
pub struct Watch(u64);

pub fn watch(name: &'static str, round: &Round) -> Watch {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static START: Once = Once::new();
    START.call_once(|| drop(thread::Builder::new().name("watchdog".into()).spawn(run)));
    let key = NEXT.fetch_add(1, Ordering::Relaxed);
    let (seed, workers, since) = (round.seed, round.workers, Instant::now());
    let watched = Watched { name, seed, workers, since, runtime: Arc::downgrade(&round.runtime) };
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).insert(key, watched);
    Watch(key)
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn run() {
    loop {
        thread::sleep(Duration::from_millis(500));
        let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hung) = watched.values().find(|watched| watched.since.elapsed() > LIMIT) {
            dump(hung);
            std::process::abort();
        }
    }
}

fn dump(hung: &Watched) {
    eprintln!("{} hangs with {} workers: SEED={}", hung.name, hung.workers, hung.seed);
    if let Some(runtime) = hung.runtime.upgrade() {
        let metrics = runtime.metrics();
        metrics.workers.iter().enumerate().for_each(|(at, worker)| eprintln!("worker {at}: {worker:?}"));
        eprintln!("sum: {:?}", metrics.total);
    }
    for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        let (name, waits, call) = (read("comm"), read("wchan"), read("syscall"));
        eprintln!("thread {:?} '{}' in {waits}: {}", thread.file_name(), name.trim(), call.trim());
    }
}
