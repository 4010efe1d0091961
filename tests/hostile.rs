//! What safe code may do to the runtime in odd places and at odd times.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::RefCell;
use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common::{child, runtime, watched};
use ropewalk::thread::ThreadPool;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a destructor panics");
        }
    }
}

/// Says on which thread it was dropped.
struct WhereDropped(mpsc::Sender<ThreadId>);

impl Drop for WhereDropped {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

#[test]
fn a_coroutine_that_catches_its_cancellation_for_ever_ends_the_process_with_its_name() {
    match child("a_coroutine_that_catches_its_cancellation_for_ever_ends_the_process_with_its_name") {
        Some(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(errors.contains("coroutine 'stubborn' (#"), "{errors}");
            assert!(errors.contains("does not end"), "{errors}");
        }
        None => {
            // Ends a child that hangs.
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(20));
                std::process::exit(1);
            });
            let runtime = runtime(1);
            let stubborn = || {
                loop {
                    let _ = catch_unwind(|| ropewalk::sleep(Duration::from_secs(3600)));
                }
            };
            ropewalk::Builder::new().name("stubborn").spawn_in(&runtime, stubborn).unwrap();
            runtime.run(|| ());
            drop(runtime);
        }
    }
}

#[test]
fn a_runtime_can_be_dropped_on_a_spare_worker() {
    watched(|| {
        let runtime = runtime(1);
        let (sender, receiver) = mpsc::channel();
        // The only worker is held, so what follows runs on one that the monitor adds.
        runtime.spawn(|| thread::sleep(Duration::from_millis(600)));
        let slot = Arc::new(StdMutex::new(None));
        let taken = Arc::clone(&slot);
        runtime.spawn(move || {
            while taken.lock().unwrap().is_none() {
                ropewalk::yield_now();
            }
            let runtime: Option<ropewalk::Runtime> = taken.lock().unwrap().take();
            drop(runtime);
            sender.send(()).unwrap();
        });
        *slot.lock().unwrap() = Some(runtime);
        receiver.recv().unwrap();
    });
}

#[test]
fn a_coroutine_local_made_by_the_last_destructors_stays_on_its_thread() {
    ropewalk::coroutine_local! {
        static LOCAL: RefCell<Option<WhereDropped>> = RefCell::new(None);
    }
    struct Late(mpsc::Sender<ThreadId>);
    impl Drop for Late {
        fn drop(&mut self) {
            LOCAL.with(|local| *local.borrow_mut() = Some(WhereDropped(self.0.clone())));
        }
    }
    watched(|| {
        let runtime = runtime(1);
        let home = runtime.run(|| thread::current().id());
        let (sender, receiver) = mpsc::channel();
        let event = Arc::new(ropewalk::sync::Event::new());
        let go = Arc::clone(&event);
        let handle = runtime.spawn(move || {
            go.wait();
            Late(sender)
        });
        let canceller = handle.canceller();
        drop(handle);
        event.set();
        while runtime.metrics().total.finished < 2 {
            thread::yield_now();
        }
        drop(runtime);
        drop(canceller);
        assert_eq!(receiver.recv().unwrap(), home, "dropped by another thread than it was made on");
    });
}

#[test]
fn a_handle_whose_waker_panics_when_it_is_dropped_leaves_the_result_to_the_coroutine() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a waker's destructor"));
        }
    }
    watched(|| {
        let runtime = runtime(1);
        let (sender, receiver) = mpsc::channel();
        let event = Arc::new(ropewalk::sync::Event::new());
        let go = Arc::clone(&event);
        let mut handle = runtime.spawn(move || {
            go.wait();
            WhereDropped(sender)
        });
        let canceller = handle.canceller();
        let waker = Waker::from(Arc::new(Bomb));
        assert!(Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        assert!(catch_unwind(std::panic::AssertUnwindSafe(|| drop(handle))).is_err());
        event.set();
        // While somebody else still has a reference to the coroutine.
        receiver.recv().unwrap();
        drop(canceller);
    });
}

#[test]
fn locals_whose_destructors_use_their_own_key_or_each_other_s_end_and_are_dropped() {
    static LIVING: AtomicUsize = AtomicUsize::new(0);
    struct Uses(fn());
    impl Uses {
        fn new(f: fn()) -> Self {
            LIVING.fetch_add(1, Ordering::SeqCst);
            Self(f)
        }
    }
    impl Drop for Uses {
        fn drop(&mut self) {
            LIVING.fetch_sub(1, Ordering::SeqCst);
            (self.0)();
        }
    }
    ropewalk::coroutine_local! {
        static OWN: Uses = Uses::new(|| OWN.with(|_| ()));
        static ONE: Uses = Uses::new(|| OTHER.with(|_| ()));
        static OTHER: Uses = Uses::new(|| ONE.with(|_| ()));
    }
    let use_them = || {
        OWN.with(|_| ());
        ONE.with(|_| ());
    };
    watched(move || {
        runtime(1).run(use_them);
        thread::spawn(use_them).join().unwrap();
        assert_eq!(LIVING.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_local_of_a_thread_may_use_others_while_it_is_dropped() {
    ropewalk::coroutine_local! {
        static OTHER: RefCell<Vec<u32>> = RefCell::new(Vec::new());
        static FIRST: RefCell<Option<Uses>> = RefCell::new(None);
    }
    struct Uses(mpsc::Sender<usize>);
    impl Drop for Uses {
        fn drop(&mut self) {
            OTHER.with_borrow_mut(|other| other.push(1));
            let _ = self.0.send(OTHER.with_borrow(Vec::len));
        }
    }
    match child("a_local_of_a_thread_may_use_others_while_it_is_dropped") {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => {
            let (sender, receiver) = mpsc::channel();
            let keep = sender.clone();
            thread::spawn(move || FIRST.with_borrow_mut(|first| *first = Some(Uses(sender)))).join().unwrap();
            assert_eq!(receiver.recv(), Ok(1));
            ropewalk::spawn(move || FIRST.with_borrow_mut(|first| *first = Some(Uses(keep)))).join().unwrap();
            assert_eq!(receiver.recv(), Ok(1));
        }
    }
}

#[test]
fn payloads_that_panic_when_dropped_end_no_coroutine_badly() {
    ropewalk::coroutine_local! {
        static LOCAL: RefCell<Option<Thrower>> = RefCell::new(None);
    }
    /// Panics with a payload that panics when it is dropped.
    struct Thrower;
    impl Drop for Thrower {
        fn drop(&mut self) {
            std::panic::panic_any(Bomb);
        }
    }
    struct Wakes;
    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            std::panic::panic_any(Bomb);
        }
    }
    match child("payloads_that_panic_when_dropped_end_no_coroutine_badly") {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => watched(|| {
            let runtime = runtime(1);
            // In the destructor of a local.
            runtime.spawn(|| LOCAL.with_borrow_mut(|local| *local = Some(Thrower))).join().unwrap();
            // In a result that nobody takes.
            let event = Arc::new(ropewalk::sync::Event::new());
            let go = Arc::clone(&event);
            drop(runtime.spawn(move || {
                go.wait();
                Thrower
            }));
            event.set();
            // In the waker of whoever joins.
            let event = Arc::new(ropewalk::sync::Event::new());
            let go = Arc::clone(&event);
            let mut handle = runtime.spawn(move || go.wait());
            let waker = Waker::from(Arc::new(Wakes));
            let mut context = Context::from_waker(&waker);
            assert!(std::future::Future::poll(std::pin::Pin::new(&mut handle), &mut context).is_pending());
            event.set();
            handle.join().unwrap();
            assert_eq!(runtime.run(|| 7), 7);
        }),
    }
}

#[test]
fn names_and_numbers_that_no_thread_can_have_are_refused() {
    let error = ropewalk::Runtime::builder().name("a\0b").workers(1).build().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let error = ropewalk::Runtime::builder().name("legion").workers(usize::MAX).build().unwrap_err();
    assert!(error.to_string().contains("runtime 'legion'"), "{error}");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let payload = catch_unwind(|| ThreadPool::builder(1).name("a\0b").build()).unwrap_err();
    let text = payload.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("pool"), "{text}");
}

#[test]
fn huge_capacities_are_refused_by_name_or_cost_nothing() {
    for capacity in [usize::MAX, usize::MAX / 2, 1 << 62, 1 << 60] {
        for payload in [
            catch_unwind(move || drop(ropewalk::channel::bounded::<u64>(capacity))).err(),
            catch_unwind(move || drop(ropewalk::queue::Queue::<u64>::bounded(capacity))).err(),
        ] {
            let payload = payload.expect("nobody has so much memory");
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_default();
            assert!(text.contains(&capacity.to_string()), "{capacity}: {text}");
        }
    }
}

#[test]
fn values_of_any_size_and_alignment_travel() {
    #[repr(align(4096))]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Page([u8; 4096]);
    #[repr(align(4096))]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Nothing;
    #[repr(align(64))]
    #[derive(Clone, Copy, PartialEq, Debug)]
    struct Line(u8);
    fn aligned<T>(value: &T) {
        assert_eq!(std::ptr::from_ref(value).addr() % align_of::<T>(), 0);
    }
    fn travels<T: Copy + PartialEq + std::fmt::Debug + Send + Sync + 'static>(value: T) {
        use ropewalk::coroutine::{CoroutineBuilder, State, Suspender};
        // Frames without optimisation hold many copies.
        let builder = CoroutineBuilder::new().stack_size(2 << 20);
        let echo = builder.build(|out: &Suspender<T, T, T>, mut value: T| {
            for _ in 0..3 {
                aligned(&value);
                value = out.suspend(value);
            }
            value
        });
        let mut echo = echo.unwrap();
        for _ in 0..3 {
            assert_eq!(echo.resume(value), State::Yielded(value));
        }
        assert_eq!(echo.resume(value), State::Returned(value));
        let carries = move || {
            aligned(&value);
            value
        };
        let carrier = ropewalk::Builder::new().stack_size(2 << 20).spawn(carries);
        assert_eq!(carrier.unwrap().join().unwrap(), value);
        for capacity in [0, 1, 7] {
            let (sender, receiver) = ropewalk::channel::bounded(capacity);
            let sends = thread::spawn(move || (0..20).for_each(|_| sender.send(value).unwrap()));
            let got: Vec<T> = receiver.iter().collect();
            got.iter().for_each(aligned);
            assert_eq!(got, vec![value; 20]);
            sends.join().unwrap();
        }
        let queue = ropewalk::queue::Queue::unbounded();
        (0..100).for_each(|_| queue.put(value).unwrap());
        assert_eq!(queue.close_now(), vec![value; 100]);
        let mutex = ropewalk::sync::Mutex::new(value);
        aligned(&*mutex.lock());
        assert_eq!(ThreadPool::new(1).apply(move || value).unwrap(), value);
    }
    watched(|| {
        travels(Page([7; 4096]));
        travels(Nothing);
        travels(());
        travels(Line(3));
        travels([9u8; 10_000]);
        travels([1u64; 3]);
    });
}

#[test]
fn far_deadlines_are_only_far() {
    watched(|| {
        let far = Duration::MAX;
        let event = Arc::new(ropewalk::sync::Event::new());
        let waits = {
            let event = Arc::clone(&event);
            ropewalk::spawn(move || {
                let nested = ropewalk::timeout(far, || ropewalk::timeout(far, || event.wait_timeout(far)));
                assert_eq!(nested, Ok(Ok(true)));
            })
        };
        let parks = ropewalk::spawn(move || ropewalk::park_timeout(far));
        let tick = ropewalk::channel::tick(far);
        let after = ropewalk::channel::after(far);
        assert!(tick.try_recv().is_err() && after.try_recv().is_err());
        assert!(after.recv_timeout(Duration::from_millis(1)).is_err());
        let thread = thread::spawn(move || tick.recv_timeout(Duration::from_millis(1)).is_err());
        assert!(thread.join().unwrap());
        event.set();
        parks.handle().unpark();
        assert!(parks.join().unwrap());
        waits.join().unwrap();
        let sleeps = ropewalk::spawn(move || ropewalk::sleep(far));
        sleeps.cancel();
        assert!(sleeps.join().is_err());
    });
}

#[test]
fn a_spawn_in_every_destructor_of_an_ending_runtime_ends() {
    static DROPPED: AtomicUsize = AtomicUsize::new(0);
    struct Spawns(u32);
    impl Drop for Spawns {
        fn drop(&mut self) {
            DROPPED.fetch_add(1, Ordering::SeqCst);
            if self.0 > 0 {
                let next = Spawns(self.0 - 1);
                ropewalk::spawn(move || {
                    let _next = next;
                    ropewalk::park();
                });
            }
        }
    }
    watched(|| {
        let runtime = runtime(2);
        let started = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&started);
        runtime.spawn(move || {
            let _spawns = Spawns(10);
            flag.store(true, Ordering::SeqCst);
            ropewalk::park();
        });
        while !started.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        drop(runtime);
        assert_eq!(DROPPED.load(Ordering::SeqCst), 11);
    });
}
