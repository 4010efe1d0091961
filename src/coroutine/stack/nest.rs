//! Stacks that were resumed by hand, one from another; and the shields on them.
//!
//! ```text
//! the caller ─ slot ─ header.link ─▶ link ─▶ the resumer's stack ─ slot ─ header.link ─▶ … ─▶ null, or no slot
//! ```
//!
//! A coroutine that is resumed by hand can be suspended under a shield, and then be resumed by another party, or
//! by none. So a shield on its stack belongs to that stack, and not to whoever has resumed it: it is counted in
//! the stack's header, and looked for on the way from the caller to the party's own stack.

use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::arena;
use super::slot::{Header, Stack};

/// Shields on such stacks, in all threads. Relaxed everywhere: a thread that has one has counted it itself.
static LIVING: AtomicUsize = AtomicUsize::new(0);

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
    let (base, size) = arena::find(address)?;
    let header = Stack::header_of(base, size);
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

/// Tells whether there is a shield on the stack of the caller, or of one that waits for it, short of the
/// party's own stack.
#[inline]
pub(crate) fn is_shielded() -> bool {
    LIVING.load(Ordering::Relaxed) > 0 && is_any_shielded()
}

#[cold]
fn is_any_shielded() -> bool {
    let mut at = here();
    // SAFETY: the caller's own stack, and then that of one that waits for the coroutine it has resumed.
    while let Some((header, resumer)) = unsafe { look(at) } {
        // SAFETY: as in `raise`.
        if unsafe { (*header).shields } > 0 {
            return true;
        }
        at = resumer;
    }
    false
}
