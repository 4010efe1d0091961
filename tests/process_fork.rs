//! A program that forks by itself: the copy may drop every handle there is, and the program is not disturbed.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::Duration;

use common::watched;
use ropewalk::process::{
    Barrier, Event, Mutex, Pool, Process, Queue, Semaphore, TryLockError, children, pipe,
};
use ropewalk::shm::Value;

/// Forks as the C library does, or behind its back, and runs `f` in the copy, which ends then; its code.
fn in_copy(raw: bool, f: impl FnOnce()) -> i32 {
    let pid = if raw {
        // SAFETY: the copy makes no call that needs another thread, and ends without handlers.
        unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }
    } else {
        // SAFETY: as above.
        unsafe { libc::fork() }
    };
    if pid == 0 {
        f();
        // SAFETY: ends the copy.
        unsafe { libc::_exit(0) };
    }
    assert!(pid > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: waits for the copy.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {}
    status
}

fn sleep_long((): ()) {
    std::thread::sleep(Duration::from_secs(3600));
}

#[test]
fn a_copy_of_the_program_that_drops_its_handles_changes_nothing() {
    // In a process of its own: the tests of other files have threads.
    let work = |()| {
        for raw in [false, true] {
            let (mutex, seats) = (Mutex::new(5u64).unwrap(), Semaphore::bounded(2).unwrap());
            let (queue, meeting) = (Queue::<u32>::bounded(4).unwrap(), Barrier::new(2).unwrap());
            let (value, ends) = (Value::new(1u32).unwrap(), pipe::<u8, u8>().unwrap());
            let pool = Pool::builder(2).build().unwrap();
            while pool.workers().len() < 2 {
                std::thread::yield_now();
            }
            let single = Process::spawn(sleep_long, ()).unwrap();
            let busy = pool.apply_async(|n: u64| std::thread::sleep(Duration::from_millis(n)), 50).unwrap();
            let before: Vec<u32> = pool.workers().iter().map(|worker| worker.pid).collect();
            queue.put(7).unwrap();
            let (guard, seat) = (mutex.lock().unwrap(), seats.permit());
            let mut handles = Some((queue, meeting, value, ends, pool, single, busy));
            let mut held = Some((guard, seat));
            let status = in_copy(raw, || {
                drop(held.take());
                drop(handles.take());
            });
            assert_eq!(status, 0, "the copy did not end well");
            let (queue, meeting, value, ends, pool, single, busy) = handles.unwrap();
            assert!(mutex.is_locked(), "the copy has unlocked the mutex");
            assert!(matches!(mutex.try_lock(), Err(TryLockError::Held)));
            assert_eq!(seats.available(), 1, "the copy has given the permit back");
            drop(held);
            assert_eq!((*mutex.lock().unwrap(), seats.available()), (5, 2));
            assert_eq!(queue.users(), [std::process::id()], "the copy has left in the program's name");
            assert_eq!((queue.get(), value.load()), (Ok(7), 1));
            ends.0.send(&3).unwrap();
            assert_eq!(ends.1.recv().unwrap(), 3);
            std::thread::scope(|scope| {
                scope.spawn(|| meeting.wait().unwrap());
                meeting.wait().unwrap();
            });
            busy.get().unwrap();
            assert_eq!(pool.workers().iter().map(|worker| worker.pid).collect::<Vec<_>>(), before);
            assert!(single.is_alive() && children().iter().any(|child| child.pid == single.pid()));
            single.kill().unwrap();
            single.wait().unwrap();
            pool.close();
            pool.join().unwrap();
        }
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}

#[test]
fn a_copy_of_the_program_can_start_processes_and_pools_of_its_own() {
    let work = |()| {
        // The program's own keeper and zygote are there, and are not the copy's.
        let child = Process::spawn(sleep_long, ()).unwrap();
        for raw in [false, true] {
            let status = in_copy(raw, || {
                assert!(children().is_empty());
                assert_eq!(Process::spawn(|n: u32| n + 1, 1).unwrap().join().unwrap(), 2);
                let pool = Pool::new(2).unwrap();
                assert_eq!(pool.map(|n: u32| n * 2, 0..20).unwrap().len(), 20);
                let queue = Queue::<u32>::bounded(4).unwrap();
                let put = |queue: Queue<u32>| queue.put(5).unwrap();
                Process::spawn(put, queue.clone()).unwrap().join().unwrap();
                assert_eq!(queue.get(), Ok(5));
            });
            assert_eq!(status, 0, "the copy did not end well");
        }
        assert!(child.is_alive());
        child.kill().unwrap();
        child.join().unwrap_err();
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}

/// The table of processes that are watched is the program's, and the kernel's side of it is shared with a copy.
#[test]
fn a_copy_of_the_program_that_makes_handles_of_its_own_leaves_the_programs_watch_alone() {
    fn hold((mutex, held): (Mutex<u32>, Event)) {
        let _guard = mutex.lock().unwrap();
        held.set();
        sleep_long(());
    }
    let work = |()| {
        for raw in [false, true] {
            let (mutex, held) = (Mutex::new(0).unwrap(), Event::new().unwrap());
            let holder = Process::spawn(hold, (mutex.clone(), held.clone())).unwrap();
            held.wait();
            // Whoever waits has the holder watched.
            assert!(matches!(mutex.lock_timeout(Duration::from_millis(1)), Err(TryLockError::Held)));
            let mut handles = Some((mutex, held));
            let status = in_copy(raw, || {
                drop(handles.take());
                drop(Event::new().unwrap());
            });
            assert_eq!(status, 0, "the copy did not end well");
            let (mutex, _) = handles.unwrap();
            let waiter = std::thread::spawn(move || mutex.lock_timeout(Duration::from_secs(20)).is_err());
            std::thread::sleep(Duration::from_millis(20));
            let killed = std::time::Instant::now();
            holder.kill().unwrap();
            assert!(waiter.join().unwrap());
            assert!(killed.elapsed() < Duration::from_secs(10), "the death was found at the deadline only");
            holder.join().unwrap_err();
        }
    };
    watched(move || Process::spawn(work, ()).unwrap().join().unwrap());
}
