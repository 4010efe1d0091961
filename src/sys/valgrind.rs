//! What Valgrind has to be told of stacks; see its manual, "The Client Request mechanism".
//!
//! Run it with `--max-stackframe=131072`: a step of the stack pointer by more is a switch to it then, and the
//! slots of stacks are further apart. Its other way, stacks that register themselves, fails with several
//! threads: it remembers one current stack for all of them, and ignores the first large frame of a thread
//! that was preempted on a coroutine, whose variables it then takes for no man's land.

/// Says that a new coroutine begins on `bottom .. top`: what the one before has popped may be used again.
#[inline]
pub(crate) fn renew_stack(bottom: *mut u8, top: *mut u8) {
    // Memcheck's MAKE_MEM_UNDEFINED; no other tool knows it.
    const MAKE_UNDEFINED: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16 | 1;
    request([MAKE_UNDEFINED, bottom.addr(), top.addr() - bottom.addr(), 0, 0, 0]);
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn request(words: [usize; 6]) {
    // SAFETY: the rotations of rdi add up to two whole turns, and rbx is exchanged with itself. Valgrind
    // reads the six words at rax and puts its answer, which nobody needs, into rdx.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") words.as_ptr(),
            inout("rdx") 0usize => _,
            options(nostack),
        );
    }
}

/// Requests are written for x86-64 only.
#[cfg(not(target_arch = "x86_64"))]
fn request(_words: [usize; 6]) {}
