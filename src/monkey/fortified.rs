//! What C's compilers make of calls when they check buffers (`_FORTIFY_SOURCE`, as distributions build with): glibc's
//! `__read_chk` and its kin, which would go to the kernel from inside of libc.

use core::ffi::{c_char, c_void};
use core::mem;

use libc::{c_int, nfds_t, off_t, pollfd, sigset_t, size_t, sockaddr, socklen_t, ssize_t, timespec};

use super::files::open_either;
use super::real::find;
use super::symbols::Symbol;
use super::{by_name, files, inner, message, poll, stream};

/// Ends the process, as glibc does when a buffer is too small for what is asked for.
#[cold]
fn fail() -> ! {
    if let Some(found) = find(c"__chk_fail") {
        // SAFETY: libc's function has this type.
        let fail = unsafe { mem::transmute::<*const c_void, unsafe extern "C" fn()>(found.as_ptr()) };
        // SAFETY: takes no arguments.
        unsafe { fail() };
    }
    std::process::abort()
}

macro_rules! checked {
    ($($name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty,
        if $fits:expr => $function:path = ($($given:expr),*);)*) => {
        $(#[doc = concat!("glibc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says of the function without the check.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            if !$fits {
                fail();
            }
            // SAFETY: the caller's duty.
            unsafe { $function($($given),*) }
        })*
    };
}

checked! {
    __read_chk(fd: c_int, buffer: *mut c_void, count: size_t, room: size_t) -> ssize_t,
        if count <= room => stream::read = (fd, buffer, count);
    __pread_chk(fd: c_int, buffer: *mut c_void, count: size_t, offset: off_t, room: size_t) -> ssize_t,
        if count <= room => files::pread = (fd, buffer, count, offset);
    __pread64_chk(fd: c_int, buffer: *mut c_void, count: size_t, offset: off_t, room: size_t) -> ssize_t,
        if count <= room => files::pread64 = (fd, buffer, count, offset);
    __recv_chk(fd: c_int, buffer: *mut c_void, count: size_t, room: size_t, flags: c_int) -> ssize_t,
        if count <= room => message::recv = (fd, buffer, count, flags);
    __recvfrom_chk(
        fd: c_int, buffer: *mut c_void, count: size_t, room: size_t, flags: c_int,
        peer: *mut sockaddr, len: *mut socklen_t
    ) -> ssize_t,
        if count <= room => message::recvfrom = (fd, buffer, count, flags, peer, len);
    __readlink_chk(name: *const c_char, buffer: *mut c_char, count: size_t, room: size_t) -> ssize_t,
        if count <= room => by_name::readlink = (name, buffer, count);
    __readlinkat_chk(at: c_int, name: *const c_char, buffer: *mut c_char, count: size_t, room: size_t) -> ssize_t,
        if count <= room => by_name::readlinkat = (at, name, buffer, count);
    __realpath_chk(name: *const c_char, place: *mut c_char, room: size_t) -> *mut c_char,
        if room >= libc::PATH_MAX as size_t => inner::realpath = (name, place);
    __poll_chk(list: *mut pollfd, count: nfds_t, millis: c_int, room: size_t) -> c_int,
        if count as usize <= room / size_of::<pollfd>() => poll::poll = (list, count, millis);
    __ppoll_chk(
        list: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t, room: size_t
    ) -> c_int,
        if count as usize <= room / size_of::<pollfd>() => poll::ppoll = (list, count, limit, mask);
}

/// Opens without a mode; flags that need one end the process.
fn open_checked(symbol: Symbol, directory: c_int, name: *const c_char, flags: c_int) -> c_int {
    if flags & libc::O_CREAT != 0 || flags & libc::O_TMPFILE == libc::O_TMPFILE {
        fail();
    }
    open_either(symbol, directory, name, flags, 0)
}

macro_rules! open_checked {
    ($($symbol:ident: $name:ident($($directory:ident)?);)*) => {
        $(#[doc = concat!("glibc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says of the function without the check.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($directory: c_int,)? name: *const c_char, flags: c_int) -> c_int {
            #[allow(unused_variables, reason = "the one without a directory")]
            let place = libc::AT_FDCWD;
            $(let place = $directory;)?
            open_checked(Symbol::$symbol, place, name, flags)
        })*
    };
}

open_checked! {
    OpenChk: __open_2();
    Open64Chk: __open64_2();
    OpenatChk: __openat_2(directory);
    Openat64Chk: __openat64_2(directory);
}
