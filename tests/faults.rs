//! Misuse: each a clear error or panic that names the thing; nothing lost, nothing hung.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;

use common::{named, on_workers, panic_text, watched};
use ropewalk::coroutine::{CoroutineBuilder, Suspender};
use ropewalk::queue::{LifoQueue, PriorityQueue, Queue};
use ropewalk::sync::{Mutex, RawMutex, Semaphore, WaitGroup};
use ropewalk::thread::{SubmitError, ThreadPool, WhenFull};
use ropewalk::{JoinHandle, Runtime};

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
fn a_path_that_no_unix_socket_can_have_is_refused_with_the_reason() {
    use ropewalk::net::{UnixDatagram, UnixListener, UnixStream};
    let check = |path: &str, parts: &[&str]| {
        let errors = [
            UnixListener::bind(path).map(drop).unwrap_err(),
            UnixStream::connect(path).map(drop).unwrap_err(),
            UnixDatagram::bind(path).map(drop).unwrap_err(),
            UnixDatagram::unbound().unwrap().connect(path).unwrap_err(),
            UnixDatagram::unbound().unwrap().send_to(b"word", path).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            named(&error.to_string(), parts);
        }
    };
    /// Takes the folder away however the test ends.
    struct Folder(std::path::PathBuf);
    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
    let folder = Folder(std::env::temp_dir().join(format!("ropewalk-path-{}", std::process::id())));
    std::fs::create_dir(&folder.0).unwrap();
    let room = 107 - folder.0.as_os_str().len() - 1;
    let longest = folder.0.join("s".repeat(room));
    drop(UnixListener::bind(&longest).unwrap());
    let too_long = format!("{}s", longest.display());
    check(&too_long, &[&too_long, "108 bytes", "107"]);
    named(&UnixStream::connect("").map(drop).unwrap_err().to_string(), &["empty"]);
    check("a\0b", &["\"a\\0b\"", "zero byte"]);
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
    for size in [usize::MAX, usize::MAX / 2] {
        let pool = ThreadPool::builder(2).name("loft").stack_size(size).bound(1, WhenFull::Reject).build();
        // Again and again: a task that was refused takes no place of another's.
        for _ in 0..3 {
            let error = pool.apply_async(|| ()).unwrap_err();
            assert!(matches!(error, SubmitError::NoThread { .. }), "{error}");
            named(&error.to_string(), &["'loft'", "stack", &size.to_string()]);
        }
        assert_eq!(pool.unfinished(), 0);
    }
    assert_eq!(ThreadPool::builder(1).stack_size(0).build().apply(|| 1).unwrap(), 1);
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
