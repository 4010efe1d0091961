//! Numbers of descriptors, closed and used again while coroutines wait on them.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use common::on_one_worker;
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

#[test]
fn closing_wakes_whoever_waits_and_a_new_owner_of_the_number_is_another() {
    on_one_worker(|| {
        for _ in 0..20 {
            let (a, b) = UnixStream::pair().unwrap();
            let number = a.as_raw_fd();
            let reader = spawn(move || {
                let mut byte = 0u8;
                // SAFETY: one byte; the descriptor is closed meanwhile, which is what is tested.
                let n = unsafe { libc::read(number, (&raw mut byte).cast(), 1) };
                (n, std::io::Error::last_os_error().raw_os_error())
            });
            thread::sleep(MS);
            drop(a);
            // The same number, at once, and with something to read.
            let (c, d) = UnixStream::pair().unwrap();
            (&c).write_all(b"c").unwrap();
            (&d).write_all(b"d").unwrap();
            assert_eq!(reader.join().unwrap(), (-1, Some(libc::EBADF)));
            let (mut c, mut d) = (c, d);
            let mut byte = [0];
            c.read_exact(&mut byte).unwrap();
            d.read_exact(&mut byte).unwrap();
            // And it waits like any other.
            let writer = spawn(move || {
                thread::sleep(MS);
                d.write_all(b"x").unwrap();
                d
            });
            c.read_exact(&mut byte).unwrap();
            drop((writer.join().unwrap(), b));
        }
    });
}

#[test]
fn a_number_reused_behind_our_back_is_noticed() {
    on_one_worker(|| {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        // A waited-on descriptor, shared so that nothing is remembered of it.
        let keep = a.try_clone().unwrap();
        let writer = spawn(move || {
            thread::sleep(MS);
            b.write_all(b"1").unwrap();
            b
        });
        a.read_exact(&mut [0]).unwrap();
        let number = std::os::fd::IntoRawFd::into_raw_fd(a);
        let (c, mut d) = UnixStream::pair().unwrap();
        // SAFETY: the number is this test's own; the call closes it, and makes it another socket's.
        let made = unsafe { libc::syscall(libc::SYS_dup3, c.as_raw_fd(), number, 0) };
        assert_eq!(made, i64::from(number));
        // SAFETY: just made.
        let mut c = unsafe { UnixStream::from_raw_fd(number) };
        let late = spawn(move || {
            thread::sleep(3 * MS);
            d.write_all(b"2").unwrap();
            d
        });
        let mut byte = [0];
        c.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"2");
        drop((late.join().unwrap(), keep, writer.join().unwrap()));
    });
}

#[test]
fn a_number_that_was_a_socket_and_is_a_pipe_is_read_as_a_pipe() {
    on_one_worker(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        (&b).write_all(b"1").unwrap();
        a.read_exact(&mut [0]).unwrap();
        // What was known of the socket includes that it does not block.
        a.set_nonblocking(true).unwrap();
        assert_eq!(a.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let number = std::os::fd::IntoRawFd::into_raw_fd(a);
        let (reading, mut writing) = std::io::pipe().unwrap();
        // SAFETY: the number is this test's own; the call closes it, and makes it the pipe's.
        let made = unsafe { libc::syscall(libc::SYS_dup3, reading.as_raw_fd(), number, 0) };
        assert_eq!(made, i64::from(number));
        // SAFETY: just made.
        let mut reading = unsafe { std::fs::File::from_raw_fd(number) };
        let writer = spawn(move || {
            thread::sleep(3 * MS);
            writing.write_all(b"2").unwrap();
        });
        let mut byte = [0];
        reading.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"2");
        writer.join().unwrap();
        assert_eq!(reading.read(&mut byte).unwrap(), 0);
    });
}
