//! Where the tests of other people's suites run: on a coroutine of a runtime with one worker.
#![forbid(unsafe_code)]

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Runs a test, and ends the process if it takes more than a minute.
pub fn run<T: Send + 'static>(test: fn() -> T) -> T {
    let (sender, receiver) = channel::<()>();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let thread = std::thread::spawn(move || {
        let _sender = sender;
        ropewalk::monkey::patch_all().expect("every call arrives");
        ropewalk::Runtime::builder().workers(1).name("suite").build().expect("a runtime starts").run(test)
    });
    if let Err(RecvTimeoutError::Timeout) = receiver.recv_timeout(Duration::from_secs(60)) {
        eprintln!("{name} HANGS");
        std::process::abort();
    }
    thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// `std::sync::mpsc` as the tests see it: between coroutines of one worker std's own does not work.
pub mod mpsc {
    #[cfg(not(feature = "coroutines"))]
    pub use std::sync::mpsc::*;

    #[cfg(feature = "coroutines")]
    pub use ropewalk::channel::{Receiver, Sender, unbounded as channel};
}

/// `std::thread` as the tests see it.
pub mod thread {
    pub use std::thread::*;

    #[cfg(feature = "coroutines")]
    pub use super::as_coroutines::{JoinHandle, spawn};
}

#[cfg(feature = "coroutines")]
mod as_coroutines {
    /// A coroutine that is joined like a thread.
    pub struct JoinHandle<T>(ropewalk::JoinHandle<T>);

    impl<T> JoinHandle<T> {
        pub fn join(self) -> std::thread::Result<T> {
            self.0.join().map_err(|error| Box::new(error.to_string()) as _)
        }

        pub fn is_finished(&self) -> bool {
            self.0.is_finished()
        }
    }

    /// Spawns a coroutine on the same worker.
    pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        JoinHandle(ropewalk::spawn(f))
    }
}
