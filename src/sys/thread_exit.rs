//! The moment before the locals of a thread are destroyed.
//!
//! The C library destroys them in the opposite order of their registration, so whoever has registered last is
//! called first. To be the last, [`arm`] is not enough: another local may be registered after it. So the function
//! by which std (and C++) registers is defined here, and where the linker takes this one, as it does for what is
//! linked into the program, each registration on an armed thread is followed by one of ours.
//!
//! Where it does not (another C library than glibc, a static program, a library that is loaded, whose calls find glibc's
//! function first) what is registered after `arm` is destroyed before the call.

use core::cell::Cell;

thread_local! {
    /// What is to be called; none while no call of ours is to come before all that is registered.
    static CALL: Cell<Option<fn()>> = const { Cell::new(None) };
    static LAST: Last = const { Last };
}

/// Registered by std as any local that has a destructor.
struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        run();
    }
}

/// Whether the calling thread is armed, and nothing has been called since.
#[inline]
pub(crate) fn is_armed() -> bool {
    CALL.get().is_some()
}

/// Makes `call` be called on this thread before its locals are destroyed, in the middle of their destruction if that
/// has begun, or when the process ends by a call of `exit` on this thread. Once; it must not unwind.
pub(crate) fn arm(call: fn()) {
    CALL.set(Some(call));
    // The first time on a thread this comes to `__cxa_thread_atexit_impl` below, by way of std.
    let _ = LAST.try_with(|_| ());
    #[cfg(all(target_env = "gnu", not(target_feature = "crt-static"), not(miri)))]
    glibc::register_again();
}

fn run() {
    if let Some(call) = CALL.take() {
        call();
    }
}

#[cfg(all(target_env = "gnu", not(target_feature = "crt-static"), not(miri)))]
mod glibc {
    use core::ffi::{c_int, c_void};
    use core::mem;
    use core::ptr;
    use core::sync::atomic::{AtomicPtr, Ordering};

    type Destructor = unsafe extern "C" fn(*mut c_void);
    type Register = unsafe extern "C" fn(Destructor, *mut c_void, *mut c_void) -> c_int;

    unsafe extern "C" {
        /// Names the program, or the library, that registers; it is not unloaded before the call.
        static __dso_handle: u8;
    }

    /// The C library's own.
    fn real() -> Option<Register> {
        static REAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        // Relaxed: whoever finds it finds the same.
        let mut found = REAL.load(Ordering::Relaxed);
        if found.is_null() {
            // SAFETY: asks for a name.
            found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"__cxa_thread_atexit_impl".as_ptr()) };
            REAL.store(found, Ordering::Relaxed);
        }
        // SAFETY: null, or the function of that name, which is of this type.
        unsafe { mem::transmute::<*mut c_void, Option<Register>>(found) }
    }

    unsafe extern "C" fn run(_: *mut c_void) {
        super::run();
    }

    /// Puts a call of ours before all that is registered now.
    pub(super) fn register_again() {
        if let Some(real) = real() {
            let dso = (&raw const __dso_handle).cast_mut().cast();
            // SAFETY: as std calls it; `run` uses no object. Out of memory, glibc ends the process.
            unsafe { real(run, ptr::null_mut(), dso) };
        }
    }

    /// The C library's function, as the Itanium C++ ABI has it: registers a destructor of the calling thread.
    ///
    /// # Safety
    /// * As for that one.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn __cxa_thread_atexit_impl(
        destructor: Destructor,
        object: *mut c_void,
        dso: *mut c_void,
    ) -> c_int {
        // Then the object is never destroyed.
        let Some(real) = real() else { return 0 };
        // SAFETY: the caller's duty.
        let result = unsafe { real(destructor, object, dso) };
        if super::is_armed() {
            register_again();
        }
        result
    }
}
