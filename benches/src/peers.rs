//! How each runtime is started, the same way for every operation.

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use crate::harness::absent;

/// Ropewalk with so many workers; runs `f` on one of them.
pub fn ropewalk<T: Send + 'static>(workers: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    let runtime = ropewalk::Runtime::builder().workers(workers).build().expect("ropewalk starts");
    let result = runtime.run(f);
    // The process ends soon: what still waits is not unwound first.
    std::mem::forget(runtime);
    result
}

/// Tokio's runtime of many threads with so many workers, or with 0 its runtime of one thread; runs `f` as
/// a task of it.
pub fn tokio<T: Send + 'static>(workers: usize, f: impl Future<Output = T> + Send + 'static) -> T {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(workers.max(1)).enable_all().build().expect("tokio starts");
    // Spawned, so that it runs on a worker and not on the thread that blocks here.
    let result = runtime.block_on(runtime.spawn(f)).expect("the task ends well");
    std::mem::forget(runtime);
    result
}

/// May with so many workers; runs `f` on one of them.
pub fn may<T: Send + 'static>(workers: usize, f: impl FnOnce() -> T + Send + 'static) -> T {
    ::may::config().set_workers(workers);
    let (sender, receiver) = mpsc::channel();
    let _running = may_spawn(move || sender.send(f()).expect("the main thread waits"));
    receiver.recv().expect("the coroutine ends well")
}

/// Spawns a coroutine of may.
pub fn may_spawn<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> ::may::coroutine::JoinHandle<T> {
    // SAFETY: nothing in the benches uses thread-locals across a wait, or overflows its stack.
    unsafe { ::may::coroutine::spawn(f) }
}

/// A program in Python on gevent, or in Go, that does `job`; ends the measurement if it is not installed.
pub fn foreign(language: &str, job: &[&str]) -> Command {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = here.join("target/peers");
    let (program, script) = match language {
        "gevent" => (installed.join("bin/python"), Some(here.join("peers/peer.py"))),
        _ => (installed.join("go-peer"), None),
    };
    if !program.exists() {
        absent("not installed");
    }
    let mut command = Command::new(program);
    command.args(script).args(job);
    command
}
