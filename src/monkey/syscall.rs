//! libc's `syscall`, for the one number that std's locks come through.
//!
//! Exactly one form of waiting parks: `FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG` with all bits set, which is std's. Its
//! Mutex, RwLock, Condvar, Once and Barrier know nothing of threads. parking_lot waits with plain `FUTEX_WAIT`, on a
//! record of the thread's, which two coroutines of one thread would both use: that goes to the kernel.
//!
//! So does a wait on a word in a thread-local of the worker's thread, for the same reason: whoever puts a lock there takes
//! the thread for one that waits for one thing at a time. rayon does, and lends its stack until that lock is released.
//!
//! `std::thread::park` waits in std's form, on a word of the thread's that has rules of its own: see `parker`.

use core::time::Duration;
use std::time::Instant;

use libc::{c_int, c_long, timespec};

use super::errno::{self, raw};
use super::gate;
use super::hook::pass;
use super::patch::group::LOCKS;
use super::symbols::Symbol;
use super::time::duration;
use super::{futex, parker, thread_state};
use crate::base::parker_word::PARKED;
use crate::runtime::far;
use crate::sys;

const ALL_BITS: u32 = u32::MAX;
const WAIT: c_int = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
const WAKE: c_int = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;

/// The instant that a point of the monotonic clock is; `Err` if it is not a valid one.
///
/// # Safety
/// * `until` is null or the caller's.
unsafe fn deadline(until: *const timespec) -> Result<Option<Instant>, isize> {
    // SAFETY: the caller's duty.
    let Some(until) = (unsafe { until.as_ref() }) else { return Ok(None) };
    let until = duration(*until).ok_or(raw(libc::EINVAL))?;
    let mut now = timespec { tv_sec: 0, tv_nsec: 0 };
    pass!(SYS_clock_gettime, libc::CLOCK_MONOTONIC, &raw mut now);
    let now: Duration = duration(now).unwrap_or_default();
    Ok(Some(far::after(until.saturating_sub(now))))
}

/// Tells whether a word lies in the thread-locals of the calling thread. glibc keeps those that are there from a thread's
/// start on top of its stack.
fn is_thread_local(address: usize) -> bool {
    thread_local! {
        /// Where it begins, and its length.
        static STACK: (usize, usize) = sys::thread::own_stack().unwrap_or((0, 0));
    }
    // A coroutine's stack is not the thread's, so what else lies there is nobody's to wait for.
    STACK.with(|(lowest, size)| address.wrapping_sub(*lowest) < *size)
}

/// # Safety
/// * As for the system call.
unsafe fn futex(args: [usize; 6]) -> isize {
    let [address, operation, value, until, _, bits] = args;
    let (operation, value) = (operation as c_int, value as u32);
    match operation {
        // No word: the kernel says so. Null is one for it to wake, but nobody waits there.
        _ if address == 0 || !address.is_multiple_of(align_of::<u32>()) => {
            // SAFETY: the caller's duty.
            unsafe { sys::raw::call(libc::SYS_futex, args) }
        }
        WAKE if parker::learn(address) => 0,
        WAKE => futex::wake(address, value),
        WAIT if bits as u32 == ALL_BITS && gate::open(Symbol::Syscall) && !is_thread_local(address) => {
            // SAFETY: the caller's duty.
            match unsafe { deadline(core::ptr::with_exposed_provenance(until)) } {
                Err(error) => error,
                // SAFETY: it was just asked.
                Ok(until) if value == PARKED && parker::is_park(address) => unsafe {
                    parker::park(address, until)
                },
                // SAFETY: as above.
                Ok(until) => unsafe { futex::wait(address, value, until) },
            }
        }
        WAIT if value == PARKED && parker::is_shared(address) => {
            parker::pass_on(|| {
                // SAFETY: the caller's duty.
                unsafe { sys::raw::call(libc::SYS_futex, args) }
            })
        }
        // SAFETY: as above.
        _ => unsafe { sys::raw::call(libc::SYS_futex, args) },
    }
}

/// libc's `syscall`. The arguments that a call does not have are whatever is in their registers.
///
/// # Safety
/// * As the kernel's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let args = [a, b, c, d, e, f];
    let answer = if number == libc::SYS_futex && gate::is_patched(LOCKS) {
        let before = errno::get();
        // SAFETY: the caller's duty.
        let answer = unsafe { futex(args) };
        errno::set(before);
        answer
    } else {
        // SAFETY: the caller's duty.
        let answer = unsafe { sys::raw::call(number, args) };
        if answer >= 0 {
            thread_state::note_call(number, args);
        }
        answer
    };
    errno::result(answer) as c_long
}
