//! Fetching ahead what the next turns need: among many coroutines that wait, one that goes on finds its task and its stack
//! driven out of the processor's caches, and the pages of both out of its translation buffer.
//!
//! Two steps, each begun a turn before the next needs it: the words of the task after the next, which say where its stack
//! is used, then the stack of the next. A turn with a system call is long enough for either.

use core::ptr::NonNull;
use std::collections::VecDeque;

use super::task::Task;
use crate::coroutine::strand::Strand;

/// With so many coroutines ready it is done. Chosen with the benches `echo-hooked-1000` and `yield-2`: fewer find all in
/// the caches.
const CROWD: usize = 16;

/// Asks the processor to fetch for the first two of `ready`, the queue of the worker whose scheduler runs.
#[inline]
pub(super) fn fetch(ready: &VecDeque<NonNull<Task>>) {
    if ready.len() < CROWD {
        return;
    }
    let strand = |task: &NonNull<Task>| -> *const Strand {
        // SAFETY: a task in a queue is alive.
        unsafe { task.as_ref() }.strand.get().cast_const().cast()
    };
    Strand::fetch_words(strand(&ready[1]));
    // SAFETY: `ready` holds started coroutines of this worker, whose scheduler runs now: it is suspended.
    unsafe { Strand::fetch_stack(strand(&ready[0])) };
}
