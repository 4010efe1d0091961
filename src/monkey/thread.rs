//! `pthread_join`, which std's `JoinHandle::join` is: another thread waits.

use core::ffi::c_void;
use core::mem;

use libc::{c_int, pthread_t};

use super::offload::offload;
use super::symbols::Symbol;
use super::{errno, gate, real};

type Join = unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int;

/// A thread, which some C libraries name by a pointer, and the caller's place for its result.
#[derive(Clone, Copy)]
struct Place(pthread_t, *mut *mut c_void);

// SAFETY: the caller of the replaced function waits until the call is over, wherever it is made.
unsafe impl Sync for Place {}

impl Place {
    fn join(&self) -> c_int {
        let Some(found) = real::find(c"pthread_join") else { return libc::ENOSYS };
        // SAFETY: libc's function has this type.
        let join = unsafe { mem::transmute::<*const c_void, Join>(found.as_ptr()) };
        // SAFETY: the caller of the replaced function answers for its arguments.
        unsafe { join(self.0, self.1) }
    }
}

/// libc's `pthread_join`: the error is what it returns. It is not cancelled: std takes an error for a bug.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int {
    let place = Place(thread, result);
    // SAFETY: takes no arguments.
    let own = unsafe { libc::pthread_self() };
    // Joining one's own thread is an error that only that thread is told of.
    if own == thread || !gate::open(Symbol::PthreadJoin) {
        return place.join();
    }
    let before = errno::get();
    let answer = offload(Symbol::PthreadJoin, || place.join() as isize);
    errno::set(before);
    answer as c_int
}
