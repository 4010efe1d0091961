//! The kernel's other wakes of a futex: by bits, with a requeue, with an operation.
//!
//! Coroutines wait with all bits set, so any bits wake them. A requeue leaves the kernel's part to the kernel, which
//! compares the word, and moves coroutines after it. `FUTEX_WAKE_OP` changes a word before it wakes, and what it found
//! there decides whether it wakes at that word as well. The kernel does not tell. So if coroutines wait at that word, it is
//! changed here; they prove that there is a word. A wake more than was asked for is one without a reason, as any wait for
//! a futex may have.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use libc::c_int;

use super::errno::raw;
use super::futex::{self, requeue, wake, wake_by, wake_coroutines};
use super::hook::pass;
use crate::sys;

const WAKE_BITSET: c_int = libc::FUTEX_WAKE_BITSET | libc::FUTEX_PRIVATE_FLAG;
const REQUEUE: c_int = libc::FUTEX_REQUEUE | libc::FUTEX_PRIVATE_FLAG;
const CMP_REQUEUE: c_int = libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG;
const WAKE_OP: c_int = libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG;

/// The answer to one of these calls; `None` if it is another one.
///
/// # Safety
/// * As for the system call.
pub(super) unsafe fn call(args: [usize; 6]) -> Option<isize> {
    let [address, operation, count, second, other, value] = args;
    // SAFETY: the caller's duty.
    let in_kernel = || unsafe { sys::raw::call(libc::SYS_futex, args) };
    let (operation, count) = (operation as c_int, count as u32);
    let is_plain_wake = operation == WAKE_BITSET;
    if !is_plain_wake && futex::hands_over(address) && futex::hands_over(other) {
        return None;
    }
    let reaches = || futex::is_waited_for(address) || futex::is_waited_for(other);
    Some(match operation {
        WAKE_BITSET if value as u32 != 0 => wake_by(address, count, |count| {
            pass!(SYS_futex, address, WAKE_BITSET, count, 0usize, 0usize, value)
        }),
        REQUEUE | CMP_REQUEUE if reaches() => {
            let answer = in_kernel();
            let Ok(both) = u32::try_from(answer) else { return Some(answer) };
            let woken = both.min(count);
            let moved = both - woken;
            let more = wake_coroutines(address, count - woken);
            let moves = (second as u32).saturating_sub(moved);
            both as isize + more as isize + requeue(address, other, moves) as isize
        }
        WAKE_OP if other.is_multiple_of(align_of::<u32>()) && futex::is_waited_for(other) => {
            let word = ptr::with_exposed_provenance::<AtomicU32>(other);
            // SAFETY: coroutines wait for this word.
            match WordChange::of(value as u32).and_then(|change| change.apply(unsafe { &*word })) {
                Err(error) => error,
                Ok(false) => wake(address, count),
                Ok(true) => wake(address, count).max(0) + wake(other, second as u32).max(0),
            }
        }
        WAKE_OP if futex::is_waited_for(address) => match in_kernel() {
            error if error < 0 => error,
            woken => woken + wake_coroutines(address, count) as isize,
        },
        _ => return None,
    })
}

/// What `FUTEX_WAKE_OP` does to a word, and when it wakes there.
struct WordChange {
    operation: u32,
    operand: u32,
    comparison: u32,
    compared: i32,
}

impl WordChange {
    fn of(code: u32) -> Result<Self, isize> {
        // Twelve bits with a sign.
        let signed = |bits: u32| (bits << 20).cast_signed() >> 20;
        let operand = signed(code >> 12 & 0xfff);
        let operand = if code >> 31 != 0 { 1 << (operand & 31) } else { operand.cast_unsigned() };
        let (operation, comparison) = (code >> 28 & 7, code >> 24 & 15);
        if operation > 4 || comparison > 5 {
            return Err(raw(libc::ENOSYS));
        }
        Ok(Self { operation, operand, comparison, compared: signed(code & 0xfff) })
    }

    /// Changes the word; tells whether to wake there.
    fn apply(&self, word: &AtomicU32) -> Result<bool, isize> {
        let by = self.operand;
        // SeqCst: as the kernel's own, which is a full barrier.
        let before = match self.operation {
            0 => word.swap(by, Ordering::SeqCst),
            1 => word.fetch_add(by, Ordering::SeqCst),
            2 => word.fetch_or(by, Ordering::SeqCst),
            3 => word.fetch_and(!by, Ordering::SeqCst),
            _ => word.fetch_xor(by, Ordering::SeqCst),
        };
        let (before, compared) = (before.cast_signed(), self.compared);
        Ok(match self.comparison {
            0 => before == compared,
            1 => before != compared,
            2 => before < compared,
            3 => before <= compared,
            4 => before > compared,
            _ => before >= compared,
        })
    }
}
