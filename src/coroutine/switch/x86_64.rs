//! The switch in x86-64 assembly.
//!
//! Only `rsp`, `rbx`, `rbp` and the place to go on are saved by hand; every other register is declared
//! clobbered, so the compiler saves those that hold something, and no others. MXCSR and the x87
//! control word are left alone, as by a call.
//!
//! ```text
//! a coroutine that is suspended:   a resumer that waits:      the first frame:
//!   sp+24  its stack pointer         sp+24  its stack pointer   sp+24  the stack pointer
//!   sp+16  rbp                       sp+16  rbx                 sp+16  entry
//!   sp+8   rbx                       sp+8   where it goes on    sp+8   arg
//!   sp     where it goes on          sp     rbp                 sp     trampoline
//! ```
//!
//! The three words lie below the stack pointer, in the red zone, which no signal handler touches. The compiler
//! keeps nothing there around inline assembly that may push. Thus the stack pointer of either side moves once in
//! a switch: to the other stack, after everything else that its unwinding needs has been set.
//!
//! Both ways lead over a jump, not over `call` and `ret`. The side that goes on finishes the switch, on arrival:
//! it sets the link, loads its `rbx` and `rbp`, and moves to its own stack.
//!
//! Why jumps: the processor predicts where a `ret` goes to from its record of calls, last in, first out. A
//! coroutine that has waited returns through the frames it waited in. Had the resume left its own return address on
//! the record, each of these returns would be predicted wrongly, and the suspension that follows as well; that made
//! up a third of a message to another coroutine and back. A jump leaves the record alone: what it says of the
//! frames is what the coroutine that ran before has left, which is the same if both do the same. Where a jump
//! goes to the processor learns.
//!
//! | register | into the coroutine | back |
//! |---|---|---|
//! | `rdi` | address of the link | address of the link |
//! | `rsi` | the word that travels | the word that travels |
//! | `rdx` | the order | 1 if finished |
//! | `rcx` | the coroutine's context | the same, as it is now; 0 if finished |
//! | `rax` | | the resumer's context |
//!
//! # Unwinding
//! A signal can interrupt any instruction, and its handler can unwind from there, as a sampling profiler does. So
//! the unwind rules (`.cfi_…`) hold at each instruction:
//!
//! | where | the caller's frame |
//! |---|---|
//! | before the jump, either way | as the compiler says: no register that it counts on has changed |
//! | on arrival in the coroutine, and in the trampoline | the resumer, as if it had called: its stack pointer is in `rsp` |
//! | the trampoline on its own stack | the resumer, by the link, which lies at `rsp`: the frame begins at `*link + 24` |
//! | on arrival in the resumer | itself, where it waits: the frame begins at `rax + 24` |
//! | after the stack pointer has moved | as the compiler says |
//!
//! The link is the resumer's context whenever an unwinding passes the trampoline. Going in, it is set before the
//! stack pointer moves; going back, it is overwritten after that.
//!
//! The rule of the trampoline uses the stack pointer alone. While libgcc installs the context of a landing pad, its
//! own frame gives the callee-saved registers of the frame that catches: `rbx` or `rbp` would lead astray then.
//!
//! A second way leads from the coroutine to its resumer: in the trampoline's callee `rbp` points to the link, which
//! points to the resumer's `rbp` and its return address: a frame record. (The word after the link passes for a return
//! address that nobody knows.) A panic never gets there: the entry does not unwind.
//!
//! Source of the idea to declare registers clobbered instead of saving them: corosensei.

use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::arch::{asm, naked_asm};

use super::{Entry, Order, Raw, SavedRegisters, Switch, Word};

/// The switch written by hand for x86-64.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Assembly, Coroutine, Switch};
///
/// let count = Coroutine::<(), u32, (), Assembly>::new(|out, ()| (0..4).for_each(|n| out.suspend(n)));
/// assert!(count.snapshot().unwrap().registers.sp > 0);
/// assert!(count.eq([0, 1, 2, 3]));
/// assert_eq!(Assembly::NAME, "assembly");
/// ```
#[derive(Debug)]
pub enum Assembly {}

/// Lines of 64 bytes that a coroutine needs at once when it goes on after a read: the frames of the wait, and of the read.
const FETCHED_LINES: usize = 4;

impl Switch for Assembly {
    const NAME: &'static str = "assembly";
}

/// Where a new coroutine begins, on the resumer's stack; registers as in the table above.
#[unsafe(naked)]
unsafe extern "C" fn trampoline() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_def_cfa rsp, 0",
        ".cfi_offset rip, -16",
        ".cfi_offset rbx, -8",
        "mov [rsp - 24], rbp",
        ".cfi_offset rbp, -24",
        "lea rax, [rsp - 24]",
        "mov [rdi], rax",
        "mov [rcx + 24], rdi", // the link, where the rule below finds it
        "mov rbp, rdi",        // and the frame record
        "lea rsp, [rcx + 24]",
        // DW_CFA_def_cfa_expression: DW_OP_breg7 (rsp) +0, DW_OP_deref, DW_OP_deref, DW_OP_plus_uconst 24.
        ".cfi_escape 0x0f, 6, 0x77, 0, 0x06, 0x06, 0x23, 24",
        "mov rdi, [rsp - 16]", // arg
        "call [rsp - 8]",      // entry; rsi: the word, rdx: the order
        "mov rdi, [rsp]",
        "mov rax, [rdi]", // finished: to the resumer, for good
        "xor ecx, ecx",
        "mov edx, 1",
        "jmp [rax + 8]",
        ".cfi_endproc",
    )
}

impl Raw for Assembly {
    type Context = *mut usize;

    unsafe fn first(top: *mut u8, _bottom: *mut u8, entry: Entry, arg: *mut ()) -> *mut usize {
        // Five words below the top: three words above that `rsp` is 16-byte aligned.
        let sp = top.cast::<usize>().wrapping_sub(5);
        let frame = [trampoline as *const () as usize, arg.expose_provenance(), entry as usize, 0, 0];
        // SAFETY: the caller gives a writable, unused stack, far larger than five words.
        unsafe { sp.cast::<[usize; 5]>().write(frame) };
        sp
    }

    #[inline(always)]
    unsafe fn resume(
        link: *mut *mut usize,
        coroutine: *mut usize,
        word: Word,
        order: Order,
    ) -> (*mut usize, Option<Word>) {
        let (back, finished, saved): (Word, usize, *mut usize);
        // SAFETY: the coroutine was left by `suspend` or laid out by `first`, so what its context points
        // to is where it goes on. It comes back to the label with this side's context in `rax`.
        // What this side needs later is on its stack, or clobbered and so saved by the compiler.
        unsafe {
            asm!(
                "mov [rsp - 8], rbx",
                "lea rax, [rip + 2f]",
                "mov [rsp - 16], rax",
                "jmp [rcx]",
                "2:", // on the coroutine's stack still
                ".cfi_remember_state",
                ".cfi_def_cfa rax, 24",
                ".cfi_offset rbx, -8",
                ".cfi_offset rip, -16",
                ".cfi_offset rbp, -24",
                // The rules in force would look for these on the other stack.
                ".cfi_same_value r12",
                ".cfi_same_value r13",
                ".cfi_same_value r14",
                ".cfi_same_value r15",
                "mov rbx, [rax + 16]",
                "mov rbp, [rax]",
                "lea rsp, [rax + 24]",
                ".cfi_restore_state",
                "mov [rdi], rcx",
                inout("rdi") link => _,
                inout("rsi") word => back,
                inout("rdx") order as usize => finished,
                inout("rcx") coroutine => saved,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("sysv64"),
            );
        }
        (saved, (finished == 0).then_some(back))
    }

    #[inline(always)]
    unsafe fn suspend(link: *mut *mut usize, word: Word) -> (Word, Order) {
        let (back, order): (Word, usize);
        // SAFETY: `*link` is the resumer, left by `resume`: its context, whose second word is where it goes on.
        // The code after the label is entered by `resume` with the registers it needs.
        unsafe {
            asm!(
                "mov [rsp - 8], rbp",
                "mov [rsp - 16], rbx",
                "lea rax, [rip + 2f]",
                "mov [rsp - 24], rax",
                "lea rcx, [rsp - 24]",
                "mov rax, [rdi]",
                "jmp [rax + 8]",
                "2:", // on the resumer's stack still
                ".cfi_remember_state",
                ".cfi_def_cfa rsp, 0",
                ".cfi_offset rbx, -8",
                ".cfi_offset rip, -16",
                ".cfi_same_value rbp",
                // The rules in force would look for these on the other stack.
                ".cfi_same_value r12",
                ".cfi_same_value r13",
                ".cfi_same_value r14",
                ".cfi_same_value r15",
                "mov [rsp - 24], rbp",
                ".cfi_offset rbp, -24",
                "lea rax, [rsp - 24]",
                "mov [rdi], rax",
                "mov rbx, [rcx + 8]",
                "mov rbp, [rcx + 16]",
                "lea rsp, [rcx + 24]",
                ".cfi_restore_state",
                inout("rdi") link => _,
                inout("rsi") word => back,
                inout("rdx") 0usize => order,
                out("r12") _, out("r13") _, out("r14") _, out("r15") _,
                clobber_abi("sysv64"),
            );
        }
        (back, Order::of(order))
    }

    #[inline(always)]
    fn fetch_stack(context: *mut usize) {
        (0..FETCHED_LINES).for_each(|line| Self::fetch_place(context.wrapping_byte_add(64 * line).cast()));
    }

    #[inline(always)]
    fn fetch_place(place: *const ()) {
        // SAFETY: a hint, which touches nothing, wherever it points to.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }

    unsafe fn saved(context: *mut usize) -> SavedRegisters {
        // SAFETY: a suspended side has three words at its stack pointer.
        let [ip, bx, bp] = unsafe { context.cast::<[usize; 3]>().read() };
        SavedRegisters { sp: context.addr(), ip: Some(ip), bp: Some(bp), bx: Some(bx) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coroutine::stack::Stack;

    /// What `rbp` points to in code with frame pointers.
    #[repr(C)]
    struct Record {
        next: *const Record,
        ip: usize,
    }

    /// Gives its frame pointer, as the trampoline has set it, to the resumer.
    #[unsafe(naked)]
    unsafe extern "C" fn tell_frame(arg: *mut (), _: Word, _: usize) {
        naked_asm!("mov [rdi], rbp", "ret");
    }

    #[test]
    fn a_frame_pointer_leads_from_the_first_frame_to_the_link() {
        let stack = Stack::allocate(16 * 1024).expect("a stack");
        let mut frame = 0usize;
        // SAFETY: nobody is on the stack; the entry writes to `frame` and returns.
        let new =
            unsafe { Assembly::first(stack.top(), stack.bottom(), tell_frame, (&raw mut frame).cast()) };
        let mut link = new;
        // SAFETY: new, and with its own link.
        let (_, word) = unsafe { Assembly::resume(&raw mut link, new, Word::uninit(), Order::Run) };
        assert!(word.is_none());
        assert_eq!(frame, (&raw const link).addr());
    }

    /// Gives the return address in its resumer's frame record, and suspends, for ever.
    unsafe extern "C" fn tell_resumer(link: *mut (), _: Word, _: usize) {
        loop {
            // SAFETY: the link is a frame record, whose next one is the resumer's.
            let record = unsafe { &*link.cast::<Record>() };
            // SAFETY: the resumer waits.
            let ip = unsafe { &*record.next }.ip;
            // SAFETY: this is the coroutine of that link.
            unsafe { Assembly::suspend(link.cast(), Word::new(core::ptr::without_provenance_mut(ip))) };
        }
    }

    /// # Safety
    /// * As for `resume`.
    #[inline(never)]
    unsafe fn first_resumer(link: *mut *mut usize, coroutine: *mut usize) -> (*mut usize, usize) {
        // SAFETY: the caller's duty.
        let (context, word) = unsafe { Assembly::resume(link, coroutine, Word::uninit(), Order::Run) };
        // SAFETY: `tell_resumer` gives an address.
        (context, unsafe { word.expect("it suspends").assume_init() }.addr())
    }

    /// # Safety
    /// * As for `resume`.
    #[inline(never)]
    unsafe fn second_resumer(link: *mut *mut usize, coroutine: *mut usize) -> (*mut usize, usize) {
        // SAFETY: the caller's duty.
        let (context, _) = unsafe { first_resumer(link, coroutine) };
        // SAFETY: the caller's duty, and it suspends each time.
        let (context, word) = unsafe { Assembly::resume(link, context, Word::uninit(), Order::Run) };
        // SAFETY: `tell_resumer` gives an address.
        (context, unsafe { word.expect("it suspends").assume_init() }.addr())
    }

    #[test]
    fn frame_records_name_whoever_resumes_now() {
        let stack = Stack::allocate(16 * 1024).expect("a stack");
        let mut link: *mut usize = core::ptr::null_mut();
        let arg = (&raw mut link).cast();
        // SAFETY: nobody is on the stack.
        let new = unsafe { Assembly::first(stack.top(), stack.bottom(), tell_resumer, arg) };
        // SAFETY: new, and with its own link.
        let (context, first) = unsafe { first_resumer(&raw mut link, new) };
        // SAFETY: suspended.
        let (_, second) = unsafe { second_resumer(&raw mut link, context) };
        let within = |ip: usize, function: usize| (function..function + 1024).contains(&ip);
        assert!(within(first, first_resumer as *const () as usize));
        assert!(within(second, second_resumer as *const () as usize));
    }
}
