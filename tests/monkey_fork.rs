//! A program that patches and forks: the child waits like its parent, or is told why it does not.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::child;
use ropewalk::{Runtime, monkey, spawn};

/// Forks, runs `f` in the copy, and gives its code: 0 if `f` has returned, 1 if it has panicked, none if it hangs.
fn in_copy(f: impl FnOnce()) -> Option<i32> {
    // SAFETY: the copy ends without handlers.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: ends a copy that hangs.
        unsafe { libc::alarm(20) };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: ends the copy.
        unsafe { libc::_exit(result.is_err().into()) };
    }
    assert!(pid > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: waits for the copy.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {}
    libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
}

fn passed(output: &std::process::Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
}

/// Sleeps and file calls of one worker: at once if they wait like coroutines.
fn work() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let parks = || {
        let all = monkey::status();
        all.iter()
            .filter(|symbol| symbol.name() == "clock_nanosleep")
            .map(|symbol| symbol.parks())
            .sum::<u64>()
    };
    let before = parks();
    runtime.run(|| {
        let nap = || std::thread::sleep(Duration::from_millis(10));
        let all: Vec<_> = (0..20).map(|_| spawn(nap)).collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
        let name = std::env::temp_dir().join(format!("ropewalk-fork-{}", std::process::id()));
        std::fs::create_dir(&name).unwrap();
        std::fs::remove_dir(&name).unwrap();
    });
    assert_eq!(parks(), before + 20, "each sleep is a coroutine's");
    drop(runtime);
}

#[test]
fn a_child_that_is_forked_before_any_runtime_keeps_the_patch() {
    if let Some(output) = child("a_child_that_is_forked_before_any_runtime_keeps_the_patch") {
        return passed(&output);
    }
    monkey::patch_all().unwrap();
    // A thread of the pool for blocking calls, which no child has.
    ropewalk::thread::spawn_blocking(|| ()).get().unwrap();
    for _ in 0..3 {
        let code = in_copy(|| {
            work();
            assert_eq!(ropewalk::thread::spawn_blocking(|| 7).get().unwrap(), 7);
        });
        assert_eq!(code, Some(0));
    }
    assert_eq!(in_copy(|| assert_eq!(in_copy(work), Some(0))), Some(0), "a child's child");
    work();
}

#[test]
fn a_child_that_is_forked_after_a_runtime_is_told_so_and_waits_for_nothing() {
    if let Some(output) = child("a_child_that_is_forked_after_a_runtime_is_told_so_and_waits_for_nothing") {
        return passed(&output);
    }
    monkey::patch_all().unwrap();
    let mut runtime = Some(Runtime::builder().workers(1).build().unwrap());
    spawn(|| ()).join().unwrap();
    let code = in_copy(|| {
        let began = Instant::now();
        assert!(std::panic::catch_unwind(|| spawn(|| ()).join()).is_err());
        assert!(ropewalk::Builder::new().spawn(|| ()).unwrap_err().to_string().contains("forked"));
        let inherited = runtime.take().unwrap();
        assert!(ropewalk::Builder::new().spawn_in(&inherited, || ()).is_err());
        drop(inherited);
        assert!(Runtime::builder().workers(1).build().unwrap_err().to_string().contains("forked"));
        assert!(monkey::patch_all().unwrap_err().to_string().contains("forked"));
        std::thread::sleep(Duration::from_millis(1));
        assert!(began.elapsed() < Duration::from_secs(15));
    });
    assert_eq!(code, Some(0));
    let code = spawn(|| in_copy(|| assert!(ropewalk::Builder::new().spawn(|| ()).is_err()))).join().unwrap();
    assert_eq!(code, Some(0), "forked by a coroutine");
    assert_eq!(spawn(|| 7).join().unwrap(), 7, "the parent goes on");
}
