//! What ends the process: overflows, and unwindings that cannot be. In child processes: this test's own
//! program, run again with one test and a variable.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Output;

use common::{child, runtime};
use ropewalk::coroutine::{Coroutine, CoroutineBuilder, State, Suspender};

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 32]);
    if n == u64::MAX { 0 } else { deep(n + 1) + frame[(n % 32) as usize] }
}

/// One frame larger than most stacks.
#[inline(never)]
fn broad() -> u8 {
    let frame = std::hint::black_box([1u8; 900 * 1024]);
    frame[std::hint::black_box(7)]
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The child has printed `message` and was aborted.
fn aborted(output: &Output, message: &str) {
    let errors = errors(output);
    assert!(errors.contains(message), "{errors}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
}

#[test]
fn an_overflow_on_any_worker_names_the_coroutine() {
    match child("an_overflow_on_any_worker_names_the_coroutine") {
        Some(output) => aborted(&output, "coroutine 'last of 8' (#"),
        None => {
            // Seven workers are held, so the eighth overflows.
            let runtime = runtime(8);
            let held = std::sync::Arc::new(std::sync::Barrier::new(8));
            for _ in 0..7 {
                let held = std::sync::Arc::clone(&held);
                runtime.spawn(move || {
                    held.wait();
                    std::thread::sleep(std::time::Duration::from_secs(60));
                });
            }
            held.wait();
            let last = ropewalk::Builder::new().name("last of 8").spawn_in(&runtime, || deep(0));
            let _ = last.unwrap().join();
        }
    }
}

#[test]
fn an_overflow_without_a_name_says_so() {
    match child("an_overflow_without_a_name_says_so") {
        Some(output) => {
            aborted(&output, "coroutine 'unnamed' (#");
            assert!(errors(&output).contains("has overflowed its stack of 256 KiB"));
        }
        None => drop(ropewalk::spawn(|| deep(0)).join()),
    }
}

#[test]
fn the_smallest_stack_overflows_into_its_own_guard() {
    match child("the_smallest_stack_overflows_into_its_own_guard") {
        Some(output) => aborted(&output, "coroutine 'tiny' (#"),
        None => {
            let neighbours: Vec<_> = (0..20)
                .map(|_| ropewalk::Builder::new().stack_size(16 * 1024).spawn(ropewalk::park).unwrap())
                .collect();
            let tiny = ropewalk::Builder::new().name("tiny").stack_size(16 * 1024).spawn(|| deep(0));
            let _ = tiny.unwrap().join();
            drop(neighbours);
        }
    }
}

#[test]
fn a_frame_larger_than_the_stack_does_not_jump_over_the_guard() {
    match child("a_frame_larger_than_the_stack_does_not_jump_over_the_guard") {
        Some(output) => aborted(&output, "coroutine 'broad' (#"),
        None => {
            let neighbours: Vec<_> = (0..20).map(|_| ropewalk::spawn(ropewalk::park)).collect();
            drop(ropewalk::Builder::new().name("broad").spawn(broad).unwrap().join());
            drop(neighbours);
        }
    }
}

#[test]
fn a_coroutine_by_hand_inside_a_scheduled_one_is_named_itself() {
    match child("a_coroutine_by_hand_inside_a_scheduled_one_is_named_itself") {
        Some(output) => aborted(&output, "coroutine 'inner' (#"),
        None => {
            let outer = ropewalk::Builder::new().name("outer").spawn(|| {
                let mut inner = CoroutineBuilder::new()
                    .name("inner")
                    .stack_size(32 * 1024)
                    .build(|_: &Suspender<(), ()>, ()| {
                        deep(0);
                    })
                    .unwrap();
                inner.resume(());
            });
            let _ = outer.unwrap().join();
        }
    }
}

#[test]
fn an_overflow_on_a_plain_thread_is_reported_by_std_as_before() {
    match child("an_overflow_on_a_plain_thread_is_reported_by_std_as_before") {
        Some(output) => aborted(&output, "has overflowed its stack"),
        None => {
            ropewalk::spawn(|| ()).join().unwrap();
            let mut first = Coroutine::<(), ()>::new(|_, ()| ());
            first.resume(());
            let thread = std::thread::Builder::new().name("plain".into()).spawn(|| {
                let mut own = Coroutine::<(), ()>::new(|_, ()| ());
                own.resume(());
                deep(0)
            });
            let _ = thread.unwrap().join();
        }
    }
}

#[test]
fn a_handler_with_siginfo_that_was_there_gets_what_is_not_ours() {
    extern "C" fn previous(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes a siginfo.
        let info = unsafe { &*info };
        // SAFETY: that of a SIGSEGV has an address.
        let address = unsafe { info.si_addr() }.addr();
        // SAFETY: ends the process.
        unsafe { libc::_exit(if address == 0x18 { 42 } else { 43 }) };
    }
    match child("a_handler_with_siginfo_that_was_there_gets_what_is_not_ours") {
        Some(output) => assert_eq!(output.status.code(), Some(42), "{output:?}"),
        None => {
            // SAFETY: all zeros is an action without flags and with an empty mask.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = previous as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: the action lives through the call; the handler ends the process.
            unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, std::ptr::null_mut()) };
            let fault = || {
                // SAFETY: not at all; the fault is what is wanted.
                unsafe { std::ptr::without_provenance_mut::<u64>(0x18).write_volatile(1) };
            };
            let _ = ropewalk::spawn(fault).join();
        }
    }
}

#[test]
fn a_coroutine_that_never_ends_its_unwinding_stops_the_process_with_its_name() {
    match child("a_coroutine_that_never_ends_its_unwinding_stops_the_process_with_its_name") {
        Some(output) => aborted(&output, "coroutine 'stubborn' (#"),
        None => {
            let mut stubborn = CoroutineBuilder::new()
                .name("stubborn")
                .build(|out: &Suspender<(), u32>, ()| {
                    loop {
                        let _ = catch_unwind(AssertUnwindSafe(|| out.suspend(1)));
                    }
                })
                .unwrap();
            assert_eq!(stubborn.resume(()), State::Yielded(1));
            drop(stubborn);
        }
    }
}

#[test]
fn a_destructor_that_suspends_while_its_coroutine_unwinds_is_told_so_by_name() {
    struct Suspends<'a>(&'a Suspender<(), u32>);
    impl Drop for Suspends<'_> {
        fn drop(&mut self) {
            self.0.suspend(2);
        }
    }
    match child("a_destructor_that_suspends_while_its_coroutine_unwinds_is_told_so_by_name") {
        Some(output) => aborted(&output, "coroutine 'suspends' (#"),
        None => {
            let mut suspends = CoroutineBuilder::new()
                .name("suspends")
                .build(|out: &Suspender<(), u32>, ()| {
                    let _suspends = Suspends(out);
                    out.suspend(1);
                })
                .unwrap();
            assert_eq!(suspends.resume(()), State::Yielded(1));
            drop(suspends);
        }
    }
}

#[test]
fn a_panic_in_a_destructor_while_a_coroutine_unwinds_aborts_as_in_std() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("from a destructor");
        }
    }
    match child("a_panic_in_a_destructor_while_a_coroutine_unwinds_aborts_as_in_std") {
        Some(output) => aborted(&output, "from a destructor"),
        None => {
            let (started, seen) = ropewalk::channel::bounded(0);
            let handle = ropewalk::spawn(move || {
                let _bad = Bad;
                started.send(()).unwrap();
                ropewalk::park();
            });
            seen.recv().unwrap();
            handle.cancel();
            let _ = handle.join();
        }
    }
}

#[test]
fn a_scheduled_coroutine_that_catches_its_cancellation_is_told_again_at_each_wait() {
    let (started, seen) = std::sync::mpsc::channel();
    let handle = ropewalk::spawn(move || {
        let caught = |f: fn()| usize::from(catch_unwind(AssertUnwindSafe(f)).is_err());
        started.send(()).unwrap();
        let mut count = 0;
        while count < 3 {
            count += caught(|| ropewalk::sleep(std::time::Duration::from_secs(3600)));
        }
        count
    });
    seen.recv().unwrap();
    handle.cancel();
    assert_eq!(handle.join().unwrap(), 3);
}
