//! What the test files share: a watchdog, and runtimes of 1, 2 and 8 workers.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses some of it")]

pub mod echo;

use std::sync::{Arc, mpsc};
use std::time::Duration;

use ropewalk::Runtime;

/// Runs `f` on a thread of its own, and fails if it does not end in half a minute.
pub fn watched<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let thread = std::thread::spawn(move || {
        let value = f();
        let _ = sender.send(());
        value
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = receiver.recv_timeout(Duration::from_secs(30)) {
        eprintln!("{name} hangs");
        std::process::abort();
    }
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// Runs `f` as a coroutine of runtimes with 1, 2 and 8 workers.
pub fn on_workers(f: impl Fn() + Send + Sync + Clone + 'static) {
    for workers in [1, 2, 8] {
        let f = f.clone();
        watched(move || runtime(workers).run(f));
    }
}

/// Runs `f` on 4 coroutines and 2 plain threads at once, with 1, 2 and 8 workers.
pub fn mixed(f: impl Fn() + Send + Sync + 'static) {
    let f = Arc::new(f);
    for workers in [1, 2, 8] {
        let f = Arc::clone(&f);
        watched(move || {
            let runtime = runtime(workers);
            let coroutines: Vec<_> = (0..4)
                .map(|_| {
                    let f = Arc::clone(&f);
                    runtime.spawn(move || f())
                })
                .collect();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| f());
                }
            });
            coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        });
    }
}

/// Runs `f` as a coroutine of a runtime with one worker, every libc function replaced.
#[cfg(feature = "monkey")]
pub fn on_one_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        runtime(1).run(f)
    })
}

pub fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).name("test").build().expect("a runtime starts")
}

/// Runs this test program again with one test, as a child; `None` in the child itself.
pub fn child(test: &str) -> Option<std::process::Output> {
    child_with(test, |_| ())
}

/// As [`child`], with settings of its own.
pub fn child_with(test: &str, set: impl FnOnce(&mut std::process::Command)) -> Option<std::process::Output> {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return None;
    }
    let program = std::env::current_exe().expect("the test program has a path");
    let mut command = std::process::Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("ROPEWALK_CHILD", "1");
    set(&mut command);
    Some(command.output().expect("the test program runs again"))
}

/// A small generator (xorshift64) whose seed tests print.
pub struct Random(u64);

impl Random {
    /// Seeds it from `SEED`, or from the clock; prints the seed.
    pub fn new() -> Self {
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_nanos() as u64 | 1)
        };
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(clock);
        println!("seed: SEED={seed}");
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The one that `seed` names; its seed has been printed already.
    pub fn from(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

pub fn named(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "'{text}' does not name {parts:?}");
}

/// The text that a panic carries.
pub fn panic_text(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic of ours is text")).to_owned(),
    }
}
