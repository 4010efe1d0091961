//! Whether this process is still the one that a handle belongs to, asked by one load.
//!
//! A program that forks by itself copies its handles. The copies are the parent's: what they would give back when
//! they are dropped (a lock, a permit, a place among the members) is not theirs. The pid of the process lies on
//! a page of its own, which the kernel wipes in the child of any fork, however that is made. Kernels that refuse
//! leave it to `pthread_atfork`.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use crate::sys::memory::{self, Page};

static WIPED: Page = Page::new();

fn word() -> &'static AtomicU32 {
    WIPED.word()
}

/// Says that the calling process has handles.
pub(super) fn arm() {
    static ARMED: OnceLock<()> = OnceLock::new();
    ARMED.get_or_init(|| memory::wipe_on_fork(&WIPED, forget));
    // Relaxed: the same number, or zero, for whoever reads it.
    word().store(std::process::id(), Ordering::Relaxed);
}

extern "C" fn forget() {
    // Relaxed: the child has one thread.
    WIPED.word().store(0, Ordering::Relaxed);
}

/// Tells whether the calling process is the one with that pid; it has handles.
#[inline]
pub(super) fn is_process(pid: u32) -> bool {
    // Relaxed: written by `arm` before there was a handle, and wiped by no thread of this process.
    word().load(Ordering::Relaxed) == pid
}
