//! Sockets: many at once, both directions at once, closing, timeouts, faults.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{on_workers, watched};
use ropewalk::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};

fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => stream.write_all(&buffer[..n]).unwrap(),
        }
    }
}

fn server() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    ropewalk::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            ropewalk::spawn(move || echo(stream));
        }
    });
    address
}

#[test]
fn a_thousand_connections_echo_at_once() {
    for workers in [1, 2, 8] {
        watched(move || {
            common::runtime(workers).run(|| {
                let address = server();
                let clients: Vec<_> = (0..500u32)
                    .map(|n| {
                        ropewalk::spawn(move || {
                            let mut stream = TcpStream::connect(address).unwrap();
                            for round in 0..5u32 {
                                let sent = (n ^ round).to_le_bytes();
                                stream.write_all(&sent).unwrap();
                                let mut back = [0; 4];
                                stream.read_exact(&mut back).unwrap();
                                assert_eq!(back, sent);
                            }
                        })
                    })
                    .collect();
                clients.into_iter().for_each(|client| client.join().unwrap());
            });
        });
    }
}

#[test]
fn plain_threads_use_the_same_sockets() {
    watched(|| {
        let address = server();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[7; 100]).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    let mut all = Vec::new();
                    stream.read_to_end(&mut all).unwrap();
                    assert_eq!(all, [7; 100]);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn two_coroutines_read_and_write_one_stream_at_once() {
    on_workers(|| {
        let stream = Arc::new(TcpStream::connect(server()).unwrap());
        let writer = {
            let stream = Arc::clone(&stream);
            ropewalk::spawn(move || {
                let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| (n >> 8) as u8).collect();
                (&*stream).write_all(&bytes).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            })
        };
        let mut back = Vec::new();
        (&*stream).read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert!(back.len() == 1 << 20 && back.iter().enumerate().all(|(n, byte)| *byte == (n >> 8) as u8));
    });
}

#[test]
fn closing_wakes_whoever_waits() {
    on_workers(|| {
        let stream = Arc::new(TcpStream::connect(server()).unwrap());
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let reader = {
            let stream = Arc::clone(&stream);
            ropewalk::spawn(move || (&*stream).read(&mut [0; 8]))
        };
        let acceptor = {
            let listener = Arc::clone(&listener);
            ropewalk::spawn(move || listener.accept().map(drop))
        };
        ropewalk::sleep(Duration::from_millis(2));
        stream.close();
        listener.close();
        assert!(!matches!(reader.join().unwrap(), Ok(1..)));
        assert_eq!(acceptor.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
        assert!((&*stream).read(&mut [0; 8]).is_err());
    });
}

#[test]
fn timeouts_end_reads_and_zero_is_refused() {
    let check = || {
        let mut stream = TcpStream::connect(server()).unwrap();
        assert_eq!(
            stream.set_read_timeout(Some(Duration::ZERO)).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        let began = Instant::now();
        assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(3));
        // The echo takes as long as it takes.
        stream.set_read_timeout(None).unwrap();
        stream.write_all(b"still usable").unwrap();
        let mut back = [0; 12];
        stream.read_exact(&mut back).unwrap();
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.read(&mut back).unwrap_err().kind(), ErrorKind::WouldBlock);
    };
    on_workers(check);
    watched(check);
}

#[test]
fn a_refused_connection_stays_refused() {
    on_workers(|| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let limit = Duration::from_secs(5);
        let error = TcpStream::connect_timeout(&address, limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_connect_ends_with_its_limit_or_its_cancellation() {
    use std::os::fd::AsRawFd;
    watched(|| {
        common::runtime(1).run(|| {
            let limit = Duration::from_millis(5);
            // A queue of one, which is full.
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
            let address = listener.local_addr().unwrap();
            let _first = TcpStream::connect(address).unwrap();
            for limit in [Duration::from_nanos(1), Duration::from_micros(300), limit] {
                let began = Instant::now();
                let error = TcpStream::connect_timeout(&address, limit).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                assert!(began.elapsed() >= limit && error.to_string().contains("no answer"), "{error}");
            }
            assert!(ropewalk::timeout(limit, || TcpStream::connect(address)).is_err());
            let waits = ropewalk::spawn(move || TcpStream::connect(address));
            ropewalk::sleep(limit);
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
            let longest =
                ropewalk::spawn(move || TcpStream::connect_timeout(&address, Duration::MAX).map(drop));
            ropewalk::sleep(limit);
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 64) }, 0);
            longest.join().unwrap().unwrap();
            // The queue of a Unix listener tells nobody when it has room.
            let path = std::env::temp_dir().join(format!("ropewalk-net-full-{}", std::process::id()));
            let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
            let _first = UnixStream::connect(&path).unwrap();
            assert!(ropewalk::timeout(limit, || UnixStream::connect(&path)).is_err());
            std::fs::remove_file(&path).unwrap();
        });
    });
}

#[test]
fn a_peer_that_leaves_right_after_its_last_bytes_is_seen() {
    // The last bytes and the end come together: a short read must not wait for another event.
    on_workers(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            let mut a = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut b, _) = listener.accept().unwrap();
            let writer = ropewalk::spawn(move || a.write_all(b"bye"));
            ropewalk::yield_now();
            let mut all = Vec::new();
            b.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"bye");
            writer.join().unwrap().unwrap();
        }
    });
}

/// Reads one part after another, each with room for more. The first has to wait; the rest is there when `more` returns.
fn read_in_parts(
    mut from: impl Read,
    count: usize,
    first: impl FnOnce(),
    more: impl FnOnce(),
) -> Vec<String> {
    let mut buffer = [0; 64];
    let mut part = || {
        let len = from.read(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    first();
    let mut parts = vec![part()];
    more();
    parts.extend((0..count).map(|_| part()));
    parts
}

#[test]
fn data_behind_the_urgent_mark_is_read() {
    on_workers(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepted = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let other = accepted.try_clone().unwrap();
        let first = move || {
            std::thread::spawn(move || (&other).write_all(b"x").unwrap());
        };
        let more = || {
            // SAFETY: the bytes are there.
            let sent = unsafe { libc::send(accepted.as_raw_fd(), b"ab!".as_ptr().cast(), 3, libc::MSG_OOB) };
            assert_eq!(sent, 3);
            (&accepted).write_all(b"def").unwrap();
        };
        assert_eq!(read_in_parts(&stream, 2, first, more), ["x", "ab", "def"]);
    });
}

#[test]
fn data_behind_an_urgent_byte_that_was_taken_is_read() {
    on_workers(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let accepted = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let other = accepted.try_clone().unwrap();
        let first = move || {
            std::thread::spawn(move || (&other).write_all(b"x").unwrap());
        };
        let more = || {
            // SAFETY: the bytes are there.
            let sent = unsafe { libc::send(accepted.as_raw_fd(), b"ab!".as_ptr().cast(), 3, libc::MSG_OOB) };
            assert_eq!(sent, 3);
            (&accepted).write_all(b"def").unwrap();
            let mut urgent = 0u8;
            // On loopback the byte is there when `send` has returned.
            // SAFETY: there is room for it.
            let came = unsafe { libc::recv(stream.as_raw_fd(), (&raw mut urgent).cast(), 1, libc::MSG_OOB) };
            assert_eq!((came, urgent), (1, b'!'));
        };
        assert_eq!(read_in_parts(&stream, 2, first, more), ["x", "ab", "def"]);
    });
}

#[test]
fn data_behind_a_message_with_descriptors_is_read() {
    on_workers(|| {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let stream = UnixStream::from_std(ours).unwrap();
        let other = theirs.try_clone().unwrap();
        let first = move || {
            std::thread::spawn(move || (&other).write_all(b"x").unwrap());
        };
        let more = || {
            send_descriptor(&theirs, b"one");
            (&theirs).write_all(b"two").unwrap();
        };
        assert_eq!(read_in_parts(&stream, 2, first, more), ["x", "one", "two"]);
    });
}

/// Sends bytes with standard error's descriptor beside them.
fn send_descriptor(to: &std::os::unix::net::UnixStream, bytes: &[u8]) {
    let mut control = [0u64; 4];
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeros is a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    // SAFETY: the message has room for a header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: the header lies in `control`, and nothing else refers to it.
    let header = unsafe { &mut *header };
    (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    // SAFETY: arithmetic.
    header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as _;
    // SAFETY: the data follows the header.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: there is room for one number.
    unsafe { data.cast::<i32>().write_unaligned(2) };
    // SAFETY: all that the message names lives on this frame.
    let sent = unsafe { libc::sendmsg(to.as_raw_fd(), &raw const message, 0) };
    assert_eq!(sent, bytes.len() as isize);
}

#[test]
fn a_cancelled_reader_leaves_the_bytes() {
    on_workers(|| {
        let (mut a, b) = UnixStream::pair().unwrap();
        let b = Arc::new(b);
        for round in 0..50u8 {
            let reading = Arc::clone(&b);
            let reader = ropewalk::spawn(move || {
                let mut byte = [0];
                (&*reading).read_exact(&mut byte).unwrap();
                byte[0]
            });
            ropewalk::yield_now();
            reader.cancel();
            a.write_all(&[round]).unwrap();
            match reader.join() {
                Ok(byte) => assert_eq!(byte, round),
                Err(_) => {
                    let mut byte = [0];
                    (&*b).read_exact(&mut byte).unwrap();
                    assert_eq!(byte[0], round);
                }
            }
        }
    });
}

#[test]
fn datagrams_arrive() {
    on_workers(|| {
        let (a, b) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let to = b.local_addr().unwrap();
        let sender =
            ropewalk::spawn(move || (0..100u8).for_each(|n| assert_eq!(a.send_to(&[n], to).unwrap(), 1)));
        for n in 0..100u8 {
            let mut byte = [0; 4];
            assert_eq!(b.recv_from(&mut byte).unwrap().0, 1);
            assert_eq!(byte[0], n);
        }
        sender.join().unwrap();
        let (c, d) = UnixDatagram::pair().unwrap();
        let receiver = ropewalk::spawn(move || d.recv(&mut [0; 16]).unwrap());
        c.send(b"abc").unwrap();
        assert_eq!(receiver.join().unwrap(), 3);
    });
}

#[test]
fn unix_listeners_accept() {
    on_workers(|| {
        let path = std::env::temp_dir().join(format!("ropewalk-{}-{:p}", std::process::id(), &()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let server = ropewalk::spawn(move || echo(listener.accept().unwrap().0));
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"path").unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"path");
        drop(stream);
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn names_are_looked_up() {
    on_workers(|| {
        let listener = TcpListener::bind(("localhost", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = ropewalk::spawn(move || listener.accept().map(drop));
        TcpStream::connect(format!("localhost:{port}")).unwrap();
        server.join().unwrap().unwrap();
        assert!(TcpStream::connect("no port here").is_err());
    });
}

#[test]
fn accept_waits_without_spinning_while_there_is_no_descriptor() {
    const TEST: &str = "accept_waits_without_spinning_while_there_is_no_descriptor";
    if std::env::var_os("ROPEWALK_CHILD").is_none() {
        let program = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(program);
        child.args([TEST, "--exact", "--test-threads=1"]).env("ROPEWALK_CHILD", "1");
        assert!(child.status().unwrap().success());
        return;
    }
    let runtime = common::runtime(1);
    runtime.run(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        // All descriptors that are left.
        let mut hoard = Vec::new();
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: sets a limit of this child process.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        while let Ok(file) = std::fs::File::open("/dev/null") {
            hoard.push(file);
        }
        let accepting =
            ropewalk::spawn(move || (0..4).map(|_| listener.accept().unwrap().0).collect::<Vec<_>>().len());
        let before = cpu();
        ropewalk::sleep(Duration::from_millis(300));
        assert!(!accepting.is_finished());
        assert!(cpu() - before < Duration::from_millis(150), "it spins");
        hoard.truncate(hoard.len() - 16);
        assert_eq!(accepting.join().unwrap(), 4);
        drop(clients);
    });

    /// Processor time of this process.
    fn cpu() -> Duration {
        // SAFETY: all zeros is a timespec.
        let mut time: libc::timespec = unsafe { std::mem::zeroed() };
        // SAFETY: writes the timespec.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
    }
}

#[test]
fn a_datagram_error_is_told_once_and_then_waited_on() {
    // An error event of a socket that goes on must not be taken for its end: the next receive waits.
    on_workers(|| {
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.connect(gone).unwrap();
        let sending = Arc::clone(&socket);
        // It sends once the other waits, so that the error comes as an event.
        let sender = ropewalk::spawn(move || {
            ropewalk::sleep(Duration::from_millis(5));
            sending.send(b"anybody?")
        });
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        sender.join().unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert_eq!(socket.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}
