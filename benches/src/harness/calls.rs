//! How many kernel calls a piece of code makes: counted by tracing it, call by call.
//!
//! The process forks while it has one thread; the child runs the code, the parent follows it and every
//! thread it starts with `ptrace`. The code marks where counting begins and ends by a call that the kernel
//! refuses. What counts are the calls of the thread that has marked the beginning.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Options of `prctl` that do not exist.
const BEGIN: libc::c_int = 0x5250_5731;
const END: libc::c_int = 0x5250_5732;

/// To be called by the code that is counted.
pub fn begin_counting() {
    // SAFETY: the kernel refuses the option.
    unsafe { libc::prctl(BEGIN) };
}

/// To be called by the code that is counted, on the same thread.
pub fn end_counting() {
    // SAFETY: the kernel refuses the option.
    unsafe { libc::prctl(END) };
}

/// Runs `code` in a copy of this process, and counts; `NaN` where the system does not allow tracing.
///
/// # Panics
/// If the copy ends without having reached the end of the counted part.
pub fn kernel_calls(code: impl FnOnce()) -> f64 {
    // SAFETY: measuring processes have a single thread until the code starts others.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "cannot fork: {}", io::Error::last_os_error());
    if child == 0 {
        // SAFETY: asks the parent to trace; no pointers are used.
        let traced =
            unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, ptr::null_mut::<u8>(), ptr::null_mut::<u8>()) };
        if traced == 0 {
            // SAFETY: stops this process until the parent continues it.
            unsafe { libc::raise(libc::SIGSTOP) };
            code();
        }
        super::kernel::exit_now();
    }
    follow(child)
}

pub(super) fn request(what: libc::c_uint, thread: libc::pid_t, data: usize) {
    // SAFETY: these requests take a number as data and no address. A thread that is gone is no error.
    unsafe { libc::ptrace(what, thread, ptr::null_mut::<u8>(), ptr::without_provenance_mut::<u8>(data)) };
}

/// The number and first argument of the call that `thread` is about to make; `None` on its way back.
pub(super) fn call_of(thread: libc::pid_t) -> Option<(u64, u64)> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = ptr::without_provenance_mut::<u8>(size_of::<libc::ptrace_syscall_info>());
    // SAFETY: the kernel writes no more than the size given.
    unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, info.as_mut_ptr()) };
    // SAFETY: all zeros is valid, and so is what the kernel writes.
    let info = unsafe { info.assume_init() };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel says that it is an entry.
    let entry = unsafe { info.u.entry };
    Some((entry.nr, entry.args[0]))
}

fn follow(child: libc::pid_t) -> f64 {
    const OPTIONS: libc::c_int =
        libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    let mut counted: Option<libc::pid_t> = None;
    let (mut calls, mut ended, mut begun) = (0u64, false, false);
    loop {
        let mut status = 0;
        // SAFETY: the status is a place for the kernel to write to.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        assert!(thread > 0, "lost the traced process: {}", io::Error::last_os_error());
        if !libc::WIFSTOPPED(status) {
            if thread == child {
                break;
            }
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let mut pass_on = 0;
        if signal == libc::SIGTRAP | 0x80 {
            match call_of(thread) {
                Some((number, first)) if number == libc::SYS_prctl as u64 && first == BEGIN as u64 => {
                    (counted, begun) = (Some(thread), true);
                }
                Some((number, first)) if number == libc::SYS_prctl as u64 && first == END as u64 => {
                    (counted, ended) = (None, true);
                }
                Some((number, _)) if counted == Some(thread) => {
                    calls += 1;
                    // For whoever asks which: BENCH_STDERR shows it.
                    eprintln!("kernel call {number}");
                }
                _ => {}
            }
        } else if signal == libc::SIGSTOP {
            // The first stop of the process, or of a thread that it has started.
            request(libc::PTRACE_SETOPTIONS, thread, OPTIONS as usize);
        } else if signal != libc::SIGTRAP {
            pass_on = signal;
        }
        request(libc::PTRACE_SYSCALL, thread, pass_on as usize);
    }
    if !begun {
        return f64::NAN;
    }
    assert!(ended, "the traced process ended before the counted part did");
    calls as f64
}
