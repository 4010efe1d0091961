//! libc's `syscall`, for the one number that std's locks come through, and for those that change who has a descriptor.
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
use super::{descriptor, futex, futex_op, parker, slot, thread_state, turn};
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
        _ => {
            // SAFETY: the caller's duty.
            let other = unsafe { futex_op::call(args) };
            // SAFETY: as above.
            other.unwrap_or_else(|| unsafe { sys::raw::call(libc::SYS_futex, args) })
        }
    }
}

/// Calls on descriptors that are made by number: the table learns of them as of those by name. The flags of an open file
/// are the exception: they are the kernel's, as whoever asks by number expects.
fn on_descriptors(number: c_long, [a, b, c, ..]: [usize; 6]) -> Option<c_int> {
    let (fd, second) = (a as c_int, b as c_int);
    match number {
        libc::SYS_close => {
            // SAFETY: whoever makes a call by number answers for its arguments, here and below.
            Some(unsafe { descriptor::close(fd) })
        }
        libc::SYS_close_range => {
            // SAFETY: as above.
            Some(unsafe { descriptor::close_range(a as u32, b as u32, c as c_int) })
        }
        libc::SYS_dup => {
            // SAFETY: as above.
            Some(unsafe { descriptor::dup(fd) })
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => {
            // SAFETY: as above.
            Some(unsafe { descriptor::dup2(fd, second) })
        }
        libc::SYS_dup3 => {
            // SAFETY: as above.
            Some(unsafe { descriptor::dup3(fd, second, c as c_int) })
        }
        libc::SYS_fcntl if second != libc::F_GETFL => {
            // SAFETY: as above.
            Some(unsafe { descriptor::fcntl(fd, second, c) })
        }
        _ => None,
    }
}

/// Makes listeners blocking again before a process is made by number: no fork handler runs.
fn before_process(number: c_long, [a, ..]: [usize; 6]) {
    #[cfg(target_arch = "x86_64")]
    let is_fork = matches!(number, libc::SYS_fork | libc::SYS_vfork);
    #[cfg(not(target_arch = "x86_64"))]
    let is_fork = false;
    let is_clone = number == libc::SYS_clone && a & libc::CLONE_FILES as usize == 0;
    if (is_fork || is_clone || number == libc::SYS_clone3) && gate::is_tracking() && !gate::in_handler() {
        slot::share_forced();
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
    } else if number == libc::SYS_sched_yield {
        // SAFETY: takes no arguments.
        return c_long::from(unsafe { turn::sched_yield() });
    } else if let Some(answer) = on_descriptors(number, args) {
        return c_long::from(answer);
    } else {
        before_process(number, args);
        let was_alone = thread_state::is_for_all(number, args);
        // SAFETY: the caller's duty.
        let answer = unsafe { sys::raw::call(number, args) };
        if answer >= 0 {
            thread_state::note_call(number, args, was_alone);
        }
        answer
    };
    errno::result(answer) as c_long
}
