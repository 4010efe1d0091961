//! What processes say about their ends: on standard error, in errors, and to the log.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::read_to_string;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::watched;
use ropewalk::process::{Pool, Process, ProcessError, Resource, SpawnError, StartMethod, Stdio, children};

static LINES: Mutex<Vec<(log::Level, String)>> = Mutex::new(Vec::new());

struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LINES.lock().unwrap().push((record.level(), record.args().to_string()));
    }

    fn flush(&self) {}
}

/// Runs `f` in a process of its own, where all lines of the log are kept.
fn with_log<R: ropewalk::process::Portable>(f: fn(()) -> R) -> R {
    watched(move || Process::spawn(f, ()).unwrap().join().unwrap())
}

fn keep_log() {
    log::set_logger(&Keep).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
}

/// The lines so far that are warnings or worse.
fn warnings() -> Vec<String> {
    let lines = LINES.lock().unwrap();
    lines.iter().filter(|(level, _)| *level <= log::Level::Warn).map(|(_, line)| line.clone()).collect()
}

#[inline(never)]
fn deep(n: u64) -> u64 {
    let frame = std::hint::black_box([n; 32]);
    if n == u64::MAX { 0 } else { deep(n + 1) + frame[(n % 32) as usize] }
}

#[test]
fn a_process_that_overflows_its_stack_says_so() {
    watched(|| {
        for method in [StartMethod::Zygote, StartMethod::Exec] {
            let builder = Process::builder().name("digger").start_method(method).stderr(Stdio::Piped);
            let mut child = builder.spawn(|()| deep(0), ()).unwrap();
            let said = read_to_string(child.stderr.take().unwrap()).unwrap();
            let expected = format!("process 'digger' (pid {}) has overflowed its stack of ", child.pid());
            assert!(said.contains(&expected), "{said}");
            assert!(matches!(child.join(), Err(ProcessError::Signalled(libc::SIGABRT))));
        }
    });
}

#[test]
fn an_access_to_nowhere_is_no_overflow() {
    watched(|| {
        // SAFETY: none; the process ends.
        let stray = |()| unsafe { std::ptr::without_provenance::<u64>(8).read_volatile() };
        let mut child = Process::builder().stderr(Stdio::Piped).spawn(stray, ()).unwrap();
        assert_eq!(read_to_string(child.stderr.take().unwrap()).unwrap(), "");
        assert!(matches!(child.join(), Err(ProcessError::Signalled(libc::SIGSEGV))));
    });
}

#[test]
fn variables_that_cannot_be_set_are_refused_with_the_reason() {
    for (key, value, why) in
        [("A=B", "1", "'='"), ("", "1", "no name"), ("A\0", "1", "zero byte"), ("A", "\0", "zero byte")]
    {
        for method in [StartMethod::Zygote, StartMethod::Exec] {
            let builder = Process::builder().start_method(method).env(key, value);
            let error = builder.spawn(|()| (), ()).unwrap_err();
            assert!(matches!(error, SpawnError::Kernel { .. }), "{error:?}");
            assert!(
                error.to_string().contains(why) && error.to_string().contains(&format!("{key:?}")),
                "{error}"
            );
        }
    }
}

/// One that the program itself was started with is nobody's fault, and nobody's hindrance.
#[test]
fn a_variable_with_a_strange_name_stops_no_process() {
    if std::env::var_os("ROPEWALK_CHILD").is_none() {
        let test = "a_variable_with_a_strange_name_stops_no_process";
        let set = |command: &mut std::process::Command| {
            command.env("=STRANGE", "1");
        };
        let output = common::child_with(test, set).unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    assert!(std::env::vars_os().any(|(key, _)| key == "=STRANGE"));
    for method in [StartMethod::Zygote, StartMethod::Exec] {
        let builder = Process::builder().start_method(method).env("ROPE", "walk");
        let child = builder.spawn(|()| std::env::var("ROPE").unwrap(), ()).unwrap();
        assert_eq!(child.join().unwrap(), "walk");
    }
}

#[test]
fn a_limit_that_cannot_be_set_is_named() {
    let child = Process::builder().limit(Resource::OpenFiles, u64::MAX).spawn(|()| (), ()).unwrap();
    let error = child.join().unwrap_err();
    assert!(error.to_string().contains("OpenFiles"), "{error}");
}

#[test]
fn an_end_that_was_asked_for_is_no_warning() {
    let said = with_log(|()| {
        keep_log();
        let nap = |()| std::thread::sleep(Duration::from_secs(3600));
        let killed = Process::spawn(nap, ()).unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
        drop(Pool::new(2).unwrap());
        let pool = Pool::new(2).unwrap();
        assert_eq!(pool.apply(|n: u32| n, 3).unwrap(), 3);
        drop(pool);
        while !children().is_empty() {
            std::thread::yield_now();
        }
        let asked = warnings();
        assert!(LINES.lock().unwrap().iter().any(|(_, line)| line.contains("SIGKILL")));
        let died = Process::spawn(|()| -> () { std::process::abort() }, ()).unwrap();
        died.join().unwrap_err();
        let pool = Pool::builder(1).name("slow").task_timeout(Duration::from_millis(20)).build().unwrap();
        pool.apply(nap, ()).unwrap_err();
        (asked, warnings())
    });
    assert!(said.0.is_empty(), "{said:?}");
    let (died, late) = (&said.1[0], &said.1[1]);
    assert!(died.contains("SIGABRT"), "{died}");
    assert!(late.contains("'slow'") && late.contains("20ms"), "{late}");
}

/// The kernel lets nobody wait for more descriptors than the limit on open ones, which may have been lowered.
#[test]
fn with_more_children_than_descriptors_allowed_their_ends_are_found_without_haste() {
    let said = with_log(|()| {
        keep_log();
        let nap = |()| std::thread::sleep(Duration::from_secs(3600));
        let pids: Vec<u32> = (0..12).map(|_| Process::spawn(nap, ()).unwrap().pid()).collect();
        let last = Process::spawn(nap, ()).unwrap();
        let low = libc::rlimit { rlim_cur: 4, rlim_max: 4 };
        // SAFETY: reads a limit that lives through the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const low) }, 0);
        // This wakes who waits for the others.
        drop(last);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(200) {
            std::thread::yield_now();
        }
        for pid in pids {
            // SAFETY: a child of this process's, which is not taken in yet.
            unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
        }
        while children().len() > 1 {
            assert!(began.elapsed() < Duration::from_secs(20), "they stay: {:?}", children());
            std::thread::yield_now();
        }
        warnings()
    });
    let complaints = said.iter().filter(|line| line.contains("cannot wait")).count();
    assert_eq!(complaints, 1, "{said:?}");
}
