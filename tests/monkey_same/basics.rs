//! Errors, nothing, and bad arguments, whatever the call.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::time::Instant;

use libc::iovec;

use super::*;

#[test]
fn basics_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("closed descriptors", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        close(&[a, b]);
        let mut byte = 0u8;
        let place: *mut c_void = (&raw mut byte).cast();
        let vector = iovec { iov_base: place, iov_len: 1 };
        seen.call("read", libc::read(a, place, 1));
        seen.call("write", libc::write(a, place, 1));
        seen.call("readv", libc::readv(a, &vector, 1));
        seen.call("writev", libc::writev(a, &vector, 1));
        seen.call("recv", libc::recv(a, place, 1, 0));
        seen.call("send", libc::send(a, place, 1, 0));
        seen.call("recvfrom", libc::recvfrom(a, place, 1, 0, null_mut(), null_mut()));
        seen.call("sendto", libc::sendto(a, place, 1, 0, null(), 0));
        seen.call("accept", libc::accept(a, null_mut(), null_mut()));
        seen.call("accept4", libc::accept4(a, null_mut(), null_mut(), 0));
        seen.call("pread", libc::pread(a, place, 1, 0));
        seen.call("fsync", libc::fsync(a));
        seen.call("dup", libc::dup(a));
        seen.call("dup2", libc::dup2(a, b));
        seen.call("close", libc::close(a));
        seen.call("fcntl", libc::fcntl(a, libc::F_GETFL));
        seen.call("flock", libc::flock(a, libc::LOCK_EX));
        seen.call("epoll_wait", libc::epoll_wait(a, (&raw mut *Box::new([0u8; 16])).cast(), 1, 5));
    }),
    ("what changes nothing of the thread", |seen| unsafe {
        seen.call("setfsuid", libc::setfsuid(u32::MAX) as isize);
        seen.call("setfsgid", libc::setfsgid(u32::MAX) as isize);
        seen.call("setns", libc::setns(-1, libc::CLONE_NEWNET));
        seen.call("unshare", libc::unshare(0));
        seen.call("unshare of nothing that there is", libc::unshare(1));
        seen.call("prctl", libc::prctl(libc::PR_GET_KEEPCAPS, 0, 0, 0, 0));
        seen.call("prctl of nothing that there is", libc::prctl(-1, 0, 0, 0, 0));
        unsafe extern "C" {
            fn capset(header: *mut u64, data: *const u64) -> i32;
        }
        seen.call("capset", capset(&raw mut *Box::new(0u64), null_mut()));
    }),
    ("the wrong kind", |seen| unsafe {
        let [reading, writing] = pipe();
        let mut byte = 0u8;
        let place: *mut c_void = (&raw mut byte).cast();
        seen.call("recv from a pipe", libc::recv(reading, place, 1, 0));
        seen.call("accept on a pipe", libc::accept(reading, null_mut(), null_mut()));
        seen.call("pread from a pipe", libc::pread(reading, place, 1, 0));
        seen.call("read of the writing end", libc::read(writing, place, 1));
        seen.call("write to the reading end", libc::write(reading, place, 1));
        let socket = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        seen.call("recv unconnected", libc::recv(socket, place, 1, 0));
        seen.call("send unconnected", libc::send(socket, place, 1, libc::MSG_NOSIGNAL));
        seen.call("accept not listening", libc::accept(socket, null_mut(), null_mut()));
        let directory = libc::open(c"/".as_ptr(), libc::O_RDONLY);
        seen.call("read of a directory", libc::read(directory, place, 1));
        close(&[reading, writing, socket, directory]);
    }),
    ("nothing at all", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [c, d] = pair(libc::SOCK_DGRAM);
        let [reading, writing] = pipe();
        for (name, fd) in [("stream", a), ("datagram", c), ("pipe", reading)] {
            seen.call(name, libc::read(fd, null_mut(), 0));
            seen.call(name, libc::readv(fd, null(), 0));
        }
        for (name, fd) in [("stream", b), ("pipe", writing)] {
            seen.call(name, libc::write(fd, null(), 0));
            seen.call(name, libc::writev(fd, null(), 0));
        }
        seen.call("an empty datagram", libc::send(d, null(), 0, 0));
        seen.call("received", libc::recv(c, null_mut(), 0, 0));
        close(&[a, b, c, d, reading, writing]);
    }),
    ("bad lists of buffers", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let mut byte = 0u8;
        let vector = iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
        seen.call("negative", libc::readv(a, &vector, -1));
        seen.call("too many", libc::writev(b, vec![vector; 1025].as_ptr(), 1025));
        seen.call("nowhere", libc::readv(a, null(), 1));
        write(b, b"x");
        seen.call("into nothing", libc::read(a, null_mut(), 1));
        close(&[a, b]);
    }),
    ("vectors", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [reading, writing] = pipe();
        for (from, to) in [(b, a), (writing, reading)] {
            let mut parts = [*b"ab", *b"cd", *b"ef"];
            let list: Vec<_> = parts
                .iter_mut()
                .map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 2 })
                .collect();
            seen.call("writev", libc::writev(from, list.as_ptr(), 3));
            let mut back = [[0u8; 4]; 2];
            let list: Vec<_> = back
                .iter_mut()
                .map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 4 })
                .collect();
            seen.call("readv", libc::readv(to, list.as_ptr(), 2));
            seen.bytes(back.as_flattened());
        }
        close(&[a, b, reading, writing]);
    }),
    ("a pipe without a reader", |seen| {
        let [reading, writing] = pipe();
        close(&[reading]);
        seen.call("write", write(writing, b"x"));
        close(&[writing]);
        let [a, b] = pair(libc::SOCK_STREAM);
        close(&[a]);
        seen.call("write", write(b, b"x"));
        seen.call("read", read(b, &mut [0; 4]));
        close(&[b]);
    }),
    ("sleeps", |seen| unsafe {
        let time = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
        seen.call("bad nanos", libc::nanosleep(&time(0, 1_000_000_000), null_mut()));
        seen.call("negative", libc::nanosleep(&time(-1, 0), null_mut()));
        seen.call("bad clock", -libc::clock_nanosleep(99, 0, &time(0, 1), null_mut()));
        seen.call("bad time", -libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &time(0, -1), null_mut()));
        let began = Instant::now();
        seen.call("nanosleep", libc::nanosleep(&time(0, 5_000_000), null_mut()));
        seen.took(began, 5 * MS);
        let began = Instant::now();
        seen.call("usleep", libc::usleep(3000));
        seen.took(began, 3 * MS);
        for clock in [libc::CLOCK_MONOTONIC, libc::CLOCK_REALTIME, libc::CLOCK_BOOTTIME] {
            let mut until = time(0, 0);
            libc::clock_gettime(clock, &mut until);
            let past = until;
            until.tv_nsec += 4_000_000;
            if until.tv_nsec >= 1_000_000_000 {
                until = time(until.tv_sec + 1, until.tv_nsec - 1_000_000_000);
            }
            let began = Instant::now();
            seen.call("until", libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &until, null_mut()));
            seen.took(began, 3 * MS);
            seen.call("until past", libc::clock_nanosleep(clock, libc::TIMER_ABSTIME, &past, null_mut()));
        }
        seen.call("sleep", libc::sleep(0));
        seen.call("no time", libc::nanosleep(&time(0, 0), null_mut()));
        seen.call("no micros", libc::usleep(0));
        seen.call(
            "no time of a clock",
            libc::clock_nanosleep(libc::CLOCK_REALTIME, 0, &time(0, 0), null_mut()),
        );
        unsafe extern "C" {
            fn thrd_yield();
        }
        *libc::__errno_location() = libc::EXDEV;
        seen.call("sched_yield", libc::sched_yield());
        thrd_yield();
        seen.call("sched_yield by number", libc::syscall(libc::SYS_sched_yield));
        seen.note(*libc::__errno_location() == libc::EXDEV);
    }),
    ("huge", |seen| unsafe {
        let [reading, writing] = pipe();
        let [a, b] = pair(libc::SOCK_STREAM);
        let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| (n >> 9) as u8).collect();
        for (from, to) in [(reading, writing), (a, b)] {
            let sent = bytes.clone();
            let writer = thread::spawn(move || assert_eq!(write(to, &sent), sent.len() as isize));
            let (mut all, mut piece) = (Vec::new(), vec![0; 1 << 20]);
            while all.len() < bytes.len() {
                let n = read(from, &mut piece);
                assert!(n > 0);
                all.extend_from_slice(&piece[..n as usize]);
            }
            writer.join().unwrap();
            seen.note(all == bytes);
            // Now the other thread reads, and the write is the one that waits: one call writes all.
            let reader = thread::spawn(move || {
                let (mut left, mut piece) = (3 << 20, vec![0; 100_000]);
                while left > 0 {
                    left -= read(from, &mut piece);
                }
            });
            seen.call("write", write(to, &bytes));
            reader.join().unwrap();
            let reader = thread::spawn(move || {
                let (mut left, mut piece) = (3 << 20, vec![0; 100_000]);
                while left > 0 {
                    left -= read(from, &mut piece);
                }
            });
            let list: Vec<_> = bytes
                .chunks(1 << 14)
                .map(|chunk| iovec { iov_base: chunk.as_ptr().cast_mut().cast(), iov_len: chunk.len() })
                .collect();
            seen.call("writev", libc::writev(to, list.as_ptr(), list.len() as c_int));
            reader.join().unwrap();
        }
        // Lengths beyond what a call may have.
        let mut byte = 0u8;
        let place = (&raw mut byte).cast();
        seen.call("overflow", {
            let list = [iovec { iov_base: place, iov_len: usize::MAX / 2 }; 3];
            libc::readv(reading, list.as_ptr(), 3)
        });
        close(&[reading, writing, a, b]);
    }),
];
