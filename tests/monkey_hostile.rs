//! What surrounds replaced calls and knows nothing of them: signal handlers that wake, closes inside of libc, children that
//! share memory or descriptors.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use common::on_one_worker;
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

/// What the handler changes and wakes.
static WORD: AtomicU32 = AtomicU32::new(0);
static HANDLED: AtomicU32 = AtomicU32::new(0);

fn futex_wait(expected: u32) {
    let operation = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    let none = null::<libc::timespec>();
    unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation, expected, none, 0, u32::MAX) };
}

fn futex_wake() {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    unsafe { libc::syscall(libc::SYS_futex, WORD.as_ptr(), operation, i32::MAX) };
}

extern "C" fn wake_from_handler(_: libc::c_int) {
    WORD.fetch_add(1, Ordering::SeqCst);
    futex_wake();
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_handler_wakes_coroutines_whatever_it_interrupts() {
    on_one_worker(|| {
        let signal = libc::SIGRTMIN() + 7;
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = wake_from_handler as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(unsafe { libc::sigaction(signal, &action, null_mut()) }, 0);
        // Alone: nothing but the handler wakes it.
        let waiter = spawn(|| {
            while WORD.load(Ordering::SeqCst) == 0 {
                futex_wait(0);
            }
        });
        ropewalk::sleep(5 * MS);
        assert!(!waiter.is_finished());
        unsafe { libc::raise(signal) };
        waiter.join().unwrap();
        // In the middle of the queue's own work: coroutines wait and wake on the same word all the time, and a signal
        // comes to their thread again and again.
        let own = unsafe { libc::pthread_self() };
        let over = Arc::new(AtomicBool::new(false));
        let sees = Arc::clone(&over);
        let sender = thread::spawn(move || {
            let mut gap = 0;
            while !sees.load(Ordering::Relaxed) {
                let before = HANDLED.load(Ordering::SeqCst);
                unsafe { libc::pthread_kill(own, signal) };
                while HANDLED.load(Ordering::SeqCst) == before && !sees.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                // Another point of the loop each time.
                gap = (gap + 37) % 500;
                (0..gap).for_each(|_| std::hint::spin_loop());
            }
        });
        let before = HANDLED.load(Ordering::SeqCst);
        let coroutines: Vec<_> = (0..8)
            .map(|_| {
                spawn(move || {
                    while HANDLED.load(Ordering::SeqCst) - before < 2_000 {
                        futex_wait(WORD.load(Ordering::SeqCst));
                        futex_wake();
                        ropewalk::yield_now();
                    }
                })
            })
            .collect();
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap();
    });
}

/// Closes a descriptor as libc's own functions do: not by its `close`.
fn close_inside_libc(fd: i32) {
    let file = unsafe { libc::fdopen(fd, c"r+".as_ptr()) };
    assert!(!file.is_null());
    assert_eq!(unsafe { libc::fclose(file) }, 0);
}

#[test]
fn a_number_closed_inside_libc_and_given_out_on_a_thread_is_waited_for_anew() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut same = 0;
        for round in 0..50 {
            let (a, b) = UnixStream::pair().unwrap();
            // Everything is known of it: it was waited for, and is this process's alone.
            a.set_read_timeout(Some(MS)).unwrap();
            (&a).read(&mut [0]).unwrap_err();
            let number = a.into_raw_fd();
            let mut client = TcpStream::connect(address).unwrap();
            let taken = listener.try_clone().unwrap();
            close_inside_libc(number);
            let made = thread::spawn(move || {
                let fd = match round % 2 {
                    0 => unsafe { libc::accept(taken.as_raw_fd(), null_mut(), null_mut()) },
                    _ => unsafe { libc::fcntl(taken.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 0) },
                };
                assert!(fd > 2);
                (fd, taken)
            });
            let (fd, taken) = made.join().unwrap();
            same += usize::from(fd == number);
            if round % 2 == 0 {
                let mut server = unsafe { TcpStream::from_raw_fd(fd) };
                let late = thread::spawn(move || {
                    thread::sleep(MS);
                    client.write_all(b"x").unwrap();
                    client
                });
                server.read_exact(&mut [0]).unwrap();
                drop(late.join().unwrap());
            } else {
                let other = unsafe { TcpListener::from_raw_fd(fd) };
                drop(other.accept().unwrap());
            }
            drop((b, taken));
        }
        println!("{same} of 50 numbers were the same");
    });
}

/// Waits for a child that was forked here, without a replaced function.
fn status_of(child: libc::pid_t) -> i32 {
    let mut status = 0;
    let place = &raw mut status;
    assert_eq!(unsafe { libc::syscall(libc::SYS_wait4, child, place, 0, 0) }, i64::from(child));
    status
}

#[test]
fn a_child_of_vfork_closes_nothing_of_its_parents() {
    unsafe extern "C" {
        fn vfork() -> libc::pid_t;
    }
    on_one_worker(|| {
        let (a, mut b) = UnixStream::pair().unwrap();
        let number = a.as_raw_fd();
        let reader = spawn(move || {
            let mut a = a;
            a.read_exact(&mut [0])
        });
        ropewalk::sleep(2 * MS);
        match unsafe { vfork() } {
            0 => unsafe {
                libc::close(number);
                libc::dup2(2, number);
                libc::_exit(0)
            },
            child => assert_eq!(status_of(child), 0),
        }
        assert!(!reader.is_finished());
        b.write_all(b"x").unwrap();
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn a_forked_child_accepts_on_a_listener_that_coroutines_have_waited_on() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let first = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        let number = listener.as_raw_fd();
        let client = match unsafe { libc::fork() } {
            0 => unsafe {
                // No connection yet: it has to wait, as any listener that its user has left blocking.
                let fd = libc::accept(number, null_mut(), null_mut());
                let mut byte = 0u8;
                let n = libc::read(fd, (&raw mut byte).cast(), 1);
                libc::_exit(if fd > 2 && n == 1 { 0 } else { 1 })
            },
            child => {
                thread::sleep(20 * MS);
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"x").unwrap();
                assert_eq!(status_of(child), 0);
                client
            }
        };
        drop((first, client));
        // And the parent's coroutines wait on it as before.
        let late = spawn(move || {
            ropewalk::sleep(2 * MS);
            TcpStream::connect(address).unwrap()
        });
        drop(listener.accept().unwrap());
        drop(late.join().unwrap());
    });
}

#[test]
fn children_are_spawned_while_others_wait_on_descriptors() {
    on_one_worker(|| {
        let pairs: Vec<_> = (0..8).map(|_| UnixStream::pair().unwrap()).collect();
        let (readers, writers): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|(mut a, b)| (spawn(move || a.read_exact(&mut [0])), b)).unzip();
        ropewalk::sleep(MS);
        for _ in 0..10 {
            let mut child = std::process::Command::new("cat")
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(b"cat").unwrap();
            assert_eq!(child.wait_with_output().unwrap().stdout, b"cat");
        }
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        writers.iter().for_each(|mut writer| writer.write_all(b"x").unwrap());
        readers.into_iter().for_each(|reader| reader.join().unwrap().unwrap());
    });
}
