//! The first turn of a coroutine: it gets a stack, an id, and the worker it stays on.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use super::extra::Extra;
use super::refused::Refused;
use super::task::{CANCELLED, STARTED, Task};
use super::worker::Worker;
use crate::coroutine::stack::StackError;
use crate::coroutine::strand::Strand;
use crate::coroutine::switch::Word;

/// Binds a fresh task to `worker`. False if there is no stack for it: then it has ended with an error.
#[inline]
pub(crate) fn bind(worker: &Worker, task: NonNull<Task>) -> bool {
    // SAFETY: a task taken from a queue is alive.
    let header = unsafe { task.as_ref() };
    let size = match Extra::of(header) {
        Some(extra) if extra.stack_size != 0 => extra.stack_size,
        _ => worker.core().stack_size,
    };
    // SAFETY: this is the worker's thread, and no other borrow is alive.
    let owner = unsafe { worker.owner() };
    let stack = match owner.stacks.get(size) {
        Ok(stack) => stack,
        Err(error) => return no_stack(worker, task, &error),
    };
    header.party.set_id(stack.party());
    stack.label(header.id, header.name());
    // SAFETY: `entry` does not unwind, and the task outlives its strand.
    let strand = unsafe { Strand::new(stack, entry, task.as_ptr().cast()) };
    // SAFETY: only its worker touches the strand, and that is this one from now on.
    unsafe { header.strand.get().write(core::mem::MaybeUninit::new(strand)) };
    worker.counters.started.add(1);
    owner.started.insert(task);
    if owner.ready.capacity() < owner.started.len() {
        // Room for all of them (I3 of `worker`).
        owner.ready.reserve(owner.started.len());
    }
    // Release: `home` is read by whoever claims a wait of this task, through the list's lock.
    header.party.home.store(core::ptr::from_ref(worker).cast_mut(), Ordering::Release);
    // AcqRel: pairs with `cancel::request`: either it finds STARTED and sends a message to `home`,
    // or the task finds CANCELLED when it runs.
    let ending = if worker.core().is_ending() { CANCELLED } else { 0 };
    header.state().fetch_or(STARTED | ending, Ordering::AcqRel);
    true
}

/// The first frame of every spawned coroutine.
///
/// # Safety
/// * `arg` is the task whose strand this is.
unsafe extern "C" fn entry(arg: *mut (), _: Word, _: usize) {
    let task = NonNull::new(arg.cast::<Task>()).expect("a strand is made with its task");
    // SAFETY: this is the task's strand.
    unsafe { Task::run(task) };
}

/// Address space or the kernel's limit on mappings is exhausted: the coroutine ends with an error, which its
/// joiner gets. It is not kept until a stack comes free: those that have one may wait for this very coroutine.
#[cold]
fn no_stack(worker: &Worker, task: NonNull<Task>, error: &StackError) -> bool {
    static REFUSED: AtomicU64 = AtomicU64::new(0);
    // SAFETY: a task taken from a queue is alive.
    let header = unsafe { task.as_ref() };
    let name = header.name().unwrap_or("unnamed");
    let why = format!("coroutine '{name}' (#{}) cannot start: {error}", header.id);
    // Relaxed: a figure for the log, which names the 1st, 2nd, 4th, 8th … and not a hundred thousand.
    let refused = REFUSED.fetch_add(1, Ordering::Relaxed) + 1;
    if refused.is_power_of_two() {
        // Not logged here: no coroutine runs, so a logger that waits would hold the worker.
        worker.core().monitor.note(format!("{why} ({refused} so far)"));
    }
    worker.counters.started.add(1);
    // SAFETY: it has not started, and came from a queue.
    let refused = unsafe { Refused::new(task, why) };
    worker.counters.finished.add(1);
    if let Some(refused) = worker.core().monitor.end(refused) {
        // The runtime ends, and its monitor has.
        refused.end();
    }
    false
}
