//! Calls that make, duplicate, configure and close descriptors. None of them waits; they keep the table true, on plain
//! threads as well once anything is patched.

use core::ffi::c_void;

use libc::{c_int, c_uint, socklen_t};

use super::hook::pass;
use super::offload::offload;
use super::patch::group::{FILES, SOCKETS};
use super::slot::{self, FLAGS_KNOWN, FORCED, Known, LINGERS, NO_TIMEOUT, NONBLOCKING, SOLE, WRITES_KNOWN};
use super::symbols::Symbol;
use super::{accept, errno, gate, kind, position, record_lock, turn, wait};
use crate::runtime::source;

/// Tells whether the table is in use. Counts the call if it comes from a coroutine.
pub(super) fn is_tracking(symbol: Symbol) -> bool {
    let tracking = gate::is_tracking();
    if tracking {
        gate::open(symbol);
    }
    tracking
}

/// Takes in what a call has made.
pub(super) fn made(symbol: Symbol, answer: isize, flags: u64) -> c_int {
    if let Ok(fd) = c_int::try_from(answer)
        && fd >= 0
        && is_tracking(symbol)
    {
        slot::adopt(fd, flags);
    }
    errno::result(answer) as c_int
}

/// libc's `socket`.
///
/// # Safety
/// * None; it takes numbers.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let flags = SOLE | kind::of_socket(domain, kind, protocol) as u64;
    made(Symbol::Socket, pass!(SYS_socket, domain, kind, protocol), flags)
}

/// libc's `socketpair`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    let answer = pass!(SYS_socketpair, domain, kind, protocol, pair);
    // SAFETY: the kernel has filled the caller's two.
    unsafe { super::made::made_pair(Symbol::Socketpair, answer, pair) }
}

/// Tells whether closing it may wait until everything has gone out.
fn lingers(known: Known) -> bool {
    let flags = known.flags();
    known.is_inet_stream() && (flags & SOLE == 0 || flags & LINGERS != 0) && kind::lingers(known.fd())
}

/// libc's `close`. Coroutines that wait on the descriptor get `EBADF`. One that may linger is closed by another thread.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn close(fd: c_int) -> c_int {
    let mut waits = false;
    if gate::is_tracking() {
        let may_wait = gate::open(Symbol::Close) && gate::is_patched(SOCKETS);
        waits = may_wait && slot::known_already(fd).is_some_and(lingers);
        slot::retire(fd);
    }
    if waits {
        let before = errno::get();
        let answer = offload(Symbol::Close, || pass!(SYS_close, fd));
        errno::set(before);
        return errno::result(answer) as c_int;
    }
    errno::result(pass!(SYS_close, fd)) as c_int
}

/// libc's `close_range`. One that the kernel refuses closes nothing, nor does one in a table of this thread's own.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if flags == 0 && is_tracking(Symbol::CloseRange) {
        slot::retire_range(first, last);
    }
    errno::result(pass!(SYS_close_range, first, last, flags)) as c_int
}

/// Has a duplicate share its file's offset with the original; gives its number. A handler makes no slots.
fn duplicated(old: c_int, new: c_int) -> c_int {
    if new >= 0 && gate::is_tracking() && !gate::in_handler() {
        position::share(old, new);
    }
    new
}

/// libc's `dup`.
///
/// # Safety
/// * None; it takes a number.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn dup(fd: c_int) -> c_int {
    if is_tracking(Symbol::Dup) {
        slot::share(fd);
    }
    duplicated(fd, made(Symbol::Dup, pass!(SYS_dup, fd), 0))
}

/// Tells whether the kernel puts a duplicate of `old` at `new`. If not, what is at `new` stays.
fn replaces(old: c_int, new: c_int) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let null = core::ptr::null::<libc::rlimit>();
    pass!(SYS_prlimit64, 0, libc::RLIMIT_NOFILE, null, &raw mut limit);
    let is_in_range = u64::try_from(new).is_ok_and(|new| new < limit.rlim_cur);
    is_in_range && pass!(SYS_fcntl, old, libc::F_GETFD) >= 0
}

fn duplicate(symbol: Symbol, old: c_int, new: c_int, flags: c_int) -> c_int {
    let tracks = old != new && flags & !libc::O_CLOEXEC == 0 && is_tracking(symbol) && replaces(old, new);
    if tracks {
        slot::share(old);
        slot::retire(new);
    }
    let answer = errno::result(pass!(SYS_dup3, old, new, flags)) as c_int;
    if tracks { duplicated(old, answer) } else { answer }
}

/// libc's `dup3`.
///
/// # Safety
/// * As for `close`, which it does to `new`.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    duplicate(Symbol::Dup3, old, new, flags)
}

/// libc's `dup2`.
///
/// # Safety
/// * As for `dup3`.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if old == new {
        let answer = pass!(SYS_fcntl, old, libc::F_GETFD);
        return errno::result(if answer < 0 { answer } else { new as isize }) as c_int;
    }
    duplicate(Symbol::Dup2, old, new, 0)
}

/// Sets the flags of the description; the user's wish for O_NONBLOCK ends `FORCED`.
fn set_flags(fd: c_int, flags: usize) -> isize {
    let Some(known) = slot::known_already(fd) else { return pass!(SYS_fcntl, fd, libc::F_SETFL, flags) };
    // A handler's thread may hold it.
    let _held = (!gate::in_handler()).then(|| known.slot.force.lock());
    let wants = flags & libc::O_NONBLOCK as usize != 0;
    let keep = if known.flags() & FORCED != 0 { libc::O_NONBLOCK as usize } else { 0 };
    let answer = pass!(SYS_fcntl, fd, libc::F_SETFL, flags | keep);
    // The new flags may make writes synchronous or direct.
    known.update(WRITES_KNOWN | FLAGS_KNOWN | NONBLOCKING | if wants { FORCED } else { 0 }, 0);
    answer
}

/// Says that another program will have the descriptor: it is about to be made to stay open across an exec.
fn survives_exec(fd: c_int) {
    if let Some(known) = slot::known_already(fd) {
        // First: without it nobody forces the listener again.
        known.update(SOLE, 0);
        accept::release(known);
    }
}

macro_rules! fcntl {
    ($($symbol:ident: $name:ident;)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`. Its third argument, if the command has one, is in the register")]
        /// of a third argument either way.
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name(fd: c_int, command: c_int, argument: usize) -> c_int {
            control(Symbol::$symbol, fd, command, argument)
        })*
    };
}

// C code that asks for files of more than two gigabytes calls the second.
fcntl! { Fcntl: fcntl; Fcntl64: fcntl64; }

fn control(symbol: Symbol, fd: c_int, command: c_int, argument: usize) -> c_int {
    let plain = || pass!(SYS_fcntl, fd, command, argument);
    if !gate::is_tracking() {
        return errno::result(plain()) as c_int;
    }
    let on_coroutine = gate::open(symbol);
    let answer = match command {
        libc::F_SETFL => set_flags(fd, argument),
        libc::F_GETFL => {
            let forced = slot::known_already(fd).is_some_and(|known| known.flags() & FORCED != 0);
            let answer = plain();
            if forced && answer >= 0 { answer & !(libc::O_NONBLOCK as isize) } else { answer }
        }
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            slot::share(fd);
            return duplicated(fd, made(symbol, plain(), 0));
        }
        libc::F_SETFD => {
            if argument & libc::FD_CLOEXEC as usize == 0 {
                survives_exec(fd);
            }
            plain()
        }
        libc::F_SETLKW | libc::F_OFD_SETLKW if on_coroutine && gate::is_patched(FILES) => {
            let before = errno::get();
            let answer = record_lock::wait(symbol, fd, command, argument);
            errno::set(before);
            answer
        }
        libc::F_SETLK | libc::F_OFD_SETLK if on_coroutine && gate::is_patched(FILES) => {
            let before = errno::get();
            let answer = turn::in_vain(symbol, plain());
            errno::set(before);
            answer
        }
        _ => plain(),
    };
    errno::result(answer) as c_int
}

/// libc's `ioctl`. See `fcntl` for its third argument.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, argument: usize) -> c_int {
    if request == libc::FIONCLEX as libc::c_ulong && is_tracking(Symbol::Ioctl) {
        survives_exec(fd);
    }
    if request == libc::FIONBIO as libc::c_ulong && is_tracking(Symbol::Ioctl) {
        let place = core::ptr::with_exposed_provenance::<c_int>(argument);
        // SAFETY: null, or the caller's number, as this request demands.
        if let (Some(known), Some(wanted)) = (slot::known_already(fd), unsafe { place.as_ref() }) {
            // As in `set_flags`.
            let _held = (!gate::in_handler()).then(|| known.slot.force.lock());
            let wants = *wanted != 0;
            let forced = known.flags() & FORCED != 0;
            let answer = if forced && !wants { 0 } else { pass!(SYS_ioctl, fd, request, argument) };
            known.update(FLAGS_KNOWN | NONBLOCKING | if wants { FORCED } else { 0 }, 0);
            return errno::result(answer) as c_int;
        }
    }
    let answer = pass!(SYS_ioctl, fd, request, argument);
    if request == libc::FIONREAD as libc::c_ulong && answer == 0 && gate::open(Symbol::Ioctl) {
        // How much there is to read: code that waits for some asks again and again.
        let before = errno::get();
        turn::in_vain(Symbol::Ioctl, answer);
        errno::set(before);
    }
    errno::result(answer) as c_int
}

/// libc's `setsockopt`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    if (level, name) == (libc::IPPROTO_TCP, libc::TCP_ULP) {
        source::doubt_short_reads();
    }
    let answer = pass!(SYS_setsockopt, fd, level, name, value, len);
    // Both widths of time are numbered next to each other; SOL_SOCKET has few others that could be meant.
    let timeout = [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO, 66, 67].contains(&name);
    if level == libc::SOL_SOCKET
        && timeout
        && is_tracking(Symbol::Setsockopt)
        && let Some(known) = slot::known_already(fd)
    {
        known.update(NO_TIMEOUT[0] | NO_TIMEOUT[1], 0);
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_RCVLOWAT)
        && answer == 0
        && is_tracking(Symbol::Setsockopt)
        && let Some(known) = slot::known_already(fd)
    {
        wait::note_low_water(known);
    }
    if (level, name) == (libc::SOL_SOCKET, libc::SO_LINGER)
        && answer == 0
        && is_tracking(Symbol::Setsockopt)
        && let Some(known) = slot::known_already(fd)
    {
        known.update(LINGERS, if kind::lingers(fd) { LINGERS } else { 0 });
    }
    errno::result(answer) as c_int
}
