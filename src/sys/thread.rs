//! The calling thread, as the kernel knows it.

/// The kernel's id of the calling thread.
pub(crate) fn id() -> i32 {
    // SAFETY: takes no arguments and cannot fail.
    unsafe { libc::gettid() }
}

/// Gives the processor to another thread. libc's function is replaced where `monkey` is, so this is the system call.
pub(crate) fn yield_now() {
    #[cfg(miri)]
    std::thread::yield_now();
    #[cfg(not(miri))]
    // SAFETY: takes no arguments.
    let _ = unsafe { super::raw::call(libc::SYS_sched_yield, [0; 6]) };
}

/// Says what a refused start of a thread needs, where the error's number does not.
pub(crate) fn explain_start(error: std::io::Error) -> std::io::Error {
    // No thread of this crate is given a scheduling policy, so pthread_create(3) has no other reason for it.
    if error.raw_os_error() != Some(libc::EPERM) {
        return error;
    }
    let text = "no thread can be started: a seccomp filter that refuses clone3 has to answer ENOSYS, not EPERM, so that \
                the C library goes on to clone";
    std::io::Error::new(error.kind(), text)
}

/// Sends a signal to one thread of this process. An id that no thread of it has is an error.
pub(crate) fn signal(thread: u32, signal: libc::c_int) -> std::io::Result<()> {
    // SAFETY: takes no arguments and cannot fail.
    let process = unsafe { libc::getpid() };
    // SAFETY: takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// The lowest address and the size of the calling thread's stack; `None` where the C library cannot tell.
pub(crate) fn own_stack() -> Option<(usize, usize)> {
    let mut attributes = core::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: takes no arguments and cannot fail.
    let own = unsafe { libc::pthread_self() };
    // SAFETY: fills the attributes in, of a thread that is alive.
    if unsafe { libc::pthread_getattr_np(own, attributes.as_mut_ptr()) } != 0 {
        return None;
    }
    let (mut lowest, mut size) = (core::ptr::null_mut(), 0);
    // SAFETY: attributes that were filled in, and places for the answer.
    let got = unsafe { libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size) };
    // SAFETY: filled in above, and not used after this.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    (got == 0).then(|| (lowest.addr(), size))
}

/// Runs `f` on a thread that the standard library has not started, and waits for its end.
///
/// Nothing of the calling thread's that the standard library hands to its threads reaches it, or the threads that it
/// starts: no capture of output by the test harness.
pub(crate) fn on_bare_thread<T: Send>(
    f: impl FnOnce() -> T + Send,
) -> std::io::Result<std::thread::Result<T>> {
    struct Work<F, T>(Option<F>, Option<std::thread::Result<T>>);
    extern "C" fn run<F: FnOnce() -> T, T>(work: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the thread that has started this one waits for its end, and leaves the work alone until then.
        let work = unsafe { &mut *work.cast::<Work<F, T>>() };
        let f = work.0.take().expect("a thread runs its work once");
        work.1 = Some(std::panic::catch_unwind(core::panic::AssertUnwindSafe(f)));
        core::ptr::null_mut()
    }
    fn start<F: FnOnce() -> T, T>(work: &mut Work<F, T>) -> std::io::Result<libc::pthread_t> {
        let mut thread = core::mem::MaybeUninit::uninit();
        let argument = core::ptr::from_mut(work).cast();
        // SAFETY: the attributes are the default; the caller keeps the work until the thread has ended.
        let code =
            unsafe { libc::pthread_create(thread.as_mut_ptr(), core::ptr::null(), run::<F, T>, argument) };
        if code != 0 {
            return Err(std::io::Error::from_raw_os_error(code));
        }
        // SAFETY: written, because the thread has started.
        Ok(unsafe { thread.assume_init() })
    }
    let mut work = Work(Some(f), None);
    let thread = start(&mut work)?;
    // SAFETY: a thread that was started above, and is joined here only.
    let code = unsafe { libc::pthread_join(thread, core::ptr::null_mut()) };
    assert_eq!(code, 0, "a thread that was started can be joined");
    Ok(work.1.expect("a thread that has ended has run its work"))
}

/// Nanoseconds of the clock that never goes back, the same in every process of the machine.
pub(crate) fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
