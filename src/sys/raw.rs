//! System calls as instructions, without libc between: what [`monkey`](crate::monkey) passes on, and what
//! the runtime itself makes, so that its own calls never meet a replaced function.
//!
//! An answer is what the kernel says: a number, or an error number negated. errno is left alone.

/// Makes a system call.
///
/// # Safety
/// * The call is one that takes these arguments: memory they name is as the kernel's manual says.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: the instruction clobbers `rcx` and `r11`, touches no stack, and the caller vouches for the rest.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    answer
}

/// Makes a system call.
///
/// # Safety
/// * The call is one that takes these arguments: memory they name is as the kernel's manual says.
#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> isize {
    let answer: isize;
    // SAFETY: the instruction clobbers nothing but `x0`, touches no stack, and the caller vouches for the rest.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => answer,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack),
        );
    }
    answer
}

/// Makes a system call by libc's function, for Miri, which knows the futex's call and no instruction.
///
/// # Safety
/// * The call is one that takes these arguments: memory they name is as the kernel's manual says.
#[cfg(miri)]
pub(crate) unsafe fn call(number: libc::c_long, args: [usize; 6]) -> isize {
    use core::ptr::with_exposed_provenance;

    assert_eq!(number, libc::SYS_futex, "Miri knows no other system call");
    let [word, operation, value, limit, ..] = args;
    let (word, limit) =
        (with_exposed_provenance::<u32>(word), with_exposed_provenance::<libc::timespec>(limit));
    // SAFETY: the caller's duty.
    let answer = unsafe { libc::syscall(number, word, operation as i32, value as i32, limit) };
    if answer == -1 {
        return std::io::Error::last_os_error().raw_os_error().map_or(-1, |error| -(error as isize));
    }
    answer as isize
}

/// What fits a register.
pub(crate) trait Word: Copy {
    fn word(self) -> usize;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        // A negative number is extended, as C's prototypes would have it.
        $(impl Word for $type {
            #[inline(always)]
            fn word(self) -> usize {
                self as usize
            }
        })*
    };
}

numbers!(i32, u32, i64, u64, usize, isize);

impl<T> Word for *const T {
    #[inline(always)]
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

impl<T> Word for *mut T {
    #[inline(always)]
    fn word(self) -> usize {
        self.expose_provenance()
    }
}

/// Up to six arguments as a system call takes them.
macro_rules! words {
    ($($argument:expr),* $(,)?) => {{
        #[allow(unused_imports, reason = "a call may have no arguments")]
        use $crate::sys::raw::Word as _;
        let given = [$($argument.word()),*];
        let mut all = [0usize; 6];
        all[..given.len()].copy_from_slice(&given);
        all
    }};
}
pub(crate) use words;

/// Tells whether an answer says that the call is not to be had: by a kernel that does not know it (`ENOSYS`), or by a
/// seccomp filter, for which containers use either number. Only for calls that answer `EPERM` for no other reason, or
/// whose replacement answers it for the same.
#[inline]
pub(crate) fn is_refused(answer: isize) -> bool {
    answer == -(libc::ENOSYS as isize) || answer == -(libc::EPERM as isize)
}

/// Turns an answer into a result.
#[inline]
pub(crate) fn result(answer: isize) -> std::io::Result<usize> {
    usize::try_from(answer).map_err(|_| std::io::Error::from_raw_os_error(-(answer as i32)))
}
