//! Frames of a copied stack on x86-64.
//!
//! 1. Words of the copy, and registers, that point into the original are moved to point into the copy.
//! 2. `walk` goes from frame to frame by `base::cfi`, checks that everything it reads lies in the copy,
//!    and makes the copy end where that is no longer so: at the coroutine's first frame, as a rule.
//! 3. std's backtrace is captured inside of `sampled_frame`, whose unwind rules say that its caller is the
//!    sampled frame. So std's unwinder goes along the walk of step 2, which has been checked, and std
//!    finds names, inlined functions and lines.

use core::arch::{asm, naked_asm};
use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::backtrace::Backtrace;

use crate::base::cfi::{self, Rule};
use crate::runtime::sample::Sample;
use crate::sys::objects;

/// In the order of their numbers in unwind tables; the last is the instruction pointer.
pub(crate) const REGISTERS: usize = cfi::REGISTERS;
pub(crate) const STACK_POINTER: usize = 7;
const INSTRUCTION: usize = 16;
/// Frames of a report.
const FRAMES: usize = 64;

/// The registers of an interrupted context.
///
/// # Safety
/// * The kernel has passed it to the signal handler that is running.
pub(crate) unsafe fn registers(context: *mut c_void) -> [usize; REGISTERS] {
    use libc::{REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP};
    use libc::{REG_RBX, REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP};
    const ORDER: [libc::c_int; REGISTERS] = [
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10,
        REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP,
    ];
    // SAFETY: the caller's duty.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    ORDER.map(|number| context.uc_mcontext.gregs[number.unsigned_abs() as usize] as usize)
}

/// Copies words from a stack.
///
/// # Safety
/// * From `from` on, which is aligned, as many words are readable.
pub(crate) unsafe fn copy(from: usize, to: &[AtomicUsize]) {
    for (index, place) in to.iter().enumerate() {
        let word: usize;
        let address = from + index * size_of::<usize>();
        // SAFETY: the caller's duty. Assembly, because these words are variables of other frames, which
        // are none of the compiler's business here.
        unsafe {
            asm!("mov {}, [{}]", out(reg) word, in(reg) address, options(nostack, readonly, preserves_flags));
        }
        // Relaxed: published by the state of the request.
        place.store(word, Ordering::Relaxed);
    }
}

/// The frames as std prints them, the innermost first.
pub(crate) fn render(sample: Sample) -> Option<String> {
    let Sample { mut registers, mut stack, .. } = sample;
    let (old, new) = (registers[STACK_POINTER], stack.as_ptr().expose_provenance());
    let len = stack.len() * size_of::<usize>();
    let moved = |word: usize| match word.checked_sub(old) {
        Some(offset) if offset < len => new + offset,
        _ => word,
    };
    stack.iter_mut().chain(&mut registers).for_each(|word| *word = moved(*word));
    registers[STACK_POINTER] = new;
    if !walk(registers, &mut stack, new) {
        return None;
    }
    let mut captured: Option<Backtrace> = None;
    // SAFETY: `walk` has checked all that the unwinder reads on its way.
    unsafe { sampled_frame(&raw const registers, capture, (&raw mut captured).cast()) };
    drop(stack);
    captured.map(|backtrace| below(&backtrace.to_string()))
}

extern "C" fn capture(place: *mut c_void) {
    // SAFETY: `render` passes the address of such a variable, which nobody else uses now.
    unsafe { *place.cast::<Option<Backtrace>>() = Some(Backtrace::force_capture()) };
}

/// Goes from frame to frame and ends the copy after the last one that can be reached within it. False if
/// that is not even the first.
fn walk(mut registers: [usize; REGISTERS], stack: &mut [usize], start: usize) -> bool {
    let index = |address: usize| {
        let offset = address.checked_sub(start)?;
        (offset.is_multiple_of(size_of::<usize>())).then_some(offset / size_of::<usize>())
    };
    let (mut last_return, mut exact) = (None, true);
    for _ in 0..FRAMES {
        let Some((next, place, signal)) = step(registers, exact, index, stack) else {
            break;
        };
        (registers, last_return, exact) = (next, Some(place), signal);
    }
    // The unwinder stops at a return address of null.
    let Some(place) = last_return else { return false };
    stack[place] = 0;
    true
}

/// The caller's registers, where its return address lies, and whether it was interrupted by a signal.
fn step(
    registers: [usize; REGISTERS],
    exact: bool,
    index: impl Fn(usize) -> Option<usize>,
    stack: &[usize],
) -> Option<([usize; REGISTERS], usize, bool)> {
    // A return address may lie behind the last instruction of its function.
    let code = if exact { registers[INSTRUCTION] } else { registers[INSTRUCTION].checked_sub(1)? };
    let mut row = None;
    objects::with_tables(code, &mut |tables| row = tables.row(code));
    let row = row?;
    let cfa = registers.get(row.cfa.0)?.checked_add_signed(row.cfa.1)?;
    // Frames go upwards, or the walk would not end.
    if cfa <= registers[STACK_POINTER] {
        return None;
    }
    let Rule::Saved(offset) = row.rules[INSTRUCTION] else { return None };
    let place = index(cfa.checked_add_signed(offset)?)?;
    let mut next = registers;
    for (register, rule) in row.rules.iter().enumerate() {
        match *rule {
            Rule::Saved(offset) => next[register] = *stack.get(index(cfa.checked_add_signed(offset)?)?)?,
            Rule::Gone => next[register] = 0,
            Rule::Same => {}
        }
    }
    next[STACK_POINTER] = cfa;
    Some((next, place, row.is_signal))
}

/// Calls `f(argument)` as if the frame of `registers` had been interrupted by it.
///
/// For an unwinder only: `f` returns here, and this to its real caller. It must not unwind.
#[unsafe(naked)]
unsafe extern "C" fn sampled_frame(
    registers: *const [usize; REGISTERS],
    f: extern "C" fn(*mut c_void),
    argument: *mut c_void,
) {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        "push rbx",
        "mov rbx, rdi",
        // DW_CFA_def_cfa_expression: what lies at rbx + 8 * 7, the sampled stack pointer.
        ".cfi_escape 0x0f, 3, 0x73, 56, 0x06",
        // DW_CFA_expression: register n lies at rbx + 8 * n.
        ".cfi_escape 0x10, 0, 2, 0x73, 0",
        ".cfi_escape 0x10, 1, 2, 0x73, 8",
        ".cfi_escape 0x10, 2, 2, 0x73, 16",
        ".cfi_escape 0x10, 3, 2, 0x73, 24",
        ".cfi_escape 0x10, 4, 2, 0x73, 32",
        ".cfi_escape 0x10, 5, 2, 0x73, 40",
        ".cfi_escape 0x10, 6, 2, 0x73, 48",
        ".cfi_escape 0x10, 8, 3, 0x73, 0xc0, 0",
        ".cfi_escape 0x10, 9, 3, 0x73, 0xc8, 0",
        ".cfi_escape 0x10, 10, 3, 0x73, 0xd0, 0",
        ".cfi_escape 0x10, 11, 3, 0x73, 0xd8, 0",
        ".cfi_escape 0x10, 12, 3, 0x73, 0xe0, 0",
        ".cfi_escape 0x10, 13, 3, 0x73, 0xe8, 0",
        ".cfi_escape 0x10, 14, 3, 0x73, 0xf0, 0",
        ".cfi_escape 0x10, 15, 3, 0x73, 0xf8, 0",
        ".cfi_escape 0x10, 16, 3, 0x73, 0x80, 1",
        "mov rdi, rdx",
        "call rsi",
        "pop rbx",
        "ret",
        ".cfi_endproc",
    )
}

/// The part of a printed backtrace below `sampled_frame`, numbered anew; all of it if names are stripped.
fn below(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.contains("sampled_frame")).skip(1).peekable();
    while lines.peek().is_some_and(|line| !starts_frame(line)) {
        lines.next();
    }
    if lines.peek().is_none() {
        return text.to_owned();
    }
    let mut number = 0;
    let mut shown = String::new();
    for line in lines {
        match line.split_once(": ") {
            Some((_, name)) if starts_frame(line) => {
                shown += &format!("{number:>4}: {name}\n");
                number += 1;
            }
            _ => shown += &format!("{line}\n"),
        }
    }
    shown.trim_end().to_owned()
}

/// Frames begin with their number; what follows for each says `at`.
fn starts_frame(line: &str) -> bool {
    let trimmed = line.trim_start();
    let digits = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    digits > 0 && trimmed[digits..].starts_with(": ")
}
