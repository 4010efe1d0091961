//! A sampling profiler's handler unwinds from wherever it interrupts. Here it interrupts every instruction, by the
//! processor's single-step flag, in child processes of this test's own program.
#![cfg(target_arch = "x86_64")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::arch::naked_asm;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};
use std::process::Output;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use common::{child, runtime};
use ropewalk::coroutine::{Assembly, Boost, Coroutine, State, Switch};

unsafe extern "C" {
    fn _Unwind_Backtrace(step: extern "C" fn(*mut c_void, *mut c_void) -> i32, arg: *mut c_void) -> i32;
    fn _Unwind_GetIP(context: *mut c_void) -> usize;
    fn _Unwind_FindEnclosingFunction(address: *mut c_void) -> *mut c_void;
}

/// `_URC_END_OF_STACK`: the result of a walk that has come to its end, and of a callback that wants no more frames.
const END_OF_STACK: i32 = 5;
/// More frames than any stack here has: a walk that gets so far goes round in circles.
const MOST_FRAMES: usize = 400;

/// Instructions that were interrupted.
static STEPS: AtomicUsize = AtomicUsize::new(0);
/// Walks from an instruction of this program that ended too early, and the first such instruction.
static SHORT: AtomicUsize = AtomicUsize::new(0);
static FIRST_SHORT: AtomicUsize = AtomicUsize::new(0);
/// Walks that went round in circles, or ended with an error.
static BROKEN: AtomicUsize = AtomicUsize::new(0);
/// The function that walks should get to; null if it is the C library's first function of the thread.
static TARGET: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

struct Walk {
    frames: usize,
    reached: bool,
    last: usize,
}

extern "C" fn step(context: *mut c_void, walk: *mut c_void) -> i32 {
    // SAFETY: the handler passes the address of its own walk.
    let walk = unsafe { &mut *walk.cast::<Walk>() };
    walk.frames += 1;
    // SAFETY: the unwinder passes its context.
    let ip = unsafe { _Unwind_GetIP(context) };
    if ip != 0 {
        walk.last = ip;
    }
    // A return address may lie behind the last instruction of its function.
    let place = ptr::without_provenance_mut(ip.wrapping_sub(1));
    // SAFETY: the address is looked up, and not used.
    let function = unsafe { _Unwind_FindEnclosingFunction(place) };
    walk.reached |= !function.is_null() && function == TARGET.load(Ordering::Relaxed);
    if walk.frames > MOST_FRAMES { END_OF_STACK } else { 0 }
}

/// Where the object (program or library) begins that an address lies in.
fn object(address: usize) -> *mut c_void {
    // SAFETY: all zeros are a value of the structure.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: looks the address up, and writes to `found`.
    unsafe { libc::dladdr(ptr::without_provenance(address), &raw mut found) };
    found.dli_fbase
}

extern "C" fn interrupted(_: i32, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the interrupted context.
    let registers = unsafe { &(*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let ip = registers[libc::REG_RIP as usize].cast_unsigned() as usize;
    let here = object(ip);
    // While libgcc installs the context of a landing pad, its frame already has the return address of that, and not
    // yet its stack pointer. A walk from there crashes on plain threads as well.
    if here == object(_Unwind_Backtrace as *const () as usize) {
        return;
    }
    let mut walk = Walk { frames: 0, reached: false, last: 0 };
    // SAFETY: the callback gets the address of the walk.
    let end = unsafe { _Unwind_Backtrace(step, (&raw mut walk).cast()) };
    // Relaxed, all of them: read by this thread.
    STEPS.fetch_add(1, Ordering::Relaxed);
    BROKEN.fetch_add(usize::from(end != END_OF_STACK || walk.frames > MOST_FRAMES), Ordering::Relaxed);
    let program = object(step as *const () as usize);
    let reached = match TARGET.load(Ordering::Relaxed).is_null() {
        true => object(walk.last) == object(libc::getpid as *const () as usize),
        false => walk.reached,
    };
    // Libraries have instructions with wrong rules. What the linker has made, to call them, has none.
    // SAFETY: the address is looked up, and not used.
    let has_rules = !unsafe { _Unwind_FindEnclosingFunction(ptr::without_provenance_mut(ip)) }.is_null();
    if !reached && here == program && has_rules && SHORT.fetch_add(1, Ordering::Relaxed) == 0 {
        FIRST_SHORT.store(ip.wrapping_sub(program.addr()), Ordering::Relaxed);
    }
}

/// Sets the processor's single-step flag. A switch of stacks leaves it as it is.
#[unsafe(naked)]
extern "C" fn single_step() {
    naked_asm!(
        ".cfi_startproc",
        "pushfq",
        ".cfi_adjust_cfa_offset 8",
        "or qword ptr [rsp], 0x100",
        "popfq",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

/// Clears the flag again.
#[unsafe(naked)]
extern "C" fn run_freely() {
    naked_asm!(
        ".cfi_startproc",
        "pushfq",
        ".cfi_adjust_cfa_offset 8",
        "and qword ptr [rsp], -257",
        "popfq",
        ".cfi_adjust_cfa_offset -8",
        "ret",
        ".cfi_endproc",
    )
}

/// Interrupts each instruction of `f`. Says how many walks from this program's code ended too early.
#[inline(never)]
fn stepped(what: &str, f: &mut dyn FnMut()) -> usize {
    // SAFETY: all zeros are a value of the structure.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = interrupted as *const () as usize;
    // Not on an alternate stack: most handlers run on the stack that they interrupt.
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler unwinds and counts.
    let installed = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) };
    assert_eq!(installed, 0);
    let (steps, short) = (STEPS.load(Ordering::Relaxed), SHORT.load(Ordering::Relaxed));
    single_step();
    f();
    run_freely();
    let (steps, short) = (STEPS.load(Ordering::Relaxed) - steps, SHORT.load(Ordering::Relaxed) - short);
    println!("{what}: {steps} steps, {short} short, the first at {:#x}", FIRST_SHORT.load(Ordering::Relaxed));
    assert_eq!(
        BROKEN.load(Ordering::Relaxed),
        0,
        "{what}: walks went round in circles, or ended with an error"
    );
    assert!(steps > 100, "{what}: only {steps} instructions were interrupted");
    short
}

/// The whole life of hand-resumed coroutines; says how many walks did not come to the resumer.
fn life<S: Switch>() -> usize {
    TARGET.store(stepped as *mut c_void, Ordering::Relaxed);
    let make = || Coroutine::<u32, u32, u32, S>::new(|out, n| out.suspend(n + 1) + 1);
    let mut whole = make();
    let mut short = stepped("start", &mut || assert_eq!(whole.resume(1), State::Yielded(2)));
    short += stepped("end", &mut || assert_eq!(whole.resume(2), State::Returned(3)));
    short += stepped("unwinding", &mut || {
        let mut dropped = make();
        assert_eq!(dropped.resume(1), State::Yielded(2));
        drop(dropped);
    });
    short += stepped("panic", &mut || {
        let mut fails = Coroutine::<(), (), (), S>::new(|_, ()| panic::resume_unwind(Box::new(7)));
        panic::catch_unwind(AssertUnwindSafe(|| fails.resume(()))).unwrap_err();
    });
    short += stepped("nested", &mut || {
        let outer = Coroutine::<(), u32, (), S>::new(|out, ()| {
            let inner = Coroutine::<(), u32, (), S>::new(|out, ()| (0..2).for_each(|n| out.suspend(n)));
            inner.for_each(|n| out.suspend(n));
        });
        assert_eq!(outer.sum::<u32>(), 1);
    });
    short
}

fn check(output: &Output) {
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{out}\n{errors}", output.status);
}

#[test]
fn a_walk_from_any_instruction_of_a_coroutine_comes_to_its_resumer() {
    match child("a_walk_from_any_instruction_of_a_coroutine_comes_to_its_resumer") {
        Some(output) => check(&output),
        None => assert_eq!(life::<Assembly>(), 0),
    }
}

#[test]
fn a_walk_from_any_instruction_over_the_context_switcher_ends() {
    match child("a_walk_from_any_instruction_over_the_context_switcher_ends") {
        Some(output) => check(&output),
        // Its assembly is not ours and has no unwind rules, so walks end there.
        None => assert!(life::<Boost>() > 0),
    }
}

#[test]
fn a_walk_from_any_instruction_of_a_scheduled_coroutine_comes_to_the_end_of_the_stack() {
    match child("a_walk_from_any_instruction_of_a_scheduled_coroutine_comes_to_the_end_of_the_stack") {
        Some(output) => check(&output),
        None => {
            let short = runtime(1).run(|| {
                let other = ropewalk::spawn(|| (0..3).for_each(|_| ropewalk::yield_now()));
                let cancelled = ropewalk::spawn(ropewalk::park);
                ropewalk::yield_now();
                let mut short = stepped("yield", &mut ropewalk::yield_now);
                short += stepped("spawn", &mut || assert_eq!(ropewalk::spawn(|| 1).join().unwrap(), 1));
                short += stepped("panic", &mut || {
                    let fails = ropewalk::spawn(|| panic::resume_unwind(Box::new(7)));
                    assert!(fails.join().is_err());
                });
                short += stepped("cancellation", &mut || {
                    cancelled.cancel();
                    ropewalk::yield_now();
                });
                other.join().unwrap();
                short
            });
            // The `context` switcher ends each walk at its assembly.
            assert!(short == 0 || cfg!(feature = "boost"), "{short} walks");
        }
    }
}
