//! Ways to a child that run no fork handler: `posix_spawn`, `_Fork`.
//!
//! A listener that is non-blocking for the coroutines' sake must be blocking again before another process has it. It is
//! closed by an exec, so `posix_spawn` gives a child only those that its file actions name. They are opaque when the
//! child is made, so the descriptor is shared when the action is added.

use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::AtomicPtr;

use libc::{c_int, pid_t, posix_spawn_file_actions_t};

use super::descriptor::is_tracking;
use super::inner::found;
use super::symbols::Symbol;
use super::{errno, gate, slot};

/// libc's `posix_spawn_file_actions_adddup2`: the error is what it returns.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn posix_spawn_file_actions_adddup2(
    actions: *mut posix_spawn_file_actions_t,
    old: c_int,
    new: c_int,
) -> c_int {
    type Real = unsafe extern "C" fn(*mut posix_spawn_file_actions_t, c_int, c_int) -> c_int;
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    let symbol = Symbol::PosixSpawnFileActionsAdddup2;
    if is_tracking(symbol) {
        slot::share(old);
    }
    // SAFETY: null, or libc's function, which has this type.
    let real = unsafe { mem::transmute::<*const c_void, Option<Real>>(found(symbol, &FOUND)) };
    // SAFETY: the caller's duty.
    real.map_or(libc::ENOSYS, |real| unsafe { real(actions, old, new) })
}

/// libc's `_Fork`, a `fork` without handlers. The child shares all that the parent has.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[allow(non_snake_case, reason = "the name is libc's")]
pub(super) unsafe extern "C" fn _Fork() -> pid_t {
    type Real = unsafe extern "C" fn() -> pid_t;
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    if is_tracking(Symbol::ForkWithoutHandlers) && !gate::in_handler() {
        slot::share_forced();
    }
    let found = found(Symbol::ForkWithoutHandlers, &FOUND);
    // SAFETY: null, or libc's function, which has this type.
    let Some(real) = (unsafe { mem::transmute::<*const c_void, Option<Real>>(found) }) else {
        errno::set(libc::ENOSYS);
        return -1;
    };
    // SAFETY: the caller's duty.
    unsafe { real() }
}
