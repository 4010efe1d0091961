//! Look-ups of the old kind, `gethostbyname` and its kin: libc's own functions, on threads of the pool.
//!
//! Their answers lie in the caller's buffers (`_r`), or in a place of libc's that the next look-up of the process
//! overwrites, as ever. Errors are in h_errno and errno, which are a thread's, so they are carried across.
//! Unlike `names`, the caller's memory is used by that thread: a cancellation is held back until it has answered.

use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicI32, Ordering};
use core::{mem, ptr};

use libc::{c_int, hostent, size_t, socklen_t};

use super::inner::Answer;
use super::lent::Lent;
use super::offload::offload;
use super::real::find;
use super::symbols::Symbol;
use super::{errno, gate};

/// The calling thread's h_errno, if libc has one.
fn host_error<'a>() -> Option<&'a mut c_int> {
    type Location = unsafe extern "C" fn() -> *mut c_int;
    let found = find(c"__h_errno_location")?;
    // SAFETY: libc's function has this type.
    let location = unsafe { mem::transmute::<*const c_void, Location>(found.as_ptr()) };
    // SAFETY: takes no arguments.
    let place = unsafe { location() };
    // SAFETY: null, or the thread's own, which nobody else refers to.
    unsafe { place.as_mut() }
}

/// Makes a look-up on another thread, and takes its errors over. errno is left alone by one that succeeds.
fn look_up<A: Answer>(symbol: Symbol, call: impl Fn() -> A + Sync) -> A {
    let before = errno::get();
    let (told, number) = (AtomicI32::new(0), AtomicI32::new(0));
    let answer = offload(symbol, || {
        let answer = call();
        // Relaxed, here and below: the end of the call orders the two threads.
        number.store(errno::get(), Ordering::Relaxed);
        told.store(host_error().map_or(0, |place| *place), Ordering::Relaxed);
        answer.into_word()
    });
    let answer = A::from_word(answer);
    if let Some(place) = host_error() {
        *place = told.load(Ordering::Relaxed);
    }
    errno::set(if answer.is_error() { number.load(Ordering::Relaxed) } else { before });
    answer
}

macro_rules! old {
    ($($symbol:ident: fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty, without $without:expr;)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            type Real = unsafe extern "C" fn($($type),*) -> $result;
            let Some(found) = find(Symbol::$symbol.name()) else { return $without };
            // SAFETY: libc's function has this type.
            let real = unsafe { mem::transmute::<*const c_void, Real>(found.as_ptr()) };
            if !gate::open(Symbol::$symbol) {
                // SAFETY: the caller's duty.
                return unsafe { real($($arg),*) };
            }
            let lent = Lent(($($arg,)*));
            look_up(Symbol::$symbol, || {
                let ($($arg,)*) = lent.get();
                // SAFETY: the caller's duty.
                unsafe { real($($arg),*) }
            })
        })*
    };
}

old! {
    Gethostbyname: fn gethostbyname(name: *const c_char) -> *mut hostent, without ptr::null_mut();
    Gethostbyname2: fn gethostbyname2(name: *const c_char, family: c_int) -> *mut hostent, without ptr::null_mut();
    Gethostbyaddr: fn gethostbyaddr(
        address: *const c_void,
        len: socklen_t,
        family: c_int,
    ) -> *mut hostent, without ptr::null_mut();
    GethostbynameR: fn gethostbyname_r(
        name: *const c_char,
        place: *mut hostent,
        buffer: *mut c_char,
        room: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int, without libc::ENOSYS;
    Gethostbyname2R: fn gethostbyname2_r(
        name: *const c_char,
        family: c_int,
        place: *mut hostent,
        buffer: *mut c_char,
        room: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int, without libc::ENOSYS;
    GethostbyaddrR: fn gethostbyaddr_r(
        address: *const c_void,
        len: socklen_t,
        family: c_int,
        place: *mut hostent,
        buffer: *mut c_char,
        room: size_t,
        result: *mut *mut hostent,
        error: *mut c_int,
    ) -> c_int, without libc::ENOSYS;
}
