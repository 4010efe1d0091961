//! Signal handlers: while one runs, replaced functions only pass on.
//!
//! A handler may interrupt a coroutine anywhere, in the allocator or in the scheduler's own data, so it must not
//! park. There is no asking the kernel whether a handler runs; so every handler is called through `enter`,
//! which counts. Those installed before the patch are wrapped then, later ones when they are installed, and who asks
//! for the handler of a signal is given its own.
//!
//! A handler that leaves by `siglongjmp` stays counted: from then on, calls on that thread pass on.

use core::ffi::c_void;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use libc::{c_int, sighandler_t, siginfo_t};

use super::real::find;
use super::{errno, from_handler, gate};

const SIGNALS: usize = 65;

/// The program's own actions, by signal. Each is boxed, and stays: a handler may be reading it.
static ACTIONS: [AtomicPtr<libc::sigaction>; SIGNALS] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

type Real = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;

/// libc's `sigaction`. It adds what the kernel needs to return from a handler, so the plain call does not do.
fn real() -> Option<Real> {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
    // Relaxed: everybody finds the same.
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        found = find(c"sigaction").map_or(ptr::null_mut(), |found| found.as_ptr().cast_mut());
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: null, or libc's function, which has this type.
    unsafe { mem::transmute::<*mut c_void, Option<Real>>(found) }
}

/// # Safety
/// * As for `sigaction`.
unsafe fn call_real(signal: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
    let Some(real) = real() else {
        errno::set(libc::ENOSYS);
        return -1;
    };
    // SAFETY: the caller's duty.
    unsafe { real(signal, new, old) }
}

fn slot(signal: c_int) -> Option<&'static AtomicPtr<libc::sigaction>> {
    ACTIONS.get(usize::try_from(signal).ok()?)
}

fn is_function(handler: sighandler_t) -> bool {
    handler != libc::SIG_DFL && handler != libc::SIG_IGN && handler != libc::SIG_ERR
}

fn own_address() -> sighandler_t {
    enter as *const () as sighandler_t
}

/// The handler that the kernel calls.
extern "C" fn enter(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // Acquire pairs with the Release in `install`.
    let action = slot(signal).map_or(ptr::null_mut(), |slot| slot.load(Ordering::Acquire));
    // SAFETY: null, or an action, which is never freed.
    let Some(action) = (unsafe { action.as_ref() }) else { return };
    gate::enter_handler();
    if action.sa_flags & libc::SA_SIGINFO != 0 {
        type Full = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
        // SAFETY: the program installed it as a handler of this form.
        let handler = unsafe { mem::transmute::<sighandler_t, Full>(action.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: as above.
        let handler = unsafe { mem::transmute::<sighandler_t, extern "C" fn(c_int)>(action.sa_sigaction) };
        handler(signal);
    }
    gate::leave_handler();
}

/// Signals of the program's own faults: their handlers wake nobody.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];

/// Tells whether an action calls the same function in the same way. A handler that installs itself again must not
/// allocate.
fn is_same(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    one.sa_sigaction == other.sa_sigaction && one.sa_flags == other.sa_flags
}

/// Installs `action` behind `enter`, and tells what was there before.
fn install(signal: c_int, action: libc::sigaction, old: *mut libc::sigaction) -> c_int {
    let Some(slot) = slot(signal) else {
        errno::set(libc::EINVAL);
        return -1;
    };
    let mut wrapped = action;
    wrapped.sa_sigaction = own_address();
    wrapped.sa_flags |= libc::SA_SIGINFO;
    // Acquire: as in `enter`.
    let mut before = slot.load(Ordering::Acquire);
    // SAFETY: null, or an action, which is never freed.
    if !unsafe { before.as_ref() }.is_some_and(|before| is_same(before, &action)) {
        if !gate::in_handler() && !FAULTS.contains(&signal) {
            from_handler::start();
        }
        // Release pairs with the Acquire in `enter`. Before the call, so that `enter` never finds nothing.
        before = slot.swap(Box::into_raw(Box::new(action)), Ordering::AcqRel);
    }
    // SAFETY: the actions live through the call; `enter` is fit to be a handler if the program's own is.
    let result = unsafe { call_real(signal, &raw const wrapped, old) };
    if result != 0 {
        slot.store(before, Ordering::Release);
    }
    // SAFETY: null, or the caller's, which the call has filled.
    if let Some(old) = unsafe { old.as_mut() } {
        unwrap(old, before);
    }
    result
}

/// Puts the program's own action in the place of the wrapped one.
fn unwrap(seen: &mut libc::sigaction, own: *mut libc::sigaction) {
    if seen.sa_sigaction == own_address() {
        // SAFETY: null, or an action, which is never freed.
        if let Some(own) = unsafe { own.as_ref() } {
            seen.sa_sigaction = own.sa_sigaction;
            // `siginterrupt` may have changed the one flag since, and libc's own does not come through here.
            seen.sa_flags = own.sa_flags & !libc::SA_RESTART | seen.sa_flags & libc::SA_RESTART;
        }
    }
}

/// Wraps the handlers that are installed already.
pub(super) fn wrap_existing() {
    for signal in 1..SIGNALS as c_int {
        // SAFETY: all zeros is an action.
        let mut now: libc::sigaction = unsafe { mem::zeroed() };
        // SAFETY: asks only.
        let asked = unsafe { call_real(signal, ptr::null(), &raw mut now) };
        if asked == 0 && is_function(now.sa_sigaction) && now.sa_sigaction != own_address() {
            install(signal, now, ptr::null_mut());
        }
    }
}

/// libc's `sigaction`.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", allow(dead_code, reason = "nothing is replaced"))]
pub(super) unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: null, or the caller's action.
    let wanted = unsafe { new.as_ref() };
    if let Some(action) = wanted
        && gate::is_tracking()
        && is_function(action.sa_sigaction)
    {
        return install(signal, *action, old);
    }
    // Acquire: as in `enter`.
    let own = slot(signal).map_or(ptr::null_mut(), |slot| slot.load(Ordering::Acquire));
    // SAFETY: the caller's duty.
    let result = unsafe { call_real(signal, new, old) };
    // SAFETY: null, or the caller's, which the call has filled.
    if let Some(old) = unsafe { old.as_mut() } {
        unwrap(old, own);
    }
    result
}

/// Signals that `siginterrupt` has made interrupt system calls: `signal` installs their handlers that way.
static INTERRUPTING: AtomicU64 = AtomicU64::new(0);

/// libc's `signal`: BSD's, as glibc has it.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", allow(dead_code, reason = "nothing is replaced"))]
pub(super) unsafe extern "C" fn signal(number: c_int, handler: sighandler_t) -> sighandler_t {
    let Some(bit) = bit_of(number).filter(|_| handler != libc::SIG_ERR) else {
        errno::set(libc::EINVAL);
        return libc::SIG_ERR;
    };
    // SAFETY: all zeros is an action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    // Relaxed: a setting.
    let interrupts = INTERRUPTING.load(Ordering::Relaxed) & bit != 0;
    action.sa_flags = if interrupts { 0 } else { libc::SA_RESTART };
    // SAFETY: the mask is this frame's.
    unsafe { libc::sigaddset(&raw mut action.sa_mask, number) };
    // SAFETY: all zeros is an action.
    let mut before: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: both live through the call.
    let result = unsafe { sigaction(number, &raw const action, &raw mut before) };
    if result == 0 { before.sa_sigaction } else { libc::SIG_ERR }
}

/// The bit of a signal in a set.
fn bit_of(number: c_int) -> Option<u64> {
    (1..SIGNALS as c_int).contains(&number).then(|| 1 << (number - 1))
}

/// libc's `siginterrupt`: the handler that there is, and those that `signal` installs from now on.
///
/// # Safety
/// * None; it takes numbers.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", allow(dead_code, reason = "nothing is replaced"))]
pub(super) unsafe extern "C" fn siginterrupt(number: c_int, interrupts: c_int) -> c_int {
    let Some(bit) = bit_of(number) else {
        errno::set(libc::EINVAL);
        return -1;
    };
    // SAFETY: all zeros is an action.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: the place lives through the call.
    if unsafe { sigaction(number, ptr::null(), &raw mut action) } != 0 {
        return -1;
    }
    // Relaxed: settings.
    if interrupts == 0 {
        INTERRUPTING.fetch_and(!bit, Ordering::Relaxed);
        action.sa_flags |= libc::SA_RESTART;
    } else {
        INTERRUPTING.fetch_or(bit, Ordering::Relaxed);
        action.sa_flags &= !libc::SA_RESTART;
    }
    // SAFETY: the action lives through the call.
    unsafe { sigaction(number, &raw const action, ptr::null_mut()) }
}
