//! What the kernel is told of slots: these pages fault, these pages are not needed. Many at once where it can.
//!
//! For 1,000,000 slots of 256 KiB, guarded and touched once: 2.7 µs each one by one, 2.3 µs in vectors of 8
//! or more; the rest is the page itself and its share of a page of page tables.

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::io;
use std::sync::OnceLock;

use super::arena::{Slot, guard_size};
use crate::sys::memory::{self, Advice, Range};

/// Most slots in one system call, so that a thread is not away for more than some 40 µs.
pub(super) const MOST: usize = 64;

/// How far a list was worked through, and what ended it.
pub(super) type Partly = (usize, io::Error);

/// Makes the guard below each slot fault. The slots belong to the caller, and hold nothing.
pub(super) fn guard(slots: &[Slot]) -> Result<(), Partly> {
    if is_light(slots) {
        // SAFETY: the pages belong to a slot that is about to be used, and hold nothing.
        return unsafe { advise(slots, Advice::Guard, |slot| Range::new(guard_of(slot), guard_size())) };
    }
    for (done, slot) in slots.iter().enumerate() {
        // SAFETY: as above.
        unsafe { memory::protect(guard_of(slot), guard_size()) }.map_err(|error| (done, error))?;
    }
    Ok(())
}

/// The lowest byte of a slot's guard.
fn guard_of(slot: &Slot) -> *mut u8 {
    slot.bottom.wrapping_sub(guard_size())
}

/// Whether guards need no mapping of their own: asked of the kernel once, with the first slot.
fn is_light(slots: &[Slot]) -> bool {
    static LIGHT: OnceLock<bool> = OnceLock::new();
    let Some(first) = slots.first() else { return true };
    *LIGHT.get_or_init(|| {
        let guard = Range::new(guard_of(first), guard_size());
        std::env::var_os("ROPEWALK_GUARD").is_none_or(|value| value != "mprotect")
            // SAFETY: as in `guard`.
            && unsafe { memory::advise(guard, Advice::Guard) }.is_ok()
    })
}

/// Gives the memory of each slot to the kernel, but for `kept` bytes at its top. Nobody runs on them.
pub(super) fn discard(slots: &[Slot], kept: usize) {
    let range = |slot: &Slot| Range::new(slot.bottom, slot.size - kept);
    // SAFETY: the slots are the caller's, who needs nothing in them below `kept`.
    if let Err((at, error)) = unsafe { advise(slots, Advice::Discard, range) } {
        // Not logged here: a scheduler may be in the middle of its work, and a logger is user code.
        // Relaxed, both: figures for a report.
        REFUSAL.store(error.raw_os_error().unwrap_or(0), Ordering::Relaxed);
        REFUSED.fetch_add(slots.len() - at, Ordering::Relaxed);
    }
}

/// Stacks whose memory the kernel did not take back since the last report, and what it said last.
static REFUSED: AtomicUsize = AtomicUsize::new(0);
static REFUSAL: AtomicI32 = AtomicI32::new(0);

/// How many times free stacks have kept their memory since the last call, and why.
pub(crate) fn take_refused() -> Option<(usize, io::Error)> {
    // Relaxed: as in `discard`; first a load, because it is nearly always zero.
    if REFUSED.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let count = REFUSED.swap(0, Ordering::Relaxed);
    (count > 0).then(|| (count, io::Error::from_raw_os_error(REFUSAL.load(Ordering::Relaxed))))
}

/// Gives each slot's range an advice.
///
/// # Safety
/// * As for [`memory::advise`].
unsafe fn advise(slots: &[Slot], advice: Advice, range: impl Fn(&Slot) -> Range) -> Result<(), Partly> {
    let mut done = 0;
    for chunk in slots.chunks(MOST) {
        let mut ranges = [Range::EMPTY; MOST];
        for (place, slot) in ranges.iter_mut().zip(chunk) {
            *place = range(slot);
        }
        let ranges = &ranges[..chunk.len()];
        // SAFETY: the caller's duty.
        let at_once = unsafe { advise_vector(ranges, advice) };
        done += at_once;
        for range in &ranges[at_once..] {
            // SAFETY: the caller's duty.
            unsafe { memory::advise(*range, advice) }.map_err(|error| (done, error))?;
            done += 1;
        }
    }
    Ok(())
}

/// Tries all ranges in one system call, and tells how many are done, from the first on.
///
/// # Safety
/// * As for [`memory::advise`].
unsafe fn advise_vector(ranges: &[Range], advice: Advice) -> usize {
    /// Cleared when the kernel has refused once.
    static POSSIBLE: AtomicBool = AtomicBool::new(true);
    // Relaxed: a hint; a call in vain does no harm.
    if ranges.len() < 2 || !POSSIBLE.load(Ordering::Relaxed) {
        return 0;
    }
    // SAFETY: the caller's duty.
    match unsafe { memory::advise_many(ranges, advice) } {
        Ok(mut bytes) => ranges
            .iter()
            .take_while(|range| {
                let whole = bytes >= range.len();
                bytes = bytes.saturating_sub(range.len());
                whole
            })
            .count(),
        Err(_) => {
            // Relaxed: as above.
            POSSIBLE.store(false, Ordering::Relaxed);
            0
        }
    }
}
