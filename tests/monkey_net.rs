//! Plain sockets of std, client and server on coroutines of one worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::on_one_worker;
use ropewalk::{monkey, spawn};

const MS: Duration = Duration::from_millis(1);

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            spawn(move || echo(stream));
        }
    });
    address
}

fn talk(address: SocketAddr, seed: u32, rounds: u32) {
    let mut stream = TcpStream::connect(address).unwrap();
    for round in 0..rounds {
        let sent = (seed ^ round).to_le_bytes();
        stream.write_all(&sent).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
    }
}

#[test]
fn client_and_server_share_one_worker() {
    on_one_worker(|| {
        let address = server();
        let clients: Vec<_> = (0..100).map(|n| spawn(move || talk(address, n, 20))).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}

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
fn a_large_write_goes_out_whole() {
    on_one_worker(|| {
        let (mut a, mut b) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut d, _) = listener.accept().unwrap();
        let bytes: Arc<Vec<u8>> = Arc::new((0..8 << 20).map(|n: u32| (n >> 9) as u8).collect());
        let unix = {
            let bytes = Arc::clone(&bytes);
            // One write, not write_all: a blocking write does not stop half-way.
            spawn(move || assert_eq!(a.write(&bytes).unwrap(), bytes.len()))
        };
        let tcp = {
            let bytes = Arc::clone(&bytes);
            spawn(move || {
                let (head, tail) = bytes.split_at(bytes.len() / 3);
                let sent = c.write_vectored(&[IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)]);
                assert_eq!(sent.unwrap(), bytes.len());
            })
        };
        let mut all = Vec::new();
        b.read_to_end(&mut all).unwrap();
        assert!(all == *bytes);
        all.clear();
        d.read_to_end(&mut all).unwrap();
        assert!(all == *bytes);
        unix.join().unwrap();
        tcp.join().unwrap();
    });
}

#[test]
fn timeouts_and_nonblocking_are_the_users() {
    on_one_worker(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(20 * MS)).unwrap();
        let began = Instant::now();
        assert_eq!(a.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= 20 * MS);
        a.set_read_timeout(None).unwrap();
        a.set_nonblocking(true).unwrap();
        assert_eq!(a.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        // The other end of a clone sees the same description.
        let mut clone = a.try_clone().unwrap();
        assert_eq!(clone.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        clone.set_nonblocking(false).unwrap();
        let writer = spawn(move || {
            thread::sleep(10 * MS);
            (&b).write_all(b"late").unwrap();
            b
        });
        let mut back = [0; 4];
        a.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"late");
        drop(writer.join().unwrap());
        assert_eq!(a.read(&mut back).unwrap(), 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn a_nonblocking_reader_that_polls_sees_what_comes() {
    on_one_worker(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.set_read_timeout(Some(MS)).unwrap();
        a.read(&mut [0; 8]).unwrap_err();
        a.set_nonblocking(true).unwrap();
        // A plain thread, so that nothing of this worker's tells of the bytes.
        let thread = thread::spawn(move || (&b).write_all(b"x").unwrap());
        while let Err(error) = a.read(&mut [0; 8]) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        thread.join().unwrap();
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
fn datagrams_and_peeks() {
    on_one_worker(|| {
        let a = UdpSocket::bind("127.0.0.1:0").unwrap();
        let b = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = a.local_addr().unwrap();
        let sender = spawn(move || {
            thread::sleep(5 * MS);
            for n in 0..10u8 {
                b.send_to(&vec![n; usize::from(n)], to).unwrap();
            }
            b.local_addr().unwrap()
        });
        let mut buffer = [0; 64];
        assert_eq!(a.peek_from(&mut buffer).unwrap().0, 0);
        let from: Vec<_> = (0..10)
            .map(|n| {
                let (len, from) = a.recv_from(&mut buffer).unwrap();
                assert_eq!(len, n);
                from
            })
            .collect();
        let address = sender.join().unwrap();
        assert!(from.iter().all(|from| *from == address));
        let (c, d) = UnixDatagram::pair().unwrap();
        let receiver = spawn(move || {
            let mut b = [0; 8];
            (d.recv(&mut b).unwrap(), b)
        });
        thread::sleep(2 * MS);
        c.send(b"four").unwrap();
        assert_eq!(receiver.join().unwrap().0, 4);
    });
}

#[test]
fn a_stream_is_peeked_at_and_filled() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (d, _) = listener.accept().unwrap();
        let writer = spawn(move || {
            for piece in [&b"ab"[..], b"cd", b"ef"] {
                thread::sleep(3 * MS);
                c.write_all(piece).unwrap();
            }
            c
        });
        let mut buffer = [0u8; 6];
        assert!(d.peek(&mut buffer).unwrap() > 0);
        let recv = |buffer: &mut [u8], flags| {
            // SAFETY: the buffer is valid for its length.
            unsafe { libc::recv(d.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) }
        };
        assert_eq!(recv(&mut buffer, libc::MSG_PEEK | libc::MSG_WAITALL), 6);
        assert_eq!(&buffer, b"abcdef");
        buffer = [0; 6];
        assert_eq!(recv(&mut buffer, libc::MSG_WAITALL), 6);
        assert_eq!(&buffer, b"abcdef");
        drop(writer.join().unwrap());
        assert_eq!(recv(&mut buffer, libc::MSG_WAITALL), 0);
    });
}

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

#[test]
fn half_close_and_reset_are_seen() {
    on_one_worker(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut c = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut d, _) = listener.accept().unwrap();
        let reader = spawn(move || {
            let mut all = Vec::new();
            d.read_to_end(&mut all).unwrap();
            d.write_all(b"and back").unwrap();
            (d, all)
        });
        thread::sleep(2 * MS);
        c.write_all(b"there").unwrap();
        c.shutdown(Shutdown::Write).unwrap();
        let mut back = [0; 8];
        c.read_exact(&mut back).unwrap();
        let (d, all) = reader.join().unwrap();
        assert_eq!((&all[..], &back[..]), (&b"there"[..], &b"and back"[..]));
        let waiter = spawn(move || c.read(&mut [0; 8]).map_err(|error| error.kind()));
        thread::sleep(2 * MS);
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let (place, len) = ((&raw const linger).cast(), size_of::<libc::linger>() as libc::socklen_t);
        // SAFETY: a linger of that length.
        unsafe { libc::setsockopt(d.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, place, len) };
        drop(d);
        assert_eq!(waiter.join().unwrap(), Err(ErrorKind::ConnectionReset));
    });
}

#[test]
fn a_cancelled_reader_gets_an_errno_and_then_ends() {
    on_one_worker(|| {
        let (a, b) = UnixStream::pair().unwrap();
        let (seen, told) = ropewalk::channel::bounded(1);
        let reader = spawn(move || {
            let error = (&a).read(&mut [0; 8]).unwrap_err();
            seen.send(error.raw_os_error()).unwrap();
            // The next wait of the crate's own delivers it.
            ropewalk::sleep(Duration::from_secs(60));
        });
        thread::sleep(2 * MS);
        reader.cancel();
        assert_eq!(told.recv().unwrap(), Some(libc::ECANCELED));
        assert!(reader.join().unwrap_err().is_cancelled());
        drop(b);
        let (b, _open) = UnixStream::pair().unwrap();
        let ended = ropewalk::timeout(3 * MS, || {
            assert_eq!(
                (&b).read(&mut [0; 8]).map_err(|error| error.raw_os_error()),
                Err(Some(libc::ECANCELED))
            );
            ropewalk::sleep(Duration::from_secs(60));
        });
        assert!(ended.is_err());
    });
}

#[test]
fn calls_are_counted() {
    on_one_worker(|| {
        let address = server();
        talk(address, 7, 3);
        let status = monkey::status();
        let counted =
            |name: &str| status.iter().find(|symbol| symbol.name() == name).map(|s| (s.calls(), s.parks()));
        assert!(counted("recv").unwrap().0 >= 6, "{:?}", counted("recv"));
        assert!(counted("recv").unwrap().1 >= 1);
        assert!(counted("accept4").unwrap().1 >= 1);
    });
}
