//! What a program without a logger sees on stderr: warnings, and the names of coroutines that panic.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::panic;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{child, child_with, named, runtime};
use ropewalk::{Builder, Runtime};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Keeps four workers for longer than the monitor's threshold.
fn hang_four() {
    let runtime = Runtime::builder().workers(4).name("hung").build().unwrap();
    let stop: &AtomicBool = Box::leak(Box::default());
    let hung: Vec<_> = (0..4)
        .map(|n| {
            let spins = move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            };
            Builder::new().name(format!("hung-{n}")).spawn_in(&runtime, spins).unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    hung.into_iter().for_each(|one| one.join().unwrap());
}

#[test]
fn hung_coroutines_are_reported_on_stderr_without_a_logger() {
    let Some(output) = child("hung_coroutines_are_reported_on_stderr_without_a_logger") else {
        return hang_four();
    };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    for worker in 0..4 {
        let report = format!("ropewalk: warning: worker {worker} of runtime 'hung' has run ");
        assert!(stderr.contains(&report), "worker {worker}: {stderr}");
    }
    // A worker that gets no processor for long does not say what it runs.
    assert!(stderr.contains("coroutine 'hung-"), "{stderr}");
}

#[test]
fn the_environment_bounds_the_warnings_on_stderr() {
    let test = "the_environment_bounds_the_warnings_on_stderr";
    for (value, lines) in [("off", 0), ("0", 0), ("2", 2)] {
        let Some(output) = child_with(test, |command| {
            command.env("ROPEWALK_WARNINGS", value);
        }) else {
            return hang_four();
        };
        let stderr = stderr(&output);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stderr.matches("ropewalk: warning: ").count(), lines, "{value}: {stderr}");
        assert_eq!(stderr.matches("no more warnings").count(), usize::from(lines != 0), "{value}: {stderr}");
    }
}

#[test]
fn a_function_bounds_the_warnings_on_stderr() {
    let Some(output) = child("a_function_bounds_the_warnings_on_stderr") else {
        ropewalk::runtime::set_stderr_warnings(1);
        return hang_four();
    };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("ropewalk: warning: ").count(), 1, "{stderr}");
}

#[test]
fn a_logger_gets_the_warnings_instead_of_stderr() {
    struct Deaf;
    impl log::Log for Deaf {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            println!("logged: {}", record.args());
        }
        fn flush(&self) {}
    }
    let Some(output) = child("a_logger_gets_the_warnings_instead_of_stderr") else {
        log::set_logger(&Deaf).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
        hang_four();
        // The program wants to hear nothing.
        log::set_max_level(log::LevelFilter::Off);
        return hang_four();
    };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    assert!(!stderr.contains("ropewalk: warning: "), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("logged: worker "), "{stdout}");
}

/// Lets a coroutine of a new runtime panic.
fn panic_on_reader() {
    let runtime = runtime(1);
    let reader = Builder::new().name("reader").spawn_in(&runtime, || panic!("out of paper")).unwrap();
    assert!(reader.join().is_err());
}

#[test]
fn a_panic_names_its_coroutine() {
    let Some(output) = child("a_panic_names_its_coroutine") else { return panic_on_reader() };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    named(&stderr, &["coroutine 'reader' (#", "panics:", "out of paper", "tests/silence.rs:"]);
    assert!(stderr.find("'reader'") < stderr.find("out of paper"), "{stderr}");
}

#[test]
fn a_hook_of_the_program_still_runs_set_before_or_after_the_runtime() {
    let Some(output) = child("a_hook_of_the_program_still_runs_set_before_or_after_the_runtime") else {
        panic::set_hook(Box::new(|_| eprintln!("hook one")));
        panic_on_reader();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            eprintln!("hook two of {:?}", ropewalk::current().name());
            before(info);
        }));
        panic_on_reader();
        panic::set_hook(Box::new(|_| eprintln!("hook three")));
        panic_on_reader();
        drop(panic::take_hook());
        return panic_on_reader();
    };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    let lines: Vec<_> =
        stderr.lines().filter(|line| line.contains("hook ") || line.contains("panics:")).collect();
    let name = |line: &str| line.contains("coroutine 'reader'");
    assert!(name(lines[0]) && lines[1] == "hook one", "{stderr}");
    assert_eq!(lines[2], "hook two of Some(\"reader\")", "{stderr}");
    assert!(name(lines[3]) && lines[4] == "hook one", "{stderr}");
    // It has replaced the others.
    assert_eq!(lines[5..], ["hook three"], "{stderr}");
    assert!(stderr.contains("out of paper"), "the standard library's own hook is back: {stderr}");
}

#[test]
fn a_panic_with_stderr_full_or_unread_ends_its_coroutine_only() {
    let test = "a_panic_with_stderr_full_or_unread_ends_its_coroutine_only";
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let Some(output) = child_with(test, |command| {
        command.stderr(full);
    }) else {
        return panic_on_reader();
    };
    assert!(output.status.success(), "{output:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = child_with(test, |command| {
        command.stderr(writer);
    })
    .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Runs the tests of this program that begin with `inside_` under the harness, with its capture on.
fn harness(filter: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command
        .args([filter, "--ignored", "--test-threads=2"])
        .env("ROPEWALK_CHILD", "1")
        .output()
        .expect("the test program runs again");
    String::from_utf8_lossy(&output.stdout).into_owned() + "\n==== stderr\n" + &stderr(&output)
}

/// The part that the harness prints of a failed test.
fn section<'t>(text: &'t str, test: &str) -> &'t str {
    let rest = text.split_once(&format!("---- {test} stdout ----")).expect(text).1;
    rest.split("\n---- ").next().unwrap().split("\nfailures:").next().unwrap()
}

static STARTED: AtomicBool = AtomicBool::new(false);
static PANICKED: AtomicBool = AtomicBool::new(false);

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[ignore = "run by another test"]
fn inside_global_one_starts_the_runtime() {
    ropewalk::spawn(|| ()).join().unwrap();
    STARTED.store(true, Ordering::SeqCst);
    wait_for(&PANICKED);
    panic!("so that the harness prints what it has captured");
}

#[test]
#[ignore = "run by another test"]
fn inside_global_two_panics() {
    wait_for(&STARTED);
    assert!(ropewalk::spawn(|| panic!("the second test's")).join().is_err());
    PANICKED.store(true, Ordering::SeqCst);
    panic!("so that the harness prints what it has captured");
}

#[test]
fn a_panic_on_the_global_runtime_is_not_printed_under_another_test() {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return;
    }
    let text = harness("inside_global");
    assert!(!section(&text, "inside_global_one_starts_the_runtime").contains("the second test's"), "{text}");
    assert!(text.split_once("==== stderr").unwrap().1.contains("the second test's"), "{text}");
}

#[test]
#[ignore = "run by another test"]
fn inside_own_one() {
    let runtime = runtime(1);
    let one = Builder::new().name("first").spawn_in(&runtime, || panic!("the first test's")).unwrap();
    assert!(one.join().is_err());
    panic!("so that the harness prints what it has captured");
}

#[test]
#[ignore = "run by another test"]
fn inside_own_two() {
    let runtime = runtime(1);
    let two = Builder::new().name("second").spawn_in(&runtime, || panic!("the second test's")).unwrap();
    assert!(two.join().is_err());
    panic!("so that the harness prints what it has captured");
}

#[test]
fn a_test_with_a_runtime_of_its_own_sees_its_own_panics() {
    if std::env::var_os("ROPEWALK_CHILD").is_some() {
        return;
    }
    let text = harness("inside_own");
    let (one, two) = (section(&text, "inside_own_one"), section(&text, "inside_own_two"));
    named(one, &["coroutine 'first'", "the first test's"]);
    named(two, &["coroutine 'second'", "the second test's"]);
    assert!(!one.contains("second") && !two.contains("first"), "{text}");
}

#[cfg(feature = "monkey")]
#[test]
fn a_deadlock_of_std_mutexes_is_reported_after_patch_all_as_well() {
    use std::sync::{Arc, Barrier, Mutex};
    let test = "a_deadlock_of_std_mutexes_is_reported_after_patch_all_as_well";
    for patched in ["yes", "no"] {
        let set = |command: &mut Command| {
            command.env("PATCHED", patched);
        };
        let Some(output) = child_with(test, set) else {
            if std::env::var("PATCHED").unwrap() == "yes" {
                ropewalk::monkey::patch_all().unwrap();
            }
            let runtime = Runtime::builder().workers(2).name("locked").build().unwrap();
            let locks = Arc::new([Mutex::new(()), Mutex::new(())]);
            let both_hold = Arc::new(Barrier::new(2));
            for n in 0..2 {
                let (locks, both_hold) = (Arc::clone(&locks), Arc::clone(&both_hold));
                let takes_both = move || {
                    let _one = locks[n].lock().unwrap();
                    both_hold.wait();
                    let _other = locks[1 - n].lock().unwrap();
                };
                drop(Builder::new().name(format!("holder-{n}")).spawn_in(&runtime, takes_both).unwrap());
            }
            std::thread::sleep(Duration::from_secs(4));
            std::process::exit(0);
        };
        let stderr = stderr(&output);
        named(&stderr, &["ropewalk: warning: ", "coroutine 'holder-0'", "coroutine 'holder-1'"]);
        if patched == "yes" {
            assert_eq!(stderr.matches("for a lock of std").count(), 2, "each wait once: {stderr}");
        }
    }
}

#[test]
fn a_panic_in_a_child_process_names_the_process_and_the_coroutine() {
    use ropewalk::process::Process;
    let Some(output) = child("a_panic_in_a_child_process_names_the_process_and_the_coroutine") else {
        let on_reader = |(): ()| panic_on_reader();
        return Process::builder().name("printer").spawn(on_reader, ()).unwrap().join().unwrap();
    };
    let stderr = stderr(&output);
    assert!(output.status.success(), "{stderr}");
    named(&stderr, &["coroutine 'reader' (#", "process 'printer' (pid ", "out of paper"]);
    assert_eq!(stderr.matches("panics:\n").count(), 1, "{stderr}");
}
