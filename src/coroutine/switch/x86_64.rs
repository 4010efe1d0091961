//! The switch in x86-64 assembly.
//!
//! Only `rsp`, `rbx`, `rbp` and the place to go on are saved by hand; every other register is declared
//! clobbered, so the compiler saves those that hold something, and no others. MXCSR and the x87
//! control word are left alone, as by a call.
//!
//! ```text
//! a side that does not run:        the first frame:
//!   sp+16  rbp                       sp+16  entry
//!   sp+8   rbx                       sp+8   arg
//!   sp     where it goes on          sp     trampoline
//! ```
//!
//! `rdi` holds the address of the context word on both sides of a switch, `rsi` what `exchange` returns.
//!
//! The trampoline's unwind rules say that its caller is whoever the context word names: the resumer,
//! `sp + 24` in its frame. So a backtrace goes from the coroutine on into its resumer. A panic never
//! gets there: the entry does not unwind.
//!
//! Source of the idea to declare instead of save: corosensei.

use core::arch::{asm, naked_asm};

use super::{Entry, Raw, SavedRegisters, Switch};

/// The switch written by hand for x86-64.
#[derive(Debug)]
pub enum Assembly {}

impl Switch for Assembly {
    const NAME: &'static str = "assembly";
}

/// Where a new coroutine begins: `rdi` is the address of its context word, and `arg` and `entry` lie
/// on its stack.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() {
    naked_asm!(
        ".cfi_startproc",
        // DW_CFA_def_cfa_expression: DW_OP_breg3 (rbx) +0, DW_OP_deref, DW_OP_plus_uconst 24.
        ".cfi_escape 0x0f, 5, 0x73, 0, 0x06, 0x23, 24",
        ".cfi_offset rip, -24",
        ".cfi_offset rbx, -16",
        ".cfi_offset rbp, -8",
        "pop rax",      // arg
        "pop rcx",      // entry
        "mov rbx, rdi", // the context word, kept through the call
        "mov rdi, rax",
        "mov rax, [rbx]",
        "lea rbp, [rax + 16]", // a frame-pointer walk goes on at the resumer's saved rbp
        "call rcx",
        "mov rsp, [rbx]", // finished: to the resumer, for good
        "mov rdi, rbx",
        "mov esi, 1",
        "pop rax",
        "jmp rax",
        "ud2",
        ".cfi_endproc",
    )
}

impl Raw for Assembly {
    type Context = *mut usize;

    unsafe fn first(top: *mut u8, _bottom: *mut u8, entry: Entry, arg: *mut ()) -> *mut usize {
        // Five words below the top: after the trampoline's three pops `rsp` is 16-byte aligned.
        let sp = top.cast::<usize>().wrapping_sub(5);
        let frame = [trampoline as *const () as usize, arg.expose_provenance(), entry as usize, 0, 0];
        // SAFETY: the caller gives a writable, unused stack, far larger than five words.
        unsafe { sp.cast::<[usize; 5]>().write(frame) };
        sp
    }

    #[inline(always)]
    unsafe fn exchange(context: *mut *mut usize) -> bool {
        let finished: usize;
        // SAFETY: `*context` is a side that was left by this very code, or laid out by `first`, so the
        // three words at its top are what the landing code pops. What this side needs later is on its
        // stack, or clobbered and so saved by the compiler around this block.
        unsafe {
            asm!(
                "push rbp",
                "push rbx",
                "lea rax, [rip + 2f]",
                "push rax",
                "mov rax, [rdi]",
                "mov [rdi], rsp",
                "mov rsp, rax",
                "pop rax",
                "jmp rax",
                "2:",
                "pop rbx",
                "pop rbp",
                inout("rdi") context => _,
                inout("rsi") 0usize => finished,
                out("rax") _, out("rcx") _, out("rdx") _,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("sysv64"),
            );
        }
        finished != 0
    }

    unsafe fn saved(context: *mut usize) -> SavedRegisters {
        // SAFETY: a suspended side has three words at its stack pointer.
        let [ip, bx, bp] = unsafe { context.cast::<[usize; 3]>().read() };
        SavedRegisters { sp: context.addr(), ip: Some(ip), bp: Some(bp), bx: Some(bx) }
    }
}
