//! Signal handlers and their stacks, and a signal that is not wanted.

use std::io;

/// Installs a handler with siginfo, on the alternate stack, and returns what was there before.
///
/// # Safety
/// * `handler` is safe to run in a signal handler, at any moment, on any thread.
pub(crate) unsafe fn install(
    signal: libc::c_int,
    handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
) -> io::Result<libc::sigaction> {
    // SAFETY: all zeros is an action without flags and with an empty mask.
    let mut action: libc::sigaction = unsafe { core::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: all zeros is an action.
    let mut before: libc::sigaction = unsafe { core::mem::zeroed() };
    // SAFETY: both actions live through the call; the caller vouches for the handler.
    let result = unsafe { libc::sigaction(signal, &raw const action, &raw mut before) };
    if result == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

/// Calls the handler of an action that was replaced, if it is a function; true if it is.
///
/// # Safety
/// * It was the action of this signal, and the arguments are those of the handler that is running.
pub(crate) unsafe fn call(
    action: &libc::sigaction,
    number: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) -> bool {
    match action.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => return false,
        function if action.sa_flags & libc::SA_SIGINFO != 0 => {
            type Full = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            // SAFETY: SA_SIGINFO says that it is a function of this type.
            let function = unsafe { core::mem::transmute::<usize, Full>(function) };
            function(number, info, context);
        }
        function => {
            // SAFETY: without SA_SIGINFO it is a function of this type.
            let function = unsafe { core::mem::transmute::<usize, extern "C" fn(libc::c_int)>(function) };
            function(number);
        }
    }
    true
}

/// Tells whether the calling thread has an alternate signal stack.
pub(crate) fn has_alternate_stack() -> bool {
    // SAFETY: all zeros is a stack_t.
    let mut now: libc::stack_t = unsafe { core::mem::zeroed() };
    // SAFETY: asks only.
    let result = unsafe { libc::sigaltstack(core::ptr::null(), &raw mut now) };
    result == 0 && now.ss_flags & libc::SS_DISABLE == 0
}

/// Gives the calling thread an alternate signal stack; null takes it away.
///
/// # Safety
/// * The memory stays until another stack is set, or the thread ends.
pub(crate) unsafe fn set_alternate_stack(place: *mut u8, len: usize) {
    let flags = if place.is_null() { libc::SS_DISABLE } else { 0 };
    let stack = libc::stack_t { ss_sp: place.cast(), ss_flags: flags, ss_size: len };
    // SAFETY: the caller's duty.
    let _ = unsafe { libc::sigaltstack(&raw const stack, core::ptr::null_mut()) };
}

/// Runs `f`, which makes a file longer: at the limit on the length of files it gets an error (`EFBIG`), and not the
/// signal as well that would end the process.
pub(crate) fn without_size_signal<R>(f: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    // SAFETY: all zeros is a set.
    let mut signal: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: a set.
    unsafe { libc::sigemptyset(&raw mut signal) };
    // SAFETY: a set.
    unsafe { libc::sigaddset(&raw mut signal, libc::SIGXFSZ) };
    // SAFETY: all zeros is a set.
    let mut before: libc::sigset_t = unsafe { core::mem::zeroed() };
    // SAFETY: sets.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signal, &raw mut before) };
    let result = f();
    // SAFETY: a set.
    let was_blocked = unsafe { libc::sigismember(&raw const before, libc::SIGXFSZ) } == 1;
    if !was_blocked {
        if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) {
            let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: a set and a time; it takes the signal, which the kernel has sent to this thread.
            unsafe { libc::sigtimedwait(&raw const signal, core::ptr::null_mut(), &raw const now) };
        }
        // SAFETY: a set.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut()) };
    }
    result
}
