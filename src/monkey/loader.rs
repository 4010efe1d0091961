//! Loading a library: what its constructors call does not wait like a coroutine.
//!
//! The dynamic linker holds its lock meanwhile, which is the thread's. Were the coroutine parked there, every other
//! thread that looks a name up would wait for it, those of the pool for blocking calls included, and every other
//! coroutine of the worker would find the lock its own.

use core::ffi::{c_char, c_void};
use core::mem;

use libc::c_int;

use super::gate;
use super::real::find;
use super::symbols::Symbol;

/// Counts the thread out of the loader however the call ends.
struct Inside;

impl Inside {
    fn enter() -> Self {
        gate::enter_handler();
        Self
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        gate::leave_handler();
    }
}

/// libc's `dlopen`. A library without a path is looked for on behalf of the program, not of the library that asks.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void {
    type Real = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    let Some(found) = find(c"dlopen") else { return core::ptr::null_mut() };
    // SAFETY: libc's function has this type.
    let real = unsafe { mem::transmute::<*const c_void, Real>(found.as_ptr()) };
    let _inside = gate::open(Symbol::Dlopen).then(Inside::enter);
    // SAFETY: the caller's duty.
    unsafe { real(name, flags) }
}

/// libc's `dlclose`: destructors are run under the same lock.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn dlclose(library: *mut c_void) -> c_int {
    type Real = unsafe extern "C" fn(*mut c_void) -> c_int;
    let Some(found) = find(c"dlclose") else { return -1 };
    // SAFETY: libc's function has this type.
    let real = unsafe { mem::transmute::<*const c_void, Real>(found.as_ptr()) };
    let _inside = gate::open(Symbol::Dlclose).then(Inside::enter);
    // SAFETY: the caller's duty.
    unsafe { real(library) }
}
