//! What a process has no more of: address space, descriptors, threads. Each a clear error that names it; nothing
//! lost, nothing hung.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::{child, named, panic_text, runtime, watched};
use ropewalk::coroutine::{CoroutineBuilder, Suspender};
use ropewalk::sync::{Barrier, Event};
use ropewalk::{JoinError, Runtime};

/// Leaves the calling process, a child with so many runtimes, `more` bytes of address space above what it has now.
fn limit_address_space(runtimes: usize, more: u64) {
    monitors_have_begun(runtimes);
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    set_limit(libc::RLIMIT_AS, pages * 4096 + more);
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through the call.
    unsafe { libc::getrlimit(resource, &raw mut limit) };
    limit.rlim_cur = value;
    // SAFETY: as above.
    let result = unsafe { libc::setrlimit(resource, &raw const limit) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Waits until so many monitors of runtimes sleep, if the kernel tells that: a thread that begins needs memory of its own.
fn monitors_have_begun(count: usize) {
    let begins =
        |file: PathBuf, with: &str| fs::read_to_string(file).is_ok_and(|text| text.starts_with(with));
    let sleeps = |task: PathBuf| {
        begins(task.join("comm"), "test-monitor")
            && begins(task.join("syscall"), &format!("{} ", libc::SYS_futex))
    };
    let tasks = || fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let end = Instant::now() + Duration::from_secs(5);
    while tasks().filter(|task| sleeps(task.clone())).count() < count && Instant::now() < end {
        thread::yield_now();
    }
}

/// Runs `count` coroutines of a runtime at once, with stacks of `size` bytes each.
fn at_once(runtime: &Runtime, count: usize, size: usize) {
    let meet = Arc::new(Barrier::new(count));
    let handles: Vec<_> = (0..count)
        .map(|_| {
            let meet = Arc::clone(&meet);
            let builder = ropewalk::Builder::new().stack_size(size);
            builder
                .spawn_in(runtime, move || assert!(meet.wait_timeout(Duration::from_secs(10)).is_ok()))
                .unwrap()
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn stacks_that_others_keep_go_to_whoever_gets_none_from_the_kernel() {
    const LARGE: usize = 64 << 20;
    let test = "stacks_that_others_keep_go_to_whoever_gets_none_from_the_kernel";
    if let Some(output) = child(test) {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let (asleep, busy, poor) = (runtime(1), runtime(1), runtime(1));
    poor.run(|| ());
    at_once(&asleep, 6, LARGE);
    let turns = busy.spawn(|| {
        loop {
            ropewalk::yield_now();
        }
    });
    at_once(&busy, 6, LARGE);
    // No room for one more, but for what else a process needs.
    limit_address_space(3, LARGE as u64 / 2);
    at_once(&poor, 12, LARGE);
    // And for smaller ones; also the other way round, and by hand.
    at_once(&busy, 12, LARGE / 4);
    let by_hand: Result<Vec<_>, _> = (0..12)
        .map(|_| CoroutineBuilder::new().stack_size(LARGE).build(|_: &Suspender<(), ()>, ()| ()))
        .collect();
    assert_eq!(by_hand.unwrap().len(), 12);
    at_once(&busy, 12, LARGE);
    let by_hand =
        busy.run(|| CoroutineBuilder::new().stack_size(LARGE).build(|_: &Suspender<(), ()>, ()| ()).is_ok());
    assert!(by_hand, "its own worker keeps some");
    turns.cancel();
    assert!(turns.join().unwrap_err().is_cancelled());
}

#[test]
fn a_refused_closure_that_waits_in_its_destructor_holds_no_worker_up() {
    struct Waits(Arc<Event>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.wait();
        }
    }
    if let Some(output) = child("a_refused_closure_that_waits_in_its_destructor_holds_no_worker_up") {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let runtime = runtime(1);
    runtime.run(|| ());
    limit_address_space(1, 32 << 20);
    watched(move || {
        let ready = Arc::new(Event::new());
        let refused = [Waits(Arc::clone(&ready)), Waits(Arc::clone(&ready))].map(|waits| {
            let builder = ropewalk::Builder::new().stack_size(64 << 20);
            builder.spawn_in(&runtime, move || drop(waits)).unwrap()
        });
        // It comes after them, on the same worker.
        runtime.spawn(move || ready.set()).join().unwrap();
        for handle in refused {
            let Err(JoinError::Panicked(payload)) = handle.join() else { panic!("it had a stack") };
            named(payload.downcast_ref::<String>().unwrap(), &["cannot start", "address space"]);
        }
    });
}

#[test]
fn without_address_space_each_coroutine_too_many_is_told_so() {
    let test = "without_address_space_each_coroutine_too_many_is_told_so";
    if let Some(output) = child(test) {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let runtime = runtime(2);
    runtime.run(|| ());
    limit_address_space(1, 200 << 20);
    let gate = Arc::new(Event::new());
    let handles: Vec<_> = (0..40)
        .map(|n| {
            let gate = Arc::clone(&gate);
            let builder = ropewalk::Builder::new().name(format!("barge {n}")).stack_size(16 << 20);
            builder.spawn_in(&runtime, move || gate.wait()).unwrap()
        })
        .collect();
    while handles.iter().filter(|handle| handle.is_finished()).count() < 25 {
        std::thread::sleep(Duration::from_millis(1));
    }
    gate.set();
    let mut done = 0;
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(()) => done += 1,
            Err(JoinError::Panicked(payload)) => {
                let why = *payload.downcast::<String>().unwrap();
                named(&why, &[&format!("'barge {n}'"), "cannot start", "address space"]);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=15).contains(&done), "{done} had a stack");
    // By hand it is an error of the builder.
    let by_hand: Result<Vec<_>, _> = (0..40)
        .map(|_| CoroutineBuilder::new().stack_size(16 << 20).build(|_: &Suspender<(), ()>, ()| ()))
        .collect();
    let error = by_hand.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    named(&error.to_string(), &["address space"]);
    // Small ones still run, and the large ones again.
    assert_eq!(runtime.run(|| 7), 7);
    let large = ropewalk::Builder::new().stack_size(16 << 20).spawn_in(&runtime, || 8).unwrap();
    assert_eq!(large.join().unwrap(), 8);
}

#[test]
fn accept_waits_for_a_free_descriptor_and_does_not_spin() {
    let test = "accept_waits_for_a_free_descriptor_and_does_not_spin";
    if let Some(output) = child(test) {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let runtime = runtime(1);
    let (tell, told) = std::sync::mpsc::channel();
    let server = runtime.spawn(move || {
        let listener = ropewalk::net::TcpListener::bind("127.0.0.1:0").unwrap();
        tell.send(listener.local_addr().unwrap()).unwrap();
        let (first, _) = listener.accept().unwrap();
        let (second, _) = listener.accept().unwrap();
        drop((first, second));
    });
    let address = told.recv().unwrap();
    let first = std::net::TcpStream::connect(address).unwrap();
    // Every descriptor but one is taken, and the client gets that one.
    set_limit(libc::RLIMIT_NOFILE, 256);
    let mut taken = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        taken.push(file);
    }
    taken.pop();
    let second = std::net::TcpStream::connect(address).unwrap();
    let before = runtime.metrics().total;
    std::thread::sleep(Duration::from_millis(300));
    let after = runtime.metrics().total;
    assert!(!server.is_finished(), "there was no descriptor for the second connection");
    let (turns, sleeps) = (after.switches - before.switches, after.kernel_sleeps - before.kernel_sleeps);
    assert!(turns <= 40 && sleeps <= 80, "{turns} turns and {sleeps} sleeps in 300 ms");
    drop(taken);
    server.join().unwrap();
    drop((first, second));
}

#[test]
fn a_runtime_for_which_there_are_no_descriptors_or_threads_is_an_error() {
    let test = "a_runtime_for_which_there_are_no_descriptors_or_threads_is_an_error";
    if let Some(output) = child(test) {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    set_limit(libc::RLIMIT_NOFILE, 20);
    let error = Runtime::builder().name("tower").workers(64).build().unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
    // What was made of it is gone: one that fits can be built.
    let small = Runtime::builder().workers(1).build().unwrap();
    assert_eq!(small.run(|| 5), 5);
}

#[test]
fn a_scope_whose_runtime_cannot_start_panics_and_waits_for_nobody() {
    let test = "a_scope_whose_runtime_cannot_start_panics_and_waits_for_nobody";
    if let Some(output) = child(test) {
        assert!(output.status.success(), "{output:?}");
        return;
    }
    set_limit(libc::RLIMIT_NOFILE, 4);
    watched(|| {
        let (data, mut dropped) = (Arc::new(5), 0);
        let text = panic_text(|| {
            ropewalk::scope(|s| {
                let data = Arc::clone(&data);
                s.spawn(move || assert_eq!(*data, 5));
                dropped += 1;
            });
        });
        named(&text, &["the global runtime cannot start"]);
        assert_eq!((Arc::strong_count(&data), dropped), (1, 0), "the closure is dropped, the rest not run");
    });
}
