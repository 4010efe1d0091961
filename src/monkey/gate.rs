//! The gate in every replaced function: does this call wait like a coroutine?
//!
//! Answered in order, cheapest first: is the call's group patched in (one load), does a coroutine run here (one
//! thread-local), is it a signal handler that interrupted one, or a call in the middle of this crate's own work.
//!
//! The word lies on a page of its own, which the kernel wipes in the child of any fork: so a child, that has one
//! thread and no workers, finds nothing patched. Kernels that refuse to wipe it leave that to `pthread_atfork`. A child
//! that libc has forked before any runtime had started has lost nothing, and keeps the patch.

use core::cell::Cell;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use super::symbols::Symbol;
use crate::base::plain;
use crate::runtime::{orphan, party};

#[cfg(target_arch = "x86_64")]
const PAGE: usize = 4096;
#[cfg(not(target_arch = "x86_64"))]
const PAGE: usize = 65536;

#[cfg_attr(target_arch = "x86_64", repr(C, align(4096)))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C, align(65536)))]
struct Wiped {
    /// The groups patched in, and `PROBE`.
    groups: AtomicU32,
    _rest: [u8; PAGE - 4],
}

static WIPED: Wiped = Wiped { groups: AtomicU32::new(0), _rest: [0; PAGE - 4] };

/// The groups patched in, for a child that keeps them.
static PATCHED: AtomicU32 = AtomicU32::new(0);

/// Set while the self-test looks which symbols arrive.
const PROBE: u32 = 1 << 31;

thread_local! {
    /// Signal handlers that this thread is in.
    static HANDLERS: Cell<u32> = const { Cell::new(0) };
    /// Where the self-test on this thread notes what arrives.
    static PROBED: Cell<Option<&'static [AtomicU32]>> = const { Cell::new(None) };
}

/// Tells whether a call may be one that waits like a coroutine: the part of [`open`] that plain threads pay.
#[inline(always)]
pub(super) fn is_ajar(symbol: Symbol) -> bool {
    // Relaxed: a setting.
    let set = WIPED.groups.load(Ordering::Relaxed);
    set & (symbol.groups() | PROBE) != 0 && (set & PROBE != 0 || party::is_coroutine())
}

/// Tells whether a call waits like a coroutine, and counts it if so.
#[inline]
pub(super) fn open(symbol: Symbol) -> bool {
    is_ajar(symbol) && is_open(symbol)
}

#[inline(never)]
fn is_open(symbol: Symbol) -> bool {
    // Relaxed: a setting.
    let set = WIPED.groups.load(Ordering::Relaxed);
    if set & PROBE != 0
        && let Some(arrived) = PROBED.get()
    {
        // Relaxed: read by this very thread.
        arrived[symbol as usize].store(1, Ordering::Relaxed);
    }
    let cooperates =
        set & symbol.groups() != 0 && party::is_coroutine() && HANDLERS.get() == 0 && !plain::is_plain();
    if cooperates {
        symbol.count_call();
    }
    cooperates
}

/// Tells whether one of the groups is patched in: calls that serve several ask once they know which it is.
#[inline]
pub(super) fn is_patched(groups: u32) -> bool {
    // Relaxed: a setting.
    WIPED.groups.load(Ordering::Relaxed) & groups != 0
}

/// Tells whether anything is patched in, so that descriptors are kept track of.
#[inline]
pub(super) fn is_tracking() -> bool {
    is_patched(!PROBE)
}

/// Patches groups in.
pub(super) fn patch_in(groups: u32) {
    arm_for_fork();
    // Relaxed: settings.
    PATCHED.fetch_or(groups, Ordering::Relaxed);
    WIPED.groups.fetch_or(groups, Ordering::Relaxed);
}

/// Runs `f` with every arrival of a call on this thread noted.
pub(super) fn probe(arrived: &'static [AtomicU32], f: impl FnOnce()) {
    PROBED.set(Some(arrived));
    // Relaxed: read by this very thread.
    WIPED.groups.fetch_or(PROBE, Ordering::Relaxed);
    f();
    WIPED.groups.fetch_and(!PROBE, Ordering::Relaxed);
    PROBED.set(None);
}

/// Tells whether the calling thread runs a signal handler.
pub(super) fn in_handler() -> bool {
    HANDLERS.get() != 0
}

/// Counts the calling thread into a signal handler; the number of those before.
pub(super) fn enter_handler() {
    HANDLERS.set(HANDLERS.get() + 1);
}

/// Counts it out again.
pub(super) fn leave_handler() {
    HANDLERS.set(HANDLERS.get().saturating_sub(1));
}

/// Makes sure that a child finds nothing patched that it cannot use.
fn arm_for_fork() {
    static ARMED: OnceLock<()> = OnceLock::new();
    ARMED.get_or_init(|| {
        let place = (&raw const WIPED).cast_mut().cast();
        // SAFETY: the page holds nothing but the word, and only a child loses it.
        let _ = unsafe { libc::madvise(place, PAGE, libc::MADV_WIPEONFORK) };
        // SAFETY: the first does what any call may do, and nothing in a signal handler; the last does one store.
        let _ = unsafe { libc::pthread_atfork(Some(before_fork), None, Some(in_child)) };
    });
}

/// A child shares what descriptors stand for, and goes by what it sees of them.
unsafe extern "C" fn before_fork() {
    if is_tracking() && !in_handler() {
        super::slot::share_forced();
    }
}

/// A child keeps the patch if no runtime had started: then nothing waits, and no thread of a runtime is missing.
unsafe extern "C" fn in_child() {
    // Relaxed: the child has one thread.
    let keeps = !orphan::has_started() && !in_handler();
    WIPED.groups.store(if keeps { PATCHED.load(Ordering::Relaxed) } else { 0 }, Ordering::Relaxed);
    if keeps {
        super::slot::share_all();
    }
}
