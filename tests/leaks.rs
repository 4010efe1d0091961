//! Whatever is made is given back: memory by a counting allocator, stacks by the address space, values by
//! what is alive of them, descriptors by the kernel's list.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common::watched;
use ropewalk::coroutine::{Coroutine, Fresh};
use ropewalk::sync::{Barrier, Condvar, Event, Mutex, OnceCell, RwLock, Semaphore};
use ropewalk::{Runtime, channel, queue, select};

struct Counting;

static BLOCKS: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes to the system's allocator; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BLOCKS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duty.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        BLOCKS.fetch_sub(1, Ordering::Relaxed);
        // SAFETY: the caller's duty.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the process holds: blocks of memory, and descriptors.
fn held() -> (isize, usize) {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().count();
    (BLOCKS.load(Ordering::Relaxed), descriptors)
}

fn address_space() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}

fn spawning(live: &Arc<()>) {
    ropewalk::coroutine_local! {
        static NOTES: RefCell<Vec<String>> = RefCell::new(Vec::new());
    }
    let value = || Arc::clone(live);
    let joined = {
        let value = value();
        ropewalk::spawn(move || {
            NOTES.with_borrow_mut(|notes| notes.push("noted".into()));
            value
        })
    };
    assert!(joined.join().is_ok());
    for _ in 0..20 {
        let value = value();
        drop(ropewalk::Builder::new().name("detached").spawn(move || value).unwrap());
    }
    let values: Vec<_> = (0..20).map(|_| value()).collect();
    let cancelled: Vec<_> = values
        .into_iter()
        .map(|value| {
            ropewalk::spawn(move || {
                let _value = value;
                ropewalk::park();
            })
        })
        .collect();
    ropewalk::yield_now();
    cancelled.iter().for_each(ropewalk::JoinHandle::cancel);
    cancelled.into_iter().for_each(|handle| assert!(handle.join().is_err()));
    let value = value();
    assert!(ropewalk::spawn(move || std::panic::resume_unwind(Box::new(value))).join().is_err());
    let waker = Waker::noop();
    for _ in 0..10 {
        let mut polled = ropewalk::spawn(ropewalk::yield_now);
        let _ = Pin::new(&mut polled).poll(&mut Context::from_waker(waker));
    }
    ropewalk::scope(|s| (0..5).for_each(|_| drop(s.spawn(ropewalk::yield_now))));
    let _ = ropewalk::timeout(Duration::from_micros(100), || {
        let _inside = Arc::clone(live);
        ropewalk::timeout(Duration::from_secs(9), ropewalk::park)
    });
}

fn by_hand(live: &Arc<()>) {
    for resumes in 0..4 {
        let value = Arc::clone(live);
        let mut coroutine = Coroutine::<(), Arc<()>>::new(move |out, ()| {
            (0..2).for_each(|_| out.suspend(Arc::clone(&value)));
        });
        for _ in 0..resumes {
            let _ = coroutine.try_resume(());
        }
    }
    let value = Arc::clone(live);
    drop(Fresh::<(), (), ()>::new(move |_, ()| drop(value)));
    let value = Arc::clone(live);
    let mut bad = Coroutine::<(), ()>::new(move |_, ()| std::panic::resume_unwind(Box::new(value)));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| bad.resume(()))).is_err());
}

fn waiting(live: &Arc<()>) {
    let locks = Arc::new((Mutex::new(()), RwLock::new(()), Condvar::new(), Semaphore::new(0), Event::new()));
    let (barrier, cell) = (Arc::new(Barrier::new(9)), Arc::new(OnceCell::new()));
    let guards = (locks.0.lock(), locks.1.write());
    let waiters: Vec<_> = (0..14)
        .map(|n| {
            let (locks, barrier, cell, value) =
                (Arc::clone(&locks), Arc::clone(&barrier), Arc::clone(&cell), Arc::clone(live));
            ropewalk::spawn(move || {
                let _value = value;
                match n % 7 {
                    0 => drop(locks.0.lock()),
                    1 => drop(locks.1.read()),
                    2 => locks.3.acquire(),
                    3 => locks.4.wait(),
                    4 => drop(barrier.wait()),
                    5 => drop(cell.get_or_init(|| ropewalk::sleep(Duration::from_secs(99)))),
                    _ => drop(locks.0.lock_timeout(Duration::from_micros(50))),
                }
            })
        })
        .collect();
    ropewalk::sleep(Duration::from_micros(300));
    waiters.iter().for_each(ropewalk::JoinHandle::cancel);
    waiters.into_iter().for_each(|waiter| drop(waiter.join()));
    drop(guards);
}

fn passing(live: &Arc<()>) {
    let items = || (0..40).map(|_| Arc::clone(live));
    for (sender, receiver) in [channel::bounded(3), channel::unbounded(), channel::bounded(0)] {
        let sending = {
            let sender = sender.clone();
            let all: Vec<_> = items().collect();
            ropewalk::spawn(move || all.into_iter().all(|item| sender.send(item).is_ok()))
        };
        for _ in 0..10 {
            let other = channel::never::<()>();
            select! {
                recv(receiver) -> item => drop(item.unwrap()),
                recv(other) -> _ => unreachable!("nobody sends"),
            }
        }
        // What has not been taken goes with the channel.
        drop((receiver, sender));
        let _ = sending.join();
    }
    for queue in [queue::Queue::bounded(64), queue::Queue::unbounded()] {
        items().for_each(|item| queue.put(item).unwrap());
        drop(queue.get());
        assert_eq!(queue.close_now().len(), 39);
    }
    let queue = queue::LifoQueue::unbounded();
    items().for_each(|item| queue.put(item).unwrap());
    let queue = queue::PriorityQueue::unbounded();
    items().for_each(|item| queue.put(item).unwrap());
    let _ = channel::tick(Duration::from_micros(50)).recv();
    let _ = channel::after(Duration::from_secs(99)).try_recv();
}

fn pooled(live: &Arc<()>) {
    let pool = ropewalk::thread::ThreadPool::new(2);
    let results: Vec<_> = (0..20)
        .map(|n| {
            let value = Arc::clone(live);
            pool.apply_async(move || if n == 7 { std::panic::resume_unwind(Box::new(value)) } else { value })
        })
        .collect();
    results.into_iter().skip(3).for_each(|result| drop(result.unwrap().get()));
    drop(pool.imap_unordered(|n| n, 0..30).next());
    pool.terminate();
    pool.join().unwrap();
}

fn networked(_: &Arc<()>) {
    let listener = Arc::new(ropewalk::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let own = Arc::clone(&listener);
    let server = ropewalk::spawn(move || {
        while let Ok((mut stream, _)) = own.accept() {
            let mut buffer = [0; 8];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let _ = stream.write_all(&buffer[..count]);
            }
        }
    });
    for _ in 0..5 {
        let mut stream = ropewalk::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"rope").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
    }
    listener.close();
    server.join().unwrap();
    let (near, far) = ropewalk::net::UnixStream::pair().unwrap();
    let reading = ropewalk::spawn(move || (&near).read(&mut [0]).is_ok());
    ropewalk::yield_now();
    reading.cancel();
    let _ = reading.join();
    drop(far);
}

type Subject = fn(&Arc<()>);

/// One round: a runtime, all of the above in it, and some that are still there when it ends.
fn round(subject: Subject) {
    let live = Arc::new(());
    let runtime = Runtime::builder().workers(2).monitor_threshold(None).build().unwrap();
    let value = Arc::clone(&live);
    runtime.run(move || subject(&value));
    for _ in 0..10 {
        let value = Arc::clone(&live);
        drop(runtime.spawn(move || {
            let _value = value;
            ropewalk::park();
        }));
    }
    let total = runtime.metrics().total;
    assert!(
        total.stacks_in_use <= 11 && total.spawned >= 11,
        "those that park, and who may retire: {total:?}"
    );
    drop(runtime);
    assert_eq!(Arc::strong_count(&live), 1, "a value is alive that nobody has");
}

/// What the process holds once it holds no more than `most`; or after some seconds.
fn held_at_rest(most: (isize, usize)) -> (isize, usize) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = held();
        // A thread that has been joined may still be giving its own things back.
        if now.0 <= most.0 && now.1 <= most.1 || Instant::now() > end {
            return now;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

// One test: the counts are those of the process.
#[test]
fn everything_that_is_made_is_given_back() {
    const ROUNDS: usize = 25;
    let subjects: [(&str, Subject); 6] = [
        ("spawning", spawning),
        ("by hand", by_hand),
        ("waiting", waiting),
        ("passing", passing),
        ("pooled", pooled),
        ("networked", networked),
    ];
    // Three rounds make what is made once for the process.
    let _ = subjects.map(|(_, subject)| (0..3).for_each(|_| watched(move || round(subject))));
    let space = address_space();
    for (name, subject) in subjects {
        watched(move || round(subject));
        std::thread::sleep(Duration::from_millis(20));
        let before = held();
        for _ in 0..ROUNDS {
            watched(move || round(subject));
        }
        let after = held_at_rest(before);
        println!("{name}: {before:?} before, {after:?} after {ROUNDS} rounds");
        // Fewer than one block a round is no leak but a table that has grown.
        assert!(after.0 - before.0 < ROUNDS as isize / 2, "{name} leaks memory: {before:?}, {after:?}");
        assert_eq!(after.1, before.1, "{name} leaks descriptors");
    }
    let growth = address_space().saturating_sub(space);
    // Each round has had some dozens of stacks of 256 KiB.
    assert!(growth < 300 << 20, "the address space has grown by {growth} bytes");
}
