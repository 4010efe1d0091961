//! Waiting for several descriptors, pipes and their kin, on coroutines of one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

mod common;

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::on_one_worker;
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

fn poll(wanted: &[(RawFd, i16)], millis: i32) -> (i32, Vec<i16>) {
    let entry = |&(fd, events): &(RawFd, i16)| libc::pollfd { fd, events, revents: 0 };
    let mut list: Vec<_> = wanted.iter().map(entry).collect();
    // SAFETY: the list lives through the call.
    let ready = unsafe { libc::poll(list.as_mut_ptr(), list.len() as _, millis) };
    (ready, list.iter().map(|entry| entry.revents).collect())
}

fn owned(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> isize {
    // SAFETY: the buffer is valid for its length.
    unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }
}

/// Runs `f`, which waits, and checks that another coroutine of the same worker runs meanwhile.
fn beside<T>(f: impl FnOnce() -> T) -> T {
    let turns = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&turns);
    let other = spawn(move || {
        loop {
            ropewalk::sleep(MS / 4);
            counting.fetch_add(1, Ordering::Relaxed);
        }
    });
    let value = f();
    assert!(turns.load(Ordering::Relaxed) > 0, "the other coroutine did not get the worker");
    other.cancel();
    value
}

#[test]
fn poll_waits_for_the_first_of_many() {
    on_one_worker(|| {
        let pairs: Vec<_> = (0..50).map(|_| UnixStream::pair().unwrap()).collect();
        let wanted: Vec<_> = pairs.iter().map(|pair| (pair.0.as_raw_fd(), libc::POLLIN)).collect();
        for round in 0..20 {
            let mut writer = pairs[round].1.try_clone().unwrap();
            let handle = spawn(move || {
                thread::sleep(MS);
                writer.write_all(b"x").unwrap();
            });
            let (ready, events) = poll(&wanted, -1);
            assert_eq!((ready, events[round]), (1, libc::POLLIN));
            (&pairs[round].0).read_exact(&mut [0]).unwrap();
            handle.join().unwrap();
        }
        beside(move || {
            let began = Instant::now();
            assert_eq!(poll(&wanted, 100).0, 0);
            assert!(began.elapsed() >= 100 * MS);
            assert_eq!(poll(&wanted, 0).0, 0);
            drop(pairs);
            assert_eq!(poll(&wanted[..1], -1), (1, vec![libc::POLLNVAL]));
        });
        assert_eq!(poll(&[(-1, libc::POLLIN)], 2).0, 0);
    });
}

#[test]
fn hang_ups_and_room_to_write_are_events() {
    on_one_worker(|| {
        let (a, b) = UnixStream::pair().unwrap();
        let fd = a.as_raw_fd();
        assert_eq!(poll(&[(fd, libc::POLLOUT | libc::POLLIN)], -1), (1, vec![libc::POLLOUT]));
        let closer = spawn(move || {
            thread::sleep(2 * MS);
            drop(b);
        });
        let (ready, events) = poll(&[(fd, 0)], -1);
        assert_eq!(ready, 1);
        assert_ne!(events[0] & libc::POLLHUP, 0);
        closer.join().unwrap();
    });
}

#[test]
fn select_tells_sets_and_time_left() {
    on_one_worker(|| {
        let (a, mut b) = UnixStream::pair().unwrap();
        // SAFETY: all zeros is an empty set.
        let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
        let fd = a.as_raw_fd();
        // SAFETY: a set of this frame, and a number below its size.
        unsafe { libc::FD_SET(fd, &mut set) };
        let mut limit = libc::timeval { tv_sec: 5, tv_usec: 0 };
        let writer = spawn(move || {
            thread::sleep(3 * MS);
            b.write_all(b"x").unwrap();
            b
        });
        let null = std::ptr::null_mut();
        // SAFETY: the sets live through the call.
        let ready = unsafe { libc::select(fd + 1, &mut set, null, null, &mut limit) };
        // SAFETY: as above.
        assert!(ready == 1 && unsafe { libc::FD_ISSET(fd, &set) });
        assert!(limit.tv_sec == 4, "{} s left", limit.tv_sec);
        (&a).read_exact(&mut [0]).unwrap();
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 3_000_000 };
        // SAFETY: as above.
        let ready = unsafe { libc::pselect(fd + 1, &mut set, null, null, &limit, std::ptr::null()) };
        // SAFETY: as above.
        assert!(ready == 0 && !unsafe { libc::FD_ISSET(fd, &set) });
        drop(writer.join().unwrap());
    });
}

#[test]
fn an_event_loop_goes_on_working() {
    on_one_worker(|| {
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) });
        let (a, b) = UnixStream::pair().unwrap();
        let mut event = libc::epoll_event { events: (libc::EPOLLIN | libc::EPOLLET) as u32, u64: 7 };
        let add = libc::EPOLL_CTL_ADD;
        // SAFETY: the event lives through the call.
        assert_eq!(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), add, a.as_raw_fd(), &mut event) }, 0);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        let mut wait = |millis| {
            // SAFETY: room for four.
            let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), 4, millis) };
            (count, { events[0].u64 })
        };
        for round in 0..50 {
            let writer = {
                let b = b.try_clone().unwrap();
                spawn(move || {
                    if round % 2 == 0 {
                        thread::sleep(MS);
                    }
                    (&b).write_all(b"x").unwrap();
                })
            };
            assert_eq!(wait(-1), (1, 7));
            (&a).read_exact(&mut [0]).unwrap();
            writer.join().unwrap();
        }
        assert_eq!(wait(3).0, 0);
    });
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut ends = [0; 2];
    // SAFETY: room for two.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    (owned(ends[0]), owned(ends[1]))
}

#[test]
fn pipes_park_both_ends() {
    on_one_worker(|| {
        let (reading, writing) = pipe();
        let writer = spawn(move || {
            let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n >> 7) as u8).collect();
            // SAFETY: the buffer is valid for its length. One call: a blocking write writes all.
            let sent = unsafe { libc::write(writing.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
            assert_eq!(sent, 1 << 20);
        });
        let (mut all, mut piece) = (Vec::new(), vec![0; 10_000]);
        while let n @ 1.. = read(&reading, &mut piece) {
            all.extend_from_slice(&piece[..n as usize]);
        }
        writer.join().unwrap();
        assert!(all.len() == 1 << 20 && all.iter().enumerate().all(|(n, byte)| *byte == (n >> 7) as u8));
    });
}

#[test]
fn eventfd_timerfd_and_signalfd_park() {
    on_one_worker(|| {
        let event = owned(unsafe { libc::eventfd(0, 0) });
        let ringer = {
            let event = event.try_clone().unwrap();
            spawn(move || {
                thread::sleep(2 * MS);
                let one = 5u64;
                // SAFETY: eight bytes.
                unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) }
            })
        };
        let mut count = [0; 8];
        assert_eq!(read(&event, &mut count), 8);
        assert_eq!(u64::from_ne_bytes(count), 5);
        assert_eq!(ringer.join().unwrap(), 8);

        let timer = owned(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, 0) });
        let mut when: libc::itimerspec = unsafe { std::mem::zeroed() };
        when.it_value.tv_nsec = 100_000_000;
        let expired = beside(|| {
            // SAFETY: the time lives through the call.
            unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &when, std::ptr::null_mut()) };
            read(&timer, &mut [0; 8])
        });
        assert_eq!(expired, 8);

        // SAFETY: a set of this frame.
        let signals = unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGUSR2);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            owned(libc::signalfd(-1, &set, 0))
        };
        let thread = unsafe { libc::pthread_self() };
        let sender = spawn(move || {
            thread::sleep(2 * MS);
            // SAFETY: the worker's own thread, which blocks the signal.
            unsafe { libc::pthread_kill(thread, libc::SIGUSR2) }
        });
        let mut info = [0; 128];
        // The signal is pending on the worker's thread, where alone a read finds it.
        let n = read(&signals, &mut info);
        assert_eq!((n, info[0]), (128, libc::SIGUSR2 as u8));
        sender.join().unwrap();
    });
}

#[test]
fn a_terminal_parks() {
    on_one_worker(|| {
        // SAFETY: takes flags.
        let master = owned(unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) });
        // SAFETY: a terminal just made.
        let name = unsafe {
            assert_eq!((libc::grantpt(master.as_raw_fd()), libc::unlockpt(master.as_raw_fd())), (0, 0));
            std::ffi::CStr::from_ptr(libc::ptsname(master.as_raw_fd()))
        };
        // SAFETY: a name that lives through the call.
        let slave = owned(unsafe { libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY) });
        let typist = spawn(move || {
            thread::sleep(3 * MS);
            // SAFETY: five bytes.
            unsafe { libc::write(master.as_raw_fd(), c"line\n".as_ptr().cast(), 5) };
            master
        });
        let mut line = [0; 16];
        assert_eq!(read(&slave, &mut line), 5);
        assert_eq!(&line[..5], b"line\n");
        drop(typist.join().unwrap());
    });
}
