//! Stack overflows, in child processes: this test's own program, run again with one test and a variable.
#![allow(missing_docs, reason = "tests")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};

use ropewalk::coroutine::{CoroutineBuilder, Suspender};

fn child(test: &str) -> Option<Output> {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return None;
    }
    let program = std::env::current_exe().expect("the test program has a path");
    let mut command = Command::new(program);
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env("ROPEWALK_CHILD", "1");
    Some(command.output().expect("the test program runs again"))
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 32]);
    if n == u64::MAX { 0 } else { deep(n + 1) + frame[(n % 32) as usize] }
}

fn check(output: &Output, message: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(message), "{errors}");
    assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{output:?}");
}

#[test]
fn a_scheduled_coroutine_that_overflows_is_named() {
    match child("a_scheduled_coroutine_that_overflows_is_named") {
        Some(output) => check(&output, "coroutine 'digger' (#"),
        None => {
            let digger = ropewalk::Builder::new().name("digger").stack_size(64 * 1024).spawn(|| deep(0));
            let _ = digger.unwrap().join();
        }
    }
}

#[test]
fn a_hand_resumed_coroutine_that_overflows_is_named_on_any_thread() {
    match child("a_hand_resumed_coroutine_that_overflows_is_named_on_any_thread") {
        Some(output) => check(&output, "has overflowed its stack of 32 KiB"),
        None => {
            let mut digger = CoroutineBuilder::new()
                .name("hand")
                .stack_size(32 * 1024)
                .build(|_: &Suspender<(), ()>, ()| {
                    deep(0);
                })
                .unwrap();
            digger.resume(());
        }
    }
}

#[test]
fn guards_of_their_own_mapping_catch_it_too() {
    match child("guards_of_their_own_mapping_catch_it_too") {
        Some(output) => check(&output, "has overflowed its stack of 256 KiB"),
        None => {
            // SAFETY: no other thread of this child reads the environment now.
            unsafe { std::env::set_var("ROPEWALK_GUARD", "mprotect") };
            let _ = ropewalk::spawn(|| deep(0)).join();
        }
    }
}

#[test]
fn another_segmentation_fault_reaches_the_handler_that_was_there() {
    extern "C" fn previous(_: libc::c_int) {
        let text = b"the previous handler\n";
        // SAFETY: writes from a static buffer, and ends the process.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
        // SAFETY: ends the process.
        unsafe { libc::_exit(7) };
    }
    match child("another_segmentation_fault_reaches_the_handler_that_was_there") {
        Some(output) => {
            assert!(String::from_utf8_lossy(&output.stderr).contains("the previous handler"));
            assert_eq!(output.status.code(), Some(7));
        }
        None => {
            // SAFETY: the handler only writes and ends the process.
            unsafe { libc::signal(libc::SIGSEGV, previous as *const () as usize) };
            let fault = || {
                // SAFETY: not at all; the fault is what is wanted.
                unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) };
            };
            let _ = ropewalk::spawn(fault).join();
        }
    }
}
