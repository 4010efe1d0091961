//! A call on the pool for blocking calls that borrows from its caller.

use core::mem;
use core::sync::atomic::{AtomicIsize, Ordering};
use std::panic::{self, AssertUnwindSafe};

use super::spawn_blocking;
use crate::runtime::shield::Shield;

type Call<'a> = dyn Fn() -> isize + Sync + 'a;

/// Runs `call` on a thread of the pool and waits for it, without being cancelled. If there is no thread for it, runs it
/// here.
#[cfg_attr(not(feature = "monkey"), expect(dead_code, reason = "for calls that libc's users make"))]
pub(crate) fn borrow_blocking(call: &Call<'_>) -> isize {
    let answer = AtomicIsize::new(0);
    let run = || {
        // Relaxed: `get` below orders the two.
        answer.store(call(), Ordering::Relaxed);
    };
    let run: &(dyn Fn() + Sync) = &run;
    // SAFETY: only the lifetime is changed. The task is waited for below, by a wait that nothing ends early,
    // or it was refused and is gone.
    let run: &'static (dyn Fn() + Sync) = unsafe { mem::transmute::<&(dyn Fn() + Sync), _>(run) };
    let _shield = Shield::new();
    // It panics if no thread can be started; then the task was not queued.
    let task = panic::catch_unwind(AssertUnwindSafe(|| spawn_blocking(run)));
    match task.map(|task| task.get()) {
        Ok(Ok(())) => answer.load(Ordering::Relaxed),
        _ => call(),
    }
}
