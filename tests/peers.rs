//! What goes wrong elsewhere, and must not here; each test is named after what holds.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::{child_with, on_workers, runtime, watched};
use ropewalk::channel::{self, bounded};
use ropewalk::coroutine::{Boost, CoroutineBuilder, DefaultSwitch, State, Suspender, Switch};
use ropewalk::sync::{Event, Mutex};
use ropewalk::{JoinError, select};

#[test]
fn a_loop_of_yields_starves_nobody() {
    on_workers(|| {
        let done = Arc::new(AtomicUsize::new(0));
        // Fresh ones, sleepers, and those woken by a channel and by a socket: all get their turn.
        let mut handles = Vec::new();
        for n in 0..8 {
            let done = Arc::clone(&done);
            handles.push(ropewalk::spawn(move || {
                if n % 2 == 0 {
                    ropewalk::sleep(Duration::from_millis(1));
                }
                done.fetch_add(1, Ordering::Release);
            }));
        }
        let (sender, receiver) = bounded::<()>(0);
        let (own, other) = (Arc::clone(&done), Arc::clone(&done));
        handles.push(ropewalk::spawn(move || {
            receiver.recv().unwrap();
            own.fetch_add(1, Ordering::Release);
        }));
        handles.push(ropewalk::spawn(move || sender.send(()).unwrap()));
        let (near, far) = ropewalk::net::UnixStream::pair().unwrap();
        handles.push(ropewalk::spawn(move || {
            std::io::Read::read_exact(&mut &far, &mut [0]).unwrap();
            other.fetch_add(1, Ordering::Release);
        }));
        handles.push(ropewalk::spawn(move || std::io::Write::write_all(&mut &near, &[1]).unwrap()));
        while done.load(Ordering::Acquire) < 10 {
            ropewalk::yield_now();
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn who_computes_after_a_sleep_holds_up_no_timer_of_another_worker() {
    watched(|| {
        // Two sleepers that have started, on two different workers: each waits for the other to begin.
        let runtime = runtime(2);
        let meeting = Arc::new(std::sync::Barrier::new(2));
        let woken = Arc::new(AtomicBool::new(false));
        let (own, other) = (Arc::clone(&meeting), Arc::clone(&woken));
        let computing = runtime.spawn(move || {
            own.wait();
            ropewalk::sleep(Duration::from_millis(5));
            // Computes until the other one's timer has fired: were that held up, this would never end.
            while !other.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
        });
        let sleeping = runtime.spawn(move || {
            meeting.wait();
            ropewalk::sleep(Duration::from_millis(30));
            woken.store(true, Ordering::Release);
        });
        computing.join().unwrap();
        sleeping.join().unwrap();
    });
}

#[test]
fn a_select_consumes_no_message_but_the_one_it_gives() {
    on_workers(|| {
        let (a, from_a) = bounded(4);
        let (b, from_b) = channel::unbounded();
        let (c, from_c) = bounded(0);
        let senders = [
            ropewalk::spawn(move || (0..200).for_each(|n| a.send(n).unwrap())),
            ropewalk::spawn(move || (200..400).for_each(|n| b.send(n).unwrap())),
            ropewalk::spawn(move || (400..600).for_each(|n| c.send(n).unwrap())),
        ];
        let mut seen = Vec::new();
        let mut open = 3;
        let (mut from_a, mut from_b, mut from_c) = (from_a, from_b, from_c);
        while open > 0 {
            let mut take = |receiver: &mut channel::Receiver<i32>, result: Result<i32, _>| match result {
                Ok(value) => seen.push(value),
                Err(channel::RecvError) => {
                    *receiver = channel::never();
                    open -= 1;
                }
            };
            select! {
                recv(from_a) -> result => take(&mut from_a, result),
                recv(from_b) -> result => take(&mut from_b, result),
                recv(from_c) -> result => take(&mut from_c, result),
            }
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..600));
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// Parks `count` coroutines at once; gives how many started and how many were refused, and with what.
fn crowd(count: usize) -> (usize, Vec<String>) {
    let runtime = ropewalk::Runtime::builder().workers(2).stack_size(16 * 1024).build().unwrap();
    let gate = Arc::new(Event::new());
    let parked = Arc::new(AtomicUsize::new(0));
    let handles: Vec<_> = (0..count)
        .map(|n| {
            let (gate, parked) = (Arc::clone(&gate), Arc::clone(&parked));
            runtime.spawn(move || {
                parked.fetch_add(1, Ordering::Relaxed);
                gate.wait();
                n
            })
        })
        .collect();
    // All have either begun to wait or ended.
    while parked.load(Ordering::Relaxed) + handles.iter().filter(|handle| handle.is_finished()).count()
        < count
    {
        std::thread::sleep(Duration::from_millis(10));
    }
    gate.set();
    let mut refusals = Vec::new();
    for (n, handle) in handles.into_iter().enumerate() {
        match handle.join() {
            Ok(value) => assert_eq!(value, n),
            Err(JoinError::Panicked(payload)) => refusals.push(*payload.downcast::<String>().unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
    // What was given back serves again.
    assert_eq!(runtime.run(|| 7), 7);
    (parked.load(Ordering::Relaxed), refusals)
}

#[test]
fn a_hundred_thousand_coroutines_wait_at_once() {
    if ropewalk_guards_are_light() {
        watched(|| assert_eq!(crowd(100_000), (100_000, Vec::new())));
    }
}

/// Whether the kernel (6.13 and later) makes guard pages without mappings of their own.
fn ropewalk_guards_are_light() -> bool {
    const GUARD_INSTALL: libc::c_int = 102;
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at a place of the kernel's choice.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
    // SAFETY: the page is this function's own.
    let light = unsafe { libc::madvise(page, 4096, GUARD_INSTALL) } == 0;
    // SAFETY: as above.
    unsafe { libc::munmap(page, 4096) };
    light
}

#[test]
fn where_the_kernel_limits_mappings_each_coroutine_too_many_is_told_so() {
    const TEST: &str = "where_the_kernel_limits_mappings_each_coroutine_too_many_is_told_so";
    let output = child_with(TEST, |command| {
        command.env("ROPEWALK_GUARD", "mprotect");
    });
    let Some(output) = output else {
        let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let count = 100_000.max(limit / 2 + 1_000);
        let (parked, refusals) = crowd(count);
        assert_eq!(parked + refusals.len(), count);
        assert!(parked >= limit / 2 - 1_000, "{parked} parked");
        for why in &refusals {
            let named = why.contains("cannot start") && why.contains("vm.max_map_count");
            assert!(named, "{why}");
        }
        assert!(!refusals.is_empty(), "two mappings each are more than {limit}");
        return;
    };
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_guard_is_shared_only_if_what_it_guards_may_be() {
    /// Compiles only while no `Sync` candidate but the blanket one fits.
    trait Ambiguous<A> {
        fn check() {}
    }
    struct IsSync;
    impl<T: ?Sized> Ambiguous<()> for T {}
    impl<T: ?Sized + Sync> Ambiguous<IsSync> for T {}
    <ropewalk::sync::MutexGuard<'static, Cell<u8>> as Ambiguous<_>>::check();
    <ropewalk::sync::WriteGuard<'static, Cell<u8>> as Ambiguous<_>>::check();
    fn is_sync<T: ?Sized + Sync>() {}
    is_sync::<ropewalk::sync::MutexGuard<'static, u8>>();
}

/// Waits in a destructor while it unwinds. Whether another coroutine of its worker has seen the panic, and how long
/// the destructor has waited.
fn unwinds_and_waits() -> (bool, Duration) {
    struct Waits(Arc<Event>, Arc<OnceLock<Duration>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(std::thread::panicking());
            let began = Instant::now();
            ropewalk::sleep(Duration::from_millis(5));
            self.0.wait();
            assert!(std::thread::panicking(), "the panic is still this coroutine's");
            self.1.set(began.elapsed()).unwrap();
        }
    }
    let (event, waited) = (Arc::new(Event::new()), Arc::new(OnceLock::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let stop = Arc::clone(&stop);
            ropewalk::spawn(move || {
                let mut seen = false;
                while !stop.load(Ordering::Acquire) {
                    seen |= std::thread::panicking();
                    ropewalk::yield_now();
                }
                seen
            })
        })
        .collect();
    let (own, done) = (Arc::clone(&event), Arc::clone(&waited));
    let unwinding = ropewalk::spawn(move || {
        let _waits = Waits(own, done);
        ropewalk::yield_now();
        std::panic::resume_unwind(Box::new(3));
    });
    // From a plain thread: what the destructor waits for needs nobody of its worker.
    let setter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        event.set();
    });
    assert!(unwinding.join().is_err());
    let waited = *waited.get().expect("the destructor has come to its end");
    // A std mutex locked now is not poisoned by a panic of somebody else.
    let std_mutex = std::sync::Mutex::new(());
    drop(std_mutex.lock().unwrap());
    assert!(!std_mutex.is_poisoned());
    stop.store(true, Ordering::Release);
    // Each is asked: one that is not joined would go on.
    let seen = others.into_iter().fold(false, |seen, other| other.join().unwrap() | seen);
    while !setter.is_finished() {
        ropewalk::yield_now();
    }
    (seen, waited)
}

#[test]
fn a_wait_in_a_destructor_while_unwinding_shows_no_other_coroutine_the_panic() {
    // How long such a coroutine keeps its worker. On a busy machine the event may be set later than that, and a wait
    // that is as long is one that others may see: then once more.
    const PATIENCE: Duration = Duration::from_millis(100);
    on_workers(|| {
        loop {
            let (seen, waited) = unwinds_and_waits();
            if waited < PATIENCE {
                assert!(!seen, "another coroutine's panic is seen");
                break;
            }
        }
    });
}

fn broad<S: Switch>() {
    // Unoptimised code copies a value from frame to frame, so the stack is a large one.
    let mut echo = CoroutineBuilder::new()
        .stack_size(4 << 20)
        .build_with::<_, _, _, S, _>(|out: &Suspender<[u64; 1_500], _, _, S>, first: [u64; 1_500]| {
            let second = out.suspend([first[1_499]; 1_200]);
            [second[0]; 1_000]
        })
        .unwrap();
    assert_eq!(echo.resume([5; 1_500]), State::Yielded([5; 1_200]));
    assert_eq!(echo.resume([6; 1_500]), State::Returned([6; 1_000]));
}

#[test]
fn values_of_many_kilobytes_cross_a_switch() {
    watched(broad::<DefaultSwitch>);
    watched(broad::<Boost>);
}

#[test]
fn who_would_wait_for_ever_is_named_with_what_it_holds_and_wants() {
    on_workers(|| {
        let (a, b) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
        let (held_a, held_b) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let party = |name: &str,
                     first: &Arc<Mutex<i32>>,
                     second: &Arc<Mutex<i32>>,
                     own: &Arc<Event>,
                     other: &Arc<Event>| {
            let (first, second) = (Arc::clone(first), Arc::clone(second));
            let (own, other) = (Arc::clone(own), Arc::clone(other));
            let body = move || {
                let held = first.lock();
                own.set();
                other.wait();
                *held + *second.lock()
            };
            ropewalk::Builder::new().name(name).spawn(body).unwrap()
        };
        let handles = [party("fork", &a, &b, &held_a, &held_b), party("knife", &b, &a, &held_b, &held_a)];
        let results = handles.map(ropewalk::JoinHandle::join);
        let reports: Vec<String> = results
            .into_iter()
            .filter_map(|result| match result {
                Err(JoinError::Panicked(payload)) => Some(*payload.downcast::<String>().unwrap()),
                _ => None,
            })
            .collect();
        // One gives way with the report; the other goes on.
        assert_eq!(reports.len(), 1, "{reports:?}");
        assert!(reports[0].contains("'fork'") && reports[0].contains("'knife'"), "{}", reports[0]);
        assert!(reports[0].contains("deadlock") && reports[0].contains("wants mutex"));
        assert!(a.try_lock().is_some() && b.try_lock().is_some());
    });
}

#[test]
fn a_timeout_anywhere_leaves_no_lock_behind() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(0));
        for micros in (0..60).map(|n| n * 20) {
            let own = Arc::clone(&mutex);
            let _ = ropewalk::timeout(Duration::from_micros(micros), || {
                loop {
                    let mut guard = own.lock();
                    *guard += 1;
                    ropewalk::sleep(Duration::from_micros(30));
                }
            });
            assert!(mutex.try_lock().is_some());
        }
        assert!(*mutex.lock() > 0);
    });
}

#[test]
fn a_coroutine_that_blocks_its_worker_delays_nobody_elsewhere() {
    watched(|| {
        let runtime = runtime(2);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let began = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&began);
        let blocked = runtime.spawn(move || {
            own.store(true, Ordering::Release);
            held.recv().unwrap();
        });
        while !began.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let before = Instant::now();
        for _ in 0..20 {
            runtime.spawn(|| ropewalk::sleep(Duration::from_millis(1))).join().unwrap();
        }
        assert!(before.elapsed() >= Duration::from_millis(20));
        assert!(!blocked.is_finished());
        release.send(()).unwrap();
        blocked.join().unwrap();
    });
}

#[test]
fn a_panic_of_the_child_ends_no_worker() {
    on_workers(|| {
        for _ in 0..50 {
            let bad = ropewalk::spawn(|| {
                let _ = catch_unwind(AssertUnwindSafe(|| std::panic::resume_unwind(Box::new(1))));
                std::panic::resume_unwind(Box::new(2));
            });
            assert!(bad.join().is_err());
        }
        assert_eq!(ropewalk::spawn(|| 3).join().unwrap(), 3);
    });
}
