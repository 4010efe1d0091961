//! How many kernel calls another process makes, all its threads together: counted by tracing it.
//!
//! The tracer is the thread that has seized the process, so what loads the process runs on a second one.

use std::fs;
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::calls::{call_of, request};

/// Switches the counting on and off.
pub struct Counter {
    on: AtomicBool,
    calls: AtomicU64,
}

impl Counter {
    /// The calls that are made while `f` runs.
    pub fn count(&self, f: impl FnOnce()) -> f64 {
        // Relaxed, here and below: a call more or less at the edges does not matter.
        let before = self.calls.load(Ordering::Relaxed);
        self.on.store(true, Ordering::Relaxed);
        f();
        self.on.store(false, Ordering::Relaxed);
        (self.calls.load(Ordering::Relaxed) - before) as f64
    }
}

/// Traces the child `process` while `load` runs on another thread, then ends the process. `None` where the system does
/// not allow tracing.
pub fn count_calls_of<T: Send>(process: u32, load: impl FnOnce(&Counter) -> T + Send) -> Option<T> {
    let process = process.cast_signed();
    let counter = Counter { on: AtomicBool::new(false), calls: AtomicU64::new(0) };
    let seized = seize(process).is_ok();
    thread::scope(|scope| {
        let counter = &counter;
        let loading = seized.then(|| {
            scope.spawn(move || {
                let result = load(counter);
                // SAFETY: sends a signal to a child that nobody has waited for.
                unsafe { libc::kill(process, libc::SIGKILL) };
                result
            })
        });
        if seized {
            follow(process, counter);
        }
        loading.map(|loading| loading.join().expect("the load ends well"))
    })
}

/// Begins to trace every thread of a process, those to come included.
fn seize(process: libc::pid_t) -> io::Result<()> {
    let options = ptr::without_provenance_mut::<u8>(
        (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL) as usize,
    );
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let name = entry?.file_name();
        let thread: libc::pid_t = name.to_string_lossy().parse().map_err(io::Error::other)?;
        // SAFETY: the request takes options, and no address.
        let result = unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread, ptr::null_mut::<u8>(), options) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        request(libc::PTRACE_INTERRUPT, thread, 0);
    }
    Ok(())
}

/// Lets the process run from call to call until it ends.
fn follow(process: libc::pid_t, counter: &Counter) {
    loop {
        let mut status = 0;
        // SAFETY: the status is a place for the kernel to write to.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        assert!(thread > 0, "lost the traced process: {}", io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            if thread == process {
                return;
            }
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let mut pass_on = 0;
        if signal == libc::SIGTRAP | 0x80 {
            // Relaxed: see `Counter::count`.
            if let Some((number, _)) = call_of(thread)
                && counter.on.load(Ordering::Relaxed)
            {
                counter.calls.fetch_add(1, Ordering::Relaxed);
                // For whoever asks which: BENCH_STDERR shows it.
                eprintln!("kernel call {number}");
            }
        } else if status >> 16 == 0 {
            pass_on = signal;
        }
        request(libc::PTRACE_SYSCALL, thread, pass_on as usize);
    }
}
