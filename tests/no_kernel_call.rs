//! Locks of coroutines on one worker do without the kernel, and without the allocator. Alone in its process,
//! because it counts, and because the kernel is told to end a process that calls it.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{child, runtime, watched};
use ropewalk::Runtime;
use ropewalk::sync::{Event, Mutex};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all is done by the system's allocator; the counter is a plain thread-local without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's duty.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's duty.
        unsafe { System.dealloc(place, layout) };
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's duty.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Lets the calling thread make the system calls that write and end the process; any other one ends it. False if
/// the kernel does not know how, or may not.
fn forbid_system_calls() -> bool {
    let allow = [libc::SYS_write, libc::SYS_exit_group];
    // Load the number, compare it with each of those, and decide.
    let mut filter = vec![libc::sock_filter { code: 0x20, jt: 0, jf: 0, k: 0 }];
    for (left, number) in allow.iter().enumerate().map(|(at, number)| (allow.len() - at, number)) {
        filter.push(libc::sock_filter {
            code: 0x15,
            jt: u8::try_from(left).unwrap(),
            jf: 0,
            k: u32::try_from(*number).unwrap(),
        });
    }
    filter.push(libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS });
    filter.push(libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW });
    let program = libc::sock_fprog { len: u16::try_from(filter.len()).unwrap(), filter: filter.as_mut_ptr() };
    // Freed after the filter is in force, that could be a call.
    std::mem::forget(filter);
    // SAFETY: no arguments but numbers.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its filter live, and the kernel copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    no_new == 0 && set == 0
}

const CROWD: usize = 1000;
const ROUNDS: usize = 100;

/// A thousand coroutines of one worker, each with the mutex in its hands while the others run: from the moment when
/// all have had it once to the last one's end, neither they nor the worker may call the kernel or allocate. Ends
/// the process, with 0 if so.
fn contend(holding: bool) {
    let runtime = Runtime::builder().workers(1).monitor_signal(None).build().expect("a runtime starts");
    runtime.run(move || {
        let (mutex, waited) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let (go, ready, left) = (Event::new(), AtomicUsize::new(0), AtomicUsize::new(CROWD));
        let course = Arc::new((go, ready, left));
        let lock = |mutex: &Mutex<usize>, waited: &AtomicUsize| {
            waited.fetch_add(usize::from(mutex.is_locked()), Ordering::Relaxed);
            let mut count = mutex.lock();
            *count += 1;
            ropewalk::yield_now();
        };
        let crowd = (0..CROWD).map(|_| {
            let (mutex, waited) = (Arc::clone(&mutex), Arc::clone(&waited));
            let course = Arc::clone(&course);
            ropewalk::spawn(move || {
                let own = Mutex::new(());
                // Whoever holds something is entered into the table of those who may be in a deadlock.
                let _own = holding.then(|| own.lock());
                lock(&mutex, &waited);
                let (go, ready, left) = &*course;
                if ready.fetch_add(1, Ordering::Relaxed) == CROWD - 1 {
                    if !forbid_system_calls() {
                        eprintln!("no seccomp here: allocations are counted, calls are not");
                    }
                    ALLOCATIONS.set(0);
                    go.set();
                }
                go.wait();
                (0..ROUNDS).for_each(|_| lock(&mutex, &waited));
                if left.fetch_sub(1, Ordering::Relaxed) == 1 {
                    let (allocations, waited) = (ALLOCATIONS.get(), waited.load(Ordering::Relaxed));
                    // `write` is allowed, `exit_group` too.
                    eprintln!("{allocations} allocations, {waited} locks were contended");
                    let good = allocations == 0 && waited > CROWD * ROUNDS / 10;
                    // SAFETY: ends the process, without destructors.
                    unsafe { libc::_exit(i32::from(!good)) };
                }
            })
        });
        ropewalk::join_all(crowd);
    });
}

#[test]
fn a_thousand_coroutines_that_contend_for_a_mutex_neither_call_the_kernel_nor_allocate() {
    match child("a_thousand_coroutines_that_contend_for_a_mutex_neither_call_the_kernel_nor_allocate") {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => contend(false),
    }
}

#[test]
fn nor_do_they_if_each_holds_another_mutex_meanwhile() {
    match child("nor_do_they_if_each_holds_another_mutex_meanwhile") {
        Some(output) => assert!(output.status.success(), "{output:?}"),
        None => contend(true),
    }
}

/// How often the calling thread has slept in the kernel, as that tells.
fn sleeps_of_this_thread() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

#[test]
fn a_thousand_coroutines_that_contend_for_a_mutex_on_one_worker_never_sleep_in_the_kernel() {
    watched(|| {
        let runtime = runtime(1);
        // The first round maps stacks; and a page fault may wait for another thread of the process.
        let rounds: Vec<_> = (0..4).map(|_| runtime.run(sleep_round)).collect();
        assert!(rounds.iter().all(|(_, waited)| *waited > 900), "few locks were contended: {rounds:?}");
        assert!(rounds.iter().any(|(slept, _)| *slept == 0), "each round slept in the kernel: {rounds:?}");
    });
}

/// A thousand coroutines, each with the mutex in its hands while the others run: how often their thread
/// slept, and how often they had to wait.
fn sleep_round() -> (u64, usize) {
    let mutex = Arc::new(Mutex::new(0));
    let before = sleeps_of_this_thread();
    let crowd: Vec<_> = (0..1000)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            ropewalk::spawn(move || {
                let mut waited = 0;
                for _ in 0..20 {
                    waited += usize::from(mutex.is_locked());
                    let mut count = mutex.lock();
                    *count += 1;
                    ropewalk::yield_now();
                }
                waited
            })
        })
        .collect();
    let waited: usize = crowd.into_iter().map(|one| one.join().unwrap()).sum();
    assert_eq!(*mutex.lock(), 20_000);
    (sleeps_of_this_thread() - before, waited)
}
