//! Calls that make descriptors which are no sockets: whatever was known of their numbers is forgotten, on plain threads as
//! well. A number may have been closed by code that does not call libc's `close`, libc itself included.

use libc::{c_char, c_int, c_uint, mode_t, sigset_t};

use super::descriptor::{is_tracking, made};
use super::hook::pass;
use super::slot::{self, SOLE};
use super::symbols::Symbol;
use super::{errno, files};

/// Takes in the two ends that a call has made.
///
/// # Safety
/// * `pair` has room for two, which the call has filled if it answered 0.
pub(super) unsafe fn made_pair(symbol: Symbol, answer: isize, pair: *const c_int) -> c_int {
    if answer == 0 && is_tracking(symbol) {
        // SAFETY: the caller's duty.
        for fd in unsafe { pair.cast::<[c_int; 2]>().read() } {
            slot::adopt(fd, SOLE);
        }
    }
    errno::result(answer) as c_int
}

/// libc's `pipe`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn pipe(ends: *mut c_int) -> c_int {
    let answer = pass!(SYS_pipe2, ends, 0);
    // SAFETY: the caller's duty.
    unsafe { made_pair(Symbol::Pipe, answer, ends) }
}

/// libc's `pipe2`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn pipe2(ends: *mut c_int, flags: c_int) -> c_int {
    let answer = pass!(SYS_pipe2, ends, flags);
    // SAFETY: the caller's duty.
    unsafe { made_pair(Symbol::Pipe2, answer, ends) }
}

macro_rules! makes {
    ($($symbol:ident: fn $name:ident($($arg:ident: $type:ty),*) = $number:ident($($given:expr),*);)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name($($arg: $type),*) -> c_int {
            made(Symbol::$symbol, pass!($number $(, $given)*), SOLE)
        })*
    };
}

makes! {
    Eventfd: fn eventfd(start: c_uint, flags: c_int) = SYS_eventfd2(start, flags);
    TimerfdCreate: fn timerfd_create(clock: c_int, flags: c_int) = SYS_timerfd_create(clock, flags);
    EpollCreate1: fn epoll_create1(flags: c_int) = SYS_epoll_create1(flags);
    InotifyInit: fn inotify_init() = SYS_inotify_init1(0);
    InotifyInit1: fn inotify_init1(flags: c_int) = SYS_inotify_init1(flags);
    MemfdCreate: fn memfd_create(name: *const c_char, flags: c_uint) = SYS_memfd_create(name, flags);
}

/// libc's `signalfd`, which makes a descriptor, or gives one that there is another set of signals.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn signalfd(fd: c_int, mask: *const sigset_t, flags: c_int) -> c_int {
    let answer = pass!(SYS_signalfd4, fd, mask, 8usize, flags);
    if fd == -1 { made(Symbol::Signalfd, answer, SOLE) } else { errno::result(answer) as c_int }
}

/// libc's `epoll_create`: the size says nothing, but must be more than 0.
///
/// # Safety
/// * None; it takes a number.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn epoll_create(size: c_int) -> c_int {
    let answer = if size > 0 { pass!(SYS_epoll_create1, 0) } else { errno::raw(libc::EINVAL) };
    made(Symbol::EpollCreate, answer, SOLE)
}

/// libc's `creat`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn creat(name: *const c_char, mode: mode_t) -> c_int {
    files::open_either(Symbol::Creat, libc::AT_FDCWD, name, CREATES, mode)
}

/// libc's `creat64`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn creat64(name: *const c_char, mode: mode_t) -> c_int {
    files::open_either(Symbol::Creat64, libc::AT_FDCWD, name, CREATES, mode)
}

const CREATES: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
