//! Functions on names that are more than one system call: libc's own, on another thread.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use core::{mem, ptr};

use libc::{c_int, mode_t, off_t};

use super::cached_name;
use super::lent::Lent;
use super::offload::offload;
use super::real::find;
use super::symbols::Symbol;
use super::{errno, gate, slot};

/// What a function of libc's answers, as a number.
pub(super) trait Answer: Copy {
    fn into_word(self) -> isize;
    fn from_word(word: isize) -> Self;
    /// Tells whether errno says more.
    fn is_error(self) -> bool;
}

impl<T> Answer for *mut T {
    fn into_word(self) -> isize {
        self.expose_provenance().cast_signed()
    }
    fn from_word(word: isize) -> Self {
        ptr::with_exposed_provenance_mut(word.cast_unsigned())
    }
    fn is_error(self) -> bool {
        self.is_null()
    }
}

impl Answer for c_int {
    fn into_word(self) -> isize {
        self as isize
    }
    fn from_word(word: isize) -> Self {
        word as Self
    }
    fn is_error(self) -> bool {
        self != 0
    }
}

/// Makes a call on another thread, and takes its errno over. errno is left alone by one that succeeds.
fn elsewhere<A: Answer>(symbol: Symbol, call: impl Fn() -> A + Sync) -> A {
    let before = errno::get();
    let number = AtomicI32::new(0);
    let answer = offload(symbol, || {
        // A function that returns its error leaves errno as it is.
        errno::set(before);
        let answer = call();
        // Relaxed, here and below: the end of the call orders the two threads.
        number.store(errno::get(), Ordering::Relaxed);
        answer.into_word()
    });
    let answer = A::from_word(answer);
    errno::set(if answer.is_error() { number.load(Ordering::Relaxed) } else { before });
    answer
}

/// libc's function of that name, looked for once; null if there is none.
pub(super) fn found(symbol: Symbol, place: &AtomicPtr<c_void>) -> *const c_void {
    // Relaxed: everybody finds the same.
    let mut seen = place.load(Ordering::Relaxed);
    if seen.is_null() {
        seen = find(symbol.name()).map_or(ptr::null_mut(), |found| found.as_ptr().cast_mut());
        place.store(seen, Ordering::Relaxed);
    }
    seen
}

macro_rules! inner {
    ($($symbol:ident: fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty, without $without:expr
        $(, then $then:path)? $(, named $named:ident)?;)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            type Real = unsafe extern "C" fn($($type),*) -> $result;
            static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
            let found = found(Symbol::$symbol, &FOUND);
            // SAFETY: null, or libc's function, which has this type.
            let Some(real) = (unsafe { mem::transmute::<*const c_void, Option<Real>>(found) }) else {
                return $without;
            };
            let answer = if gate::open(Symbol::$symbol) && true $(&& !cached_name::is_in_proc($named))? {
                let lent = Lent(($($arg,)*));
                elsewhere(Symbol::$symbol, || {
                    let ($($arg,)*) = lent.get();
                    // SAFETY: the caller's duty.
                    unsafe { real($($arg),*) }
                })
            } else {
                // SAFETY: the caller's duty.
                unsafe { real($($arg),*) }
            };
            $($then(answer);)?
            answer
        })*
    };
}

/// Takes in the descriptor of a directory that has been opened inside of libc.
fn opened(directory: *mut libc::DIR) {
    if !directory.is_null() && gate::is_tracking() {
        // SAFETY: just opened.
        slot::retire(unsafe { libc::dirfd(directory) });
    }
}

inner! {
    Opendir: fn opendir(name: *const c_char) -> *mut libc::DIR, without ptr::null_mut(), then opened, named name;
    Realpath: fn realpath(name: *const c_char, place: *mut c_char) -> *mut c_char, without ptr::null_mut(), named name;
    Remove: fn remove(name: *const c_char) -> c_int, without -1, named name;
    Faccessat: fn faccessat(at: c_int, name: *const c_char, mode: c_int, flags: c_int) -> c_int, without -1, named name;
    Fchmodat: fn fchmodat(at: c_int, name: *const c_char, mode: mode_t, flags: c_int) -> c_int, without -1, named name;
    Statvfs: fn statvfs(name: *const c_char, place: *mut libc::statvfs) -> c_int, without -1, named name;
    Statvfs64: fn statvfs64(name: *const c_char, place: *mut libc::statvfs) -> c_int, without -1, named name;
    PosixFallocate: fn posix_fallocate(fd: c_int, offset: off_t, len: off_t) -> c_int, without libc::ENOSYS;
    PosixFallocate64: fn posix_fallocate64(fd: c_int, offset: off_t, len: off_t) -> c_int, without libc::ENOSYS;
}
