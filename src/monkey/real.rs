//! libc's own functions, for what is more than a system call.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;

/// A function of libc.
#[derive(Clone, Copy)]
pub(super) struct Found(NonNull<c_void>);

impl Found {
    pub(super) fn as_ptr(self) -> *const c_void {
        self.0.as_ptr().cast_const()
    }
}

/// The next function of that name after this crate's, which is libc's. `None` in a static program: there nothing is
/// replaced, and nobody asks.
pub(super) fn find(name: &CStr) -> Option<Found> {
    if cfg!(target_feature = "crt-static") {
        return None;
    }
    // SAFETY: asks for a name.
    NonNull::new(unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }).map(Found)
}
