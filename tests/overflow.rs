//! Stack overflows, in child processes: this test's own program, run again with one test and a variable.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::PipeWriter;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

use common::{child, child_with};
use ropewalk::coroutine::{CoroutineBuilder, Suspender};

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

/// Sizes from the smallest to a large one, some of them no power of two.
const SIZES: [usize; 9] =
    [1, 16 << 10, 64 << 10, 80 << 10, 128 << 10, 192 << 10, 256 << 10, 1 << 20, (4 << 20) + 1];
/// Bytes below a stack that nobody can write to: more than a frame of the C library has.
const GUARD: usize = 64 << 10;

/// Whether a byte can be read: the kernel tells, and nothing faults.
fn is_readable(pipe: &PipeWriter, address: usize) -> bool {
    let place = std::ptr::without_provenance::<libc::c_void>(address);
    // SAFETY: the kernel reads the byte, or says that it cannot be read.
    unsafe { libc::write(pipe.as_raw_fd(), place, 1) == 1 }
}

/// Checks the memory around the lowest address of stacks, several of each size and next to each other.
fn check_guards() {
    let (_reader, pipe) = std::io::pipe().unwrap();
    for size in SIZES {
        let make = || CoroutineBuilder::new().stack_size(size).build(|_: &Suspender<(), ()>, ()| ()).unwrap();
        let all: Vec<_> = (0..5).map(|_| make()).collect();
        for one in &all {
            let seen = one.snapshot().unwrap();
            for below in (1..=GUARD).step_by(1024).chain([GUARD]) {
                assert!(!is_readable(&pipe, seen.stack_bottom - below), "{size}: {below} below the stack");
            }
            for address in (seen.stack_bottom..seen.stack_top).step_by(16 << 10) {
                assert!(is_readable(&pipe, address), "{size}: {address:#x} in {seen:?}");
            }
            let usable = seen.stack_top - seen.stack_bottom;
            // A colour and a header lie at the top.
            assert!(usable + 2048 >= size, "{usable} of {size} bytes");
        }
    }
}

#[test]
fn each_stack_has_a_guard_of_64_kib_below_it_whatever_its_size() {
    check_guards();
}

#[test]
fn guards_of_their_own_mapping_are_as_large() {
    match child_with("guards_of_their_own_mapping_are_as_large", |child| {
        child.env("ROPEWALK_GUARD", "mprotect");
    }) {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => check_guards(),
    }
}

/// Overflows a stack by a frame so large that its first touch lies `below` bytes under the stack.
fn leap(below: usize) {
    let mut leaper = CoroutineBuilder::new()
        .name("leaper")
        .build(move |_: &Suspender<usize, ()>, bottom| {
            let place = std::ptr::with_exposed_provenance_mut::<u8>(bottom - below);
            // SAFETY: not at all; the fault is what is wanted.
            unsafe { place.write_volatile(1) };
        })
        .unwrap();
    let bottom = leaper.snapshot().unwrap().stack_bottom;
    leaper.resume(bottom);
}

#[test]
fn an_overflow_by_a_large_frame_is_named() {
    match child("an_overflow_by_a_large_frame_is_named") {
        Some(output) => check(&output, "coroutine 'leaper' (#"),
        None => leap(GUARD - 8),
    }
}

#[test]
fn an_overflow_by_a_large_frame_is_named_with_guards_of_their_own_mapping() {
    match child_with("an_overflow_by_a_large_frame_is_named_with_guards_of_their_own_mapping", |child| {
        child.env("ROPEWALK_GUARD", "mprotect");
    }) {
        Some(output) => check(&output, "coroutine 'leaper' (#"),
        None => leap(33 << 10),
    }
}

/// Panics on the smallest stacks, by hand and scheduled; std prints a backtrace.
fn panic_on_the_smallest() {
    let ended =
        ropewalk::Builder::new().name("small").stack_size(1).spawn(|| panic!("scheduled")).unwrap().join();
    assert!(ended.unwrap_err().to_string().contains("scheduled"));
    let by_hand = CoroutineBuilder::new().stack_size(1).build(|_: &Suspender<(), ()>, ()| panic!("by hand"));
    let mut by_hand = by_hand.unwrap();
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| by_hand.resume(())));
    assert_eq!(*ended.unwrap_err().downcast::<&str>().unwrap(), "by hand");
}

#[test]
fn the_smallest_stack_survives_a_panic_with_a_backtrace() {
    for backtrace in ["1", "full"] {
        match child_with("the_smallest_stack_survives_a_panic_with_a_backtrace", |child| {
            child.env("RUST_BACKTRACE", backtrace);
        }) {
            Some(output) => {
                assert!(output.status.success(), "{output:?}");
                let errors = String::from_utf8_lossy(&output.stderr);
                assert_eq!(errors.matches("stack backtrace:").count(), 2, "{errors}");
            }
            None => return panic_on_the_smallest(),
        }
    }
}

#[cfg(feature = "monkey")]
#[test]
fn the_smallest_stack_survives_a_panic_with_a_backtrace_whose_files_are_read_by_replaced_calls() {
    match child_with(
        "the_smallest_stack_survives_a_panic_with_a_backtrace_whose_files_are_read_by_replaced_calls",
        |child| {
            child.env("RUST_BACKTRACE", "full");
        },
    ) {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => {
            ropewalk::monkey::patch_all().unwrap();
            panic_on_the_smallest();
        }
    }
}
