//! How connections of std come about, and who accepts them, on coroutines of one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::echo::{echo, server, talk};
use common::on_one_worker;
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_listener_made_elsewhere_is_accepted_on_without_changing_it() {
    // Bound before the patch, and shared with another descriptor: its description is not this process's alone.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    on_one_worker(move || {
        let address = listener.local_addr().unwrap();
        let other = listener.try_clone().unwrap();
        let acceptor = spawn(move || {
            for _ in 0..3 {
                echo(listener.accept().unwrap().0);
            }
            listener
        });
        (0..3).for_each(|n| talk(address, n, 3));
        let listener = acceptor.join().unwrap();
        // SAFETY: asks only.
        let flags = unsafe { libc::fcntl(other.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0);
        drop(listener);
    });
}

#[test]
fn threads_and_coroutines_accept_on_one_listener() {
    on_one_worker(|| {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let on_coroutine = Arc::clone(&listener);
        let first = spawn(move || on_coroutine.accept().map(|(stream, _)| echo(stream)));
        ropewalk::sleep(5 * MS);
        talk(address, 1, 2);
        first.join().unwrap().unwrap();
        // The coroutine has made it non-blocking underneath; a thread must not see that.
        let on_thread = Arc::clone(&listener);
        let thread =
            ropewalk::thread::spawn_blocking(move || on_thread.accept().map(|(stream, _)| echo(stream)));
        ropewalk::sleep(5 * MS);
        talk(address, 2, 2);
        thread.get().unwrap().unwrap();
        // SAFETY: asks only.
        let flags = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_GETFL) };
        assert_eq!(flags & libc::O_NONBLOCK, 0, "the user's view");
    });
}

#[test]
fn connect_tells_what_the_kernel_does() {
    on_one_worker(|| {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(TcpStream::connect(gone).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let limit = Duration::from_secs(5);
        assert_eq!(
            TcpStream::connect_timeout(&gone, limit).unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let error = UnixStream::connect("/nonexistent/socket").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let address = server();
        let mut stream = TcpStream::connect_timeout(&address, limit).unwrap();
        stream.write_all(b"hi").unwrap();
        let mut back = [0; 2];
        stream.read_exact(&mut back).unwrap();
    });
}

#[test]
fn a_listener_that_somebody_connects_fails_that_and_goes_on_to_park() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, fd) = (listener.local_addr().unwrap(), listener.as_raw_fd());
        let acceptor = spawn(move || {
            // The second of them waits: who kept the worker there would wait for ever.
            for _ in 0..2 {
                echo(listener.accept().unwrap().0);
            }
        });
        // The acceptor waits as well, so the listener is non-blocking underneath.
        thread::sleep(5 * MS);
        let place = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        // SAFETY: an address and its size.
        assert_eq!(unsafe { libc::connect(fd, (&raw const place).cast(), size) }, -1);
        talk(address, 1, 3);
        thread::sleep(5 * MS);
        talk(address, 2, 3);
        acceptor.join().unwrap();
    });
}

#[test]
fn a_unix_listener_with_a_full_queue_is_waited_for() {
    on_one_worker(|| {
        let path = std::env::temp_dir().join(format!("ropewalk-full-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: takes numbers; a queue of one.
        unsafe { libc::listen(listener.as_raw_fd(), 0) };
        let connect = |path: std::path::PathBuf| spawn(move || UnixStream::connect(path).map(drop));
        let clients: Vec<_> = (0..6).map(|_| connect(path.clone())).collect();
        thread::sleep(5 * MS);
        for _ in 0..6 {
            drop(listener.accept().unwrap());
        }
        clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn accepted_and_made_sockets_are_told_apart_by_kind() {
    // A short read of TCP says that there is no more, and one of messages does not: each kind, accepted, has to be read
    // to the end in pieces.
    on_one_worker(|| {
        let pieces = |mut from: Box<dyn Read + Send>, mut to: Box<dyn Write + Send>| {
            let reader = spawn(move || {
                let (mut all, mut piece) = (Vec::new(), [0; 7]);
                while let count @ 1.. = from.read(&mut piece).unwrap() {
                    all.extend_from_slice(&piece[..count]);
                }
                all
            });
            for n in 0..50u8 {
                to.write_all(&[n; 5]).unwrap();
            }
            drop(to);
            let expected: Vec<u8> = (0..50).flat_map(|n| [n; 5]).collect();
            assert_eq!(reader.join().unwrap(), expected);
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        pieces(Box::new(listener.accept().unwrap().0), Box::new(client));
        let path = std::env::temp_dir().join(format!("ropewalk-kinds-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        pieces(Box::new(listener.accept().unwrap().0), Box::new(client));
        std::fs::remove_file(path).unwrap();
    });
}

/// A listener whose queue is full, and the connection that fills it.
fn full() -> (TcpListener, SocketAddr, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // SAFETY: takes numbers; a queue of one.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    (listener, address, first)
}

#[test]
fn a_connect_that_is_cancelled_fails_and_can_be_gone_on_with() {
    on_one_worker(|| {
        let (listener, address, _first) = full();
        let began = Instant::now();
        let ended = ropewalk::timeout(5 * MS, || {
            let error = TcpStream::connect(address).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            ropewalk::sleep(Duration::from_secs(60));
        });
        assert!(ended.is_err() && began.elapsed() < Duration::from_secs(20));
        for limit in [Duration::from_nanos(1), Duration::from_micros(300)] {
            let error = TcpStream::connect_timeout(&address, limit).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{limit:?}");
        }
        // The longest there is.
        let later = spawn(move || TcpStream::connect_timeout(&address, Duration::MAX).map(drop));
        thread::sleep(2 * MS);
        // The queue has room for all who still try.
        // SAFETY: takes numbers.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 64) }, 0);
        later.join().unwrap().unwrap();
    });
}

#[test]
fn two_that_connect_one_socket_both_hear_of_its_connection() {
    on_one_worker(|| {
        let (listener, address, _first) = full();
        // SAFETY: takes numbers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
        let connect = move || {
            let place = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
                sin_zero: [0; 8],
            };
            let size = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: an address and its size.
            let answer = unsafe { libc::connect(fd, (&raw const place).cast(), size) };
            (answer, std::io::Error::last_os_error().raw_os_error())
        };
        let both = [spawn(connect), spawn(connect)];
        thread::sleep(2 * MS);
        assert!(both.iter().all(|one| !one.is_finished()));
        drop(listener.accept().unwrap());
        for one in both {
            let (answer, error) = one.join().unwrap();
            assert_eq!(answer, 0, "{error:?}");
        }
        assert_eq!(connect(), (-1, Some(libc::EISCONN)));
        // SAFETY: this test's own.
        unsafe { libc::close(fd) };
    });
}

/// More than there are threads for blocking calls, and the one that lets them in needs such a thread itself.
#[test]
fn any_number_can_wait_for_room_in_the_queue_of_a_unix_listener() {
    on_one_worker(|| {
        let path = std::env::temp_dir().join(format!("ropewalk-crowd-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: takes numbers; a queue of one.
        unsafe { libc::listen(listener.as_raw_fd(), 0) };
        let begun: &'static AtomicUsize = Box::leak(Box::default());
        let connect = |path: std::path::PathBuf| {
            spawn(move || {
                begun.fetch_add(1, Ordering::Relaxed);
                UnixStream::connect(path).map(drop)
            })
        };
        let clients: Vec<_> = (0..600).map(|_| connect(path.clone())).collect();
        while begun.load(Ordering::Relaxed) < clients.len() {
            ropewalk::sleep(MS);
        }
        assert!(std::fs::metadata(&path).is_ok());
        for _ in 0..600 {
            drop(listener.accept().unwrap());
        }
        clients.into_iter().for_each(|client| client.join().unwrap().unwrap());
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn a_connect_that_waits_for_room_ends_when_it_is_cancelled() {
    on_one_worker(|| {
        let path = std::env::temp_dir().join(format!("ropewalk-room-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // SAFETY: takes numbers; a queue of one.
        unsafe { libc::listen(listener.as_raw_fd(), 0) };
        let _first = UnixStream::connect(&path).unwrap();
        let ended = ropewalk::timeout(5 * MS, || {
            let error = UnixStream::connect(&path).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            ropewalk::sleep(Duration::from_secs(60));
        });
        assert!(ended.is_err());
        std::fs::remove_file(&path).unwrap();
    });
}

/// The child sees the listener as the program has it, and what it changes does not keep the parent's worker.
#[test]
fn a_forked_child_has_a_listener_that_blocks_and_may_change_it() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, fd) = (listener.local_addr().unwrap(), listener.as_raw_fd());
        let acceptor = spawn(move || {
            for _ in 0..3 {
                echo(listener.accept().unwrap().0);
            }
        });
        talk(address, 1, 1);
        // It waits, so the listener is non-blocking underneath.
        thread::sleep(2 * MS);
        // SAFETY: the child makes system calls only.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: takes numbers.
            let flags = unsafe { libc::syscall(libc::SYS_fcntl, fd, libc::F_GETFL, 0) };
            for on in [1, 0] {
                // SAFETY: this frame's own number.
                unsafe { libc::syscall(libc::SYS_ioctl, fd, libc::FIONBIO, &raw const on) };
            }
            // SAFETY: ends the child.
            unsafe { libc::_exit(if flags & i64::from(libc::O_NONBLOCK) == 0 { 0 } else { 9 }) };
        }
        let mut status = 0;
        // SAFETY: this test's child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(libc::WEXITSTATUS(status), 0, "the child sees a listener that blocks");
        for seed in 2..4 {
            talk(address, seed, 2);
            // Who kept the worker in `accept` would never come back here.
            thread::sleep(2 * MS);
        }
        acceptor.join().unwrap();
    });
}
