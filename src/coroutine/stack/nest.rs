//! Stacks that were resumed by hand, one from another: whose shields and time limits count for whom.
//!
//! ```text
//! the caller ─ slot ─ header.link ─▶ link ─▶ the resumer's stack ─ slot ─ header.link ─▶ … ─▶ null, or no slot
//! ```
//!
//! A coroutine that is resumed by hand can be suspended under a shield, and then be resumed by another party, or
//! by none. So a shield on its stack belongs to that stack, and not to whoever has resumed it: it is counted in
//! the stack's header, and looked for on the way from the caller to the party's own stack. A time limit set there
//! counts for waits whose way leads over that stack (`runtime/timeout.rs`).
//!
//! A thread in whose coroutine `exit` was called is under a shield for good, whatever stack the caller is on.

use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::arena;
use super::slot::{Header, Stack};

/// Shields and time limits on such stacks, and threads under a shield, of the whole process. Relaxed everywhere: a
/// thread that has one has counted it itself.
static LIVING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether `exit` was called in a coroutine of this thread.
    static EXITING: Cell<bool> = const { Cell::new(false) };
}

/// Tells whether there is a shield or a time limit on any such stack, or a thread under a shield.
#[inline(always)]
pub(crate) fn has_any() -> bool {
    LIVING.load(Ordering::Relaxed) > 0
}

/// Counts a time limit on such a stack.
pub(crate) fn count_limit() {
    LIVING.fetch_add(1, Ordering::Relaxed);
}

/// Uncounts it.
pub(crate) fn uncount_limit() {
    LIVING.fetch_sub(1, Ordering::Relaxed);
}

/// An address on the stack of the caller.
#[inline(always)]
fn here() -> usize {
    let here = MaybeUninit::<u8>::uninit();
    ptr::from_ref(&here).addr()
}

/// The header of the stack that `address` lies on, and an address on its resumer's stack; `None` if it was
/// not resumed by hand.
///
/// # Safety
/// * Whoever has called this runs on that stack, or waits on it for one that it has resumed.
unsafe fn look(address: usize) -> Option<(*mut Header, usize)> {
    let (bottom, size) = arena::find(address)?;
    let header = Stack::header_of(bottom, size);
    // SAFETY: somebody runs on the slot, or waits there, so its header was written; by this thread.
    let link = unsafe { (*header).link };
    if link.is_null() {
        return None;
    }
    // SAFETY: the coroutine runs, so its link lives and is its resumer's context: where that one's registers
    // lie, on its own stack.
    let resumer = unsafe { link.read() };
    Some((header, resumer.addr()))
}

/// Puts a shield on the stack of the caller, if that was resumed by hand; false if not.
pub(crate) fn raise() -> bool {
    // SAFETY: the caller's own stack.
    let Some((header, _)) = (unsafe { look(here()) }) else { return false };
    // SAFETY: the header lives, and only the thread that runs on the stack writes to it.
    unsafe { (*header).shields += 1 };
    LIVING.fetch_add(1, Ordering::Relaxed);
    true
}

/// Takes off a shield that [`raise`] has put on the same stack.
pub(crate) fn lower() {
    // SAFETY: the caller's own stack.
    let Some((header, _)) = (unsafe { look(here()) }) else { return };
    // SAFETY: as in `raise`.
    unsafe { (*header).shields -= 1 };
    LIVING.fetch_sub(1, Ordering::Relaxed);
}

/// The id of the coroutine that the caller is, if it was resumed by hand.
pub(crate) fn innermost() -> Option<u64> {
    // SAFETY: the caller's own stack.
    let (header, _) = unsafe { look(here()) }?;
    // SAFETY: the header lives; its id was written before the coroutine began.
    Some(unsafe { (*header).id })
}

/// Tells whether the caller is the coroutine of that id, resumed by hand, or is resumed by it.
pub(crate) fn is_within(id: u64) -> bool {
    any(|header| header.id == id)
}

/// Tells whether there is a shield on the stack of the caller, or of one that waits for it, short of the
/// party's own stack.
#[inline]
pub(crate) fn is_shielded() -> bool {
    has_any() && is_any_shielded()
}

#[cold]
fn is_any_shielded() -> bool {
    EXITING.get() || any(|header| header.shields > 0)
}

/// Puts the calling thread under a shield for good: the process ends on it.
pub(crate) fn raise_for_exit() {
    if !EXITING.replace(true) {
        LIVING.fetch_add(1, Ordering::Relaxed);
    }
}

/// Tells whether the process ends on the calling thread, by a call of `exit` in one of its coroutines.
#[inline]
pub(crate) fn is_exiting() -> bool {
    has_any() && EXITING.get()
}

/// Whether `f` holds for the stack of the caller, or for one that waits for it, short of the party's own.
fn any(f: impl Fn(&Header) -> bool) -> bool {
    let mut at = here();
    // SAFETY: the caller's own stack, and then that of one that waits for the coroutine it has resumed.
    while let Some((header, resumer)) = unsafe { look(at) } {
        // SAFETY: it lives while its coroutine runs or waits there, and only this thread writes to it, not now.
        if f(unsafe { &*header }) {
            return true;
        }
        at = resumer;
    }
    false
}
