//! A look at a coroutine that runs on another thread: who it is, its registers, its stack.
//!
//! Only the thread itself can tell, so the monitor asks it by a signal. The handler copies what is needed
//! into a buffer that exists already, and returns; everything that allocates, locks or may go wrong is
//! done by the monitor, with the copy.
//!
//! | state | to | who | when |
//! |---|---|---|---|
//! | `FREE` | `ASKED` | a monitor, with `MONITORS` locked | the request is written; then it sends the signal |
//! | `ASKED` | `TAKEN` | the handler, by CAS, on the thread asked for | it begins to copy |
//! | `ASKED` | `FREE` | the monitor, by CAS | no answer in time |
//! | `TAKEN` | `DONE` | the handler | the copy is complete |
//! | `DONE` | `FREE` | the monitor | it has read the copy |
//!
//! Why the handler is sound, whatever it interrupts (an allocator, a lock, a panic):
//! * it calls nothing but `gettid`, `futex` and loads and stores of atomics; `errno` is put back;
//! * it reads the task only if the worker's `running` and tick are still those of the request: these are
//!   written by this very thread, and a task lives through its turn;
//! * of the stack it reads what lies between the interrupted stack pointer and the top of the slot which
//!   that pointer is in: mapped, and never unmapped; and nothing, if the pointer is in the guard;
//! * it runs on the alternate stack that every worker has, so the coroutine's may be nearly full;
//! * it switches nothing: the coroutine goes on where it was.
//!
//! Interrupted system calls are restarted (`SA_RESTART`). Some never are (`poll`, `epoll_wait`,
//! `nanosleep`, `select`, `msgrcv`, those with a socket timeout) and return `EINTR`, as they do for any
//! signal: that can happen once in each turn that is reported, and never in others. With `slipped` turned on a
//! turn may be reported twice: it has computed for long, and then it is blocked.
//!
//! A signal that others use is left to them: what was asked by no monitor goes to the handler before.

use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::backtrace::{self, REGISTERS, STACK_POINTER};
use super::task::Task;
use super::worker::Worker;
use crate::coroutine::stack::arena::find;
use crate::sys;

const FREE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;
const DONE: u32 = 3;

/// How long a monitor waits for an answer: a thread that computes gets a signal at its next interrupt.
const PATIENCE: Duration = Duration::from_millis(100);
/// Words of a stack that are copied: 64 KiB, the frames nearest to where it is.
const WORDS: usize = 8192;
const NAME: usize = 96;
/// Signals have numbers below this.
const SIGNALS: usize = 65;

struct Request {
    state: AtomicU32,
    /// Written by the monitor before `ASKED`.
    thread: AtomicU32,
    worker: AtomicPtr<Worker>,
    task: AtomicPtr<Task>,
    tick: AtomicU64,
    /// Written by the handler before `DONE`; an id of 0 says that the turn is over.
    id: AtomicU64,
    name: [AtomicU8; NAME],
    name_len: AtomicUsize,
    registers: [AtomicUsize; REGISTERS],
    stack: [AtomicUsize; WORDS],
    stack_len: AtomicUsize,
}

static REQUEST: Request = Request {
    state: AtomicU32::new(FREE),
    thread: AtomicU32::new(0),
    worker: AtomicPtr::new(ptr::null_mut()),
    task: AtomicPtr::new(ptr::null_mut()),
    tick: AtomicU64::new(0),
    id: AtomicU64::new(0),
    name: [const { AtomicU8::new(0) }; NAME],
    name_len: AtomicUsize::new(0),
    registers: [const { AtomicUsize::new(0) }; REGISTERS],
    stack: [const { AtomicUsize::new(0) }; WORDS],
    stack_len: AtomicUsize::new(0),
};

/// One request at a time, whatever the number of runtimes.
static MONITORS: Mutex<()> = Mutex::new(());
/// What was there before, by signal; set once its handler is installed.
static BEFORE: [OnceLock<libc::sigaction>; SIGNALS] = [const { OnceLock::new() }; SIGNALS];

/// What has been seen of a coroutine.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(super) registers: [usize; REGISTERS],
    /// The words from the stack pointer up; none if it was not on a coroutine's stack at that moment.
    pub(super) stack: Vec<usize>,
}

/// Why there is no sample.
#[derive(Debug)]
pub(crate) enum NoSample {
    /// The turn has ended meanwhile.
    Over,
    /// The thread has not answered: it blocks the signal, or another has taken the signal over.
    NoAnswer,
    /// The kernel refuses.
    Kernel(io::Error),
}

/// Tells whether a handler may be installed for a signal.
pub(crate) fn is_usable(signal: c_int) -> bool {
    const TAKEN: [c_int; 7] = [
        libc::SIGKILL,
        libc::SIGSTOP,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGABRT,
    ];
    usize::try_from(signal).is_ok_and(|signal| signal > 0 && signal < SIGNALS) && !TAKEN.contains(&signal)
}

/// Asks the thread of `worker` what it runs, if that is still the turn `tick`.
///
/// Called by monitors, whose runtime is alive.
pub(crate) fn take(worker: &Worker, tick: u64, signal: c_int) -> Result<Sample, NoSample> {
    let task = worker.running.load(Ordering::Relaxed);
    if task.is_null() {
        return Err(NoSample::Over);
    }
    let before = usize::try_from(signal).ok().and_then(|signal| BEFORE.get(signal));
    let before = before.ok_or_else(|| NoSample::Kernel(io::ErrorKind::InvalidInput.into()))?;
    let _one = MONITORS.lock().unwrap_or_else(PoisonError::into_inner);
    if before.get().is_none() {
        // SAFETY: see the head of this file; and it does nothing before there is a request.
        let old = unsafe { sys::signal::install(signal, handler) }.map_err(NoSample::Kernel)?;
        let _ = before.set(old);
    }
    let request = &REQUEST;
    // Relaxed, all of them: the store of the state below publishes them.
    request.thread.store(worker.thread.load(Ordering::Relaxed), Ordering::Relaxed);
    request.worker.store(ptr::from_ref(worker).cast_mut(), Ordering::Relaxed);
    request.task.store(task, Ordering::Relaxed);
    request.tick.store(tick, Ordering::Relaxed);
    // Release pairs with the Acquire in `answer`.
    request.state.store(ASKED, Ordering::Release);
    if let Err(error) = sys::thread::signal(request.thread.load(Ordering::Relaxed), signal) {
        request.state.store(FREE, Ordering::Relaxed);
        return Err(NoSample::Kernel(error));
    }
    let answered = await_answer(request);
    let sample = if answered { read(request) } else { Err(NoSample::NoAnswer) };
    // Relaxed: the next request is written under the same lock.
    request.state.store(FREE, Ordering::Relaxed);
    sample
}

fn await_answer(request: &Request) -> bool {
    let end = Instant::now() + PATIENCE;
    loop {
        // Acquire pairs with the Release of DONE in `answer`.
        match request.state.load(Ordering::Acquire) {
            DONE => return true,
            ASKED => {}
            // It copies some kilobytes, unless it is preempted.
            _ => {
                crate::sys::thread::yield_now();
                continue;
            }
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // Relaxed: if it fails the handler has begun, and the loop waits for its end.
            let _ = request.state.compare_exchange(ASKED, FREE, Ordering::Relaxed, Ordering::Relaxed);
            if request.state.load(Ordering::Relaxed) == FREE {
                return false;
            }
            continue;
        }
        sys::futex::wait(&request.state, ASKED, Some(left));
    }
}

/// The answer as values of our own. Called when the state is `DONE`.
fn read(request: &Request) -> Result<Sample, NoSample> {
    // Relaxed, all of them: ordered by the Acquire of DONE.
    let id = request.id.load(Ordering::Relaxed);
    if id == 0 {
        return Err(NoSample::Over);
    }
    let name: Vec<u8> = request.name[..request.name_len.load(Ordering::Relaxed)]
        .iter()
        .map(|byte| byte.load(Ordering::Relaxed))
        .collect();
    let name = (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned());
    let registers = core::array::from_fn(|number| request.registers[number].load(Ordering::Relaxed));
    let stack = &request.stack[..request.stack_len.load(Ordering::Relaxed)];
    Ok(Sample { id, name, registers, stack: stack.iter().map(|word| word.load(Ordering::Relaxed)).collect() })
}

extern "C" fn handler(number: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: tells the place of the calling thread's errno.
    let errno_place = unsafe { libc::__errno_location() };
    // SAFETY: the calling thread's own errno.
    let errno = unsafe { errno_place.read() };
    if !answer(context) {
        let before = usize::try_from(number).ok().and_then(|number| BEFORE.get(number)?.get());
        if let Some(before) = before {
            // SAFETY: it was the handler of this signal.
            unsafe { sys::signal::call(before, number, info, context) };
        }
    }
    // SAFETY: as above.
    unsafe { errno_place.write(errno) };
}

/// Answers the request if it is one to this thread; false if the signal came for another reason.
fn answer(context: *mut c_void) -> bool {
    let request = &REQUEST;
    // Acquire pairs with the Release of ASKED.
    if request.state.load(Ordering::Acquire) != ASKED
        || request.thread.load(Ordering::Relaxed) != sys::thread::id().unsigned_abs()
        || request.state.compare_exchange(ASKED, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err()
    {
        return false;
    }
    // Relaxed, all of them: the store of the state below publishes them.
    request.id.store(0, Ordering::Relaxed);
    request.stack_len.store(0, Ordering::Relaxed);
    // SAFETY: the monitor holds the worker's runtime while the request is open, and this is its thread.
    let worker = unsafe { &*request.worker.load(Ordering::Relaxed) };
    let task = worker.running.load(Ordering::Relaxed);
    if task == request.task.load(Ordering::Relaxed)
        && worker.counters.switches.get() == request.tick.load(Ordering::Relaxed)
    {
        // SAFETY: this thread is in the turn of that task, so it is alive.
        copy(request, unsafe { &*task }, context);
    }
    // Release pairs with the Acquire in `await_answer`.
    request.state.store(DONE, Ordering::Release);
    sys::futex::wake(&raw const request.state, 1);
    true
}

fn copy(request: &Request, task: &Task, context: *mut c_void) {
    let name = task.name().unwrap_or("").as_bytes();
    for (place, byte) in request.name.iter().zip(name) {
        place.store(*byte, Ordering::Relaxed);
    }
    request.name_len.store(name.len().min(NAME), Ordering::Relaxed);
    request.id.store(task.id, Ordering::Relaxed);
    // SAFETY: the kernel passes the interrupted context.
    let registers = unsafe { backtrace::registers(context) };
    for (place, value) in request.registers.iter().zip(registers) {
        place.store(value, Ordering::Relaxed);
    }
    let from = registers[STACK_POINTER];
    let Some((bottom, size)) = find(from) else { return };
    let words = (bottom.addr() + size - from) / size_of::<usize>();
    // A frame may reach into the guard without a touch: nothing there can be read.
    if from >= bottom.addr() && from.is_multiple_of(size_of::<usize>()) {
        let stack = &request.stack[..words.min(WORDS)];
        // SAFETY: from the stack pointer up to the top of its slot all is mapped and readable.
        unsafe { backtrace::copy(from, stack) };
        request.stack_len.store(stack.len(), Ordering::Relaxed);
    }
}
