//! Misuse and exhaustion: each a clear error or panic that names the thing; nothing lost, nothing hung.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use common::{child, on_workers, runtime, watched};
use ropewalk::coroutine::{CoroutineBuilder, Suspender};
use ropewalk::queue::{LifoQueue, PriorityQueue, Queue};
use ropewalk::sync::{Barrier, Event, Mutex, RawMutex, Semaphore, WaitGroup};
use ropewalk::thread::{ThreadPool, WhenFull};
use ropewalk::{JoinError, JoinHandle, Runtime};

#[test]
fn a_try_lock_that_fails_leaves_the_lock_to_its_holder() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(1));
        let own = Arc::clone(&mutex);
        let guard = mutex.lock();
        let tried = ropewalk::spawn(move || {
            let first = own.try_lock().is_some();
            (first, own.try_lock().is_some())
        });
        assert_eq!(tried.join().unwrap(), (false, false));
        assert!(mutex.is_locked());
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(mutex.try_lock().is_some());
    });
    watched(|| {
        let mutex = Mutex::new(1);
        let _guard = mutex.lock();
        assert!(mutex.try_lock().is_none() && mutex.is_locked());
    });
}

#[test]
fn a_panic_that_was_joined_is_not_raised_again_by_the_scope() {
    on_workers(|| {
        for _ in 0..50 {
            let taken = ropewalk::scope(|s| {
                let bad = s.spawn(|| std::panic::resume_unwind(Box::new(7u8)));
                let good = s.spawn(|| 8u8);
                (bad.join().is_err(), good.join().unwrap())
            });
            assert_eq!(taken, (true, 8));
        }
        let payload = std::panic::catch_unwind(|| {
            ropewalk::scope(|s| drop(s.spawn(|| std::panic::resume_unwind(Box::new(7u8)))));
        });
        assert!(payload.is_err(), "a panic that nobody joined is");
    });
}

/// The text that a panic carries.
fn panic_text(f: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a panic of ours is text")).to_owned(),
    }
}

fn named(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "'{text}' does not name {parts:?}");
}

#[test]
fn absurd_stack_sizes_are_refused_with_a_name_and_a_range() {
    for size in [0, usize::MAX, 1 << 40] {
        let error = ropewalk::Builder::new().name("silo").stack_size(size).spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        named(&error.to_string(), &["'silo'", &size.to_string(), "KiB"]);
        let error = Runtime::builder().name("farm").stack_size(size).build().unwrap_err();
        named(&error.to_string(), &["'farm'", "KiB"]);
        let error =
            CoroutineBuilder::new().stack_size(size).build(|_: &Suspender<(), ()>, ()| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        named(&error.to_string(), &[&size.to_string(), "KiB"]);
        let scoped = ropewalk::scope(|s| {
            let builder = ropewalk::Builder::new().name("barn").stack_size(size);
            s.spawn_with(builder, || ()).map(drop)
        });
        named(&scoped.unwrap_err().to_string(), &["'barn'"]);
    }
    // The smallest that can be is rounded up to, and works.
    let one = ropewalk::Builder::new().stack_size(1).spawn(|| 1).unwrap();
    assert_eq!(one.join().unwrap(), 1);
}

#[test]
fn a_runtime_without_workers_is_refused() {
    let error = Runtime::builder().name("mill").workers(0).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    named(&error.to_string(), &["'mill'", "zero workers"]);
}

#[test]
fn capacity_zero_is_refused_where_it_cannot_be() {
    named(&panic_text(|| drop(Queue::<u8>::bounded(0))), &["capacity"]);
    named(&panic_text(|| drop(LifoQueue::<u8>::bounded(0))), &["capacity"]);
    named(&panic_text(|| drop(PriorityQueue::<u8>::bounded(0))), &["capacity"]);
    named(&panic_text(|| drop(ThreadPool::new(0))), &["zero threads"]);
    let bounded = || drop(ThreadPool::builder(1).name("hut").bound(0, WhenFull::Block).build());
    named(&panic_text(bounded), &["'hut'", "bound"]);
}

#[test]
fn who_joins_itself_is_told_so() {
    on_workers(|| {
        let (give, take) = ropewalk::channel::bounded::<JoinHandle<String>>(1);
        let (told, tells) = ropewalk::channel::bounded(1);
        let itself = ropewalk::Builder::new()
            .name("snake")
            .spawn(move || {
                let own = take.recv().unwrap();
                told.send(panic_text(|| drop(own.join()))).unwrap();
                String::new()
            })
            .unwrap();
        give.send(itself).unwrap();
        named(&tells.recv().unwrap(), &["'snake'", "joins itself"]);
    });
}

#[test]
fn a_lock_taken_twice_by_one_party_is_a_deadlock_of_one() {
    on_workers(|| {
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        named(&panic_text(|| drop(mutex.lock())), &["deadlock", "holds mutex"]);
        drop(guard);
        assert!(mutex.try_lock().is_some());
    });
}

#[test]
fn a_release_by_a_stranger_changes_nothing() {
    on_workers(|| {
        let mutex = Arc::new(RawMutex::new());
        named(&mutex.release().unwrap_err().to_string(), &["nobody holds"]);
        mutex.acquire();
        let own = Arc::clone(&mutex);
        std::thread::Builder::new()
            .name("holder".to_owned())
            .spawn(move || {
                let gate = RawMutex::new();
                gate.acquire();
                let wrong = ropewalk::scope(|s| s.spawn(|| gate.release().unwrap_err()).join().unwrap());
                let number = format!("thread 'holder' (#{}) holds", ropewalk::current().id());
                named(&wrong.to_string(), &[&number, "only the holder"]);
                named(&own.release().unwrap_err().to_string(), &["a coroutine holds", "only the holder"]);
            })
            .unwrap()
            .join()
            .unwrap();
        for other in [
            ropewalk::spawn({
                let mutex = Arc::clone(&mutex);
                move || mutex.release().unwrap_err().to_string()
            }),
            ropewalk::spawn({
                let mutex = Arc::clone(&mutex);
                move || std::thread::spawn(move || mutex.release().unwrap_err().to_string()).join().unwrap()
            }),
        ] {
            named(&other.join().unwrap(), &["only the holder"]);
        }
        assert!(mutex.is_held());
        mutex.release().unwrap();
        let semaphore = Semaphore::bounded(1);
        named(&semaphore.release().unwrap_err().to_string(), &["1"]);
        assert_eq!(semaphore.available(), 1);
    });
}

#[test]
fn what_is_done_once_is_not_done_within_itself() {
    use ropewalk::sync::{Lazy, Once, OnceCell};
    static ONCE: Once = Once::new();
    static CELL: OnceCell<u8> = OnceCell::new();
    static LAZY: Lazy<u8> = Lazy::new(|| *LAZY);
    named(&panic_text(|| ONCE.call_once(|| ONCE.call_once(|| ()))), &["a Once was used again", "for ever"]);
    let within = || *CELL.get_or_init(|| *CELL.get_or_init(|| 1));
    named(&panic_text(|| assert!(within() > 0)), &["a OnceCell or Lazy was used again"]);
    named(&panic_text(|| assert!(*LAZY > 0)), &["a OnceCell or Lazy was used again"]);
}

#[test]
fn a_task_is_done_once() {
    let queue = Queue::bounded(2);
    named(&panic_text(|| queue.task_done()), &["task_done"]);
    queue.put(1).unwrap();
    assert_eq!(queue.get(), Ok(1));
    queue.task_done();
    named(&panic_text(|| queue.task_done()), &["task_done"]);
    assert_eq!(queue.unfinished_tasks(), 0);
    queue.join();
    let group = WaitGroup::new();
    named(&panic_text(|| group.done()), &["done"]);
    assert_eq!(group.count(), 0);
}

#[test]
fn a_pool_is_closed_before_it_is_joined_and_takes_nothing_afterwards() {
    on_workers(|| {
        let pool = ThreadPool::builder(1).name("loom").build();
        named(&pool.join().unwrap_err().to_string(), &["'loom'", "close"]);
        assert_eq!(pool.apply(|| 1).unwrap(), 1);
        pool.close();
        named(&pool.apply_async(|| 2).unwrap_err().to_string(), &["'loom'", "closed"]);
        named(&pool.map(|n| n, 0..3).unwrap_err().to_string(), &["'loom'"]);
        pool.join().unwrap();
        pool.join().unwrap();
    });
}

/// Leaves the calling process, a child, `more` bytes of address space above what it has now.
fn limit_address_space(more: u64) {
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
    limit_address_space(LARGE as u64 / 2);
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
    limit_address_space(32 << 20);
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
    limit_address_space(200 << 20);
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
