//! Each replaced call both ways: on a plain thread, which the kernel answers, and on a coroutine. Same inputs, same
//! results, same errno, same bytes.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

mod common;

use std::ffi::c_void;
use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use common::{on_one_worker, watched};
use libc::{c_int, iovec};

/// What a case saw, call by call.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(Vec<String>);

impl Seen {
    /// Notes a result, with errno if it is an error.
    fn call(&mut self, name: &str, result: impl TryInto<i64>) -> i64 {
        let result = result.try_into().unwrap_or(i64::MAX);
        let error = std::io::Error::last_os_error().raw_os_error();
        let error = if result < 0 { error } else { None };
        self.0.push(format!("{name} = {result} {error:?}"));
        result
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.push(format!("{bytes:?}"));
    }

    /// Notes whether a call took as long as its limit.
    fn took(&mut self, began: Instant, limit: Duration) {
        self.0.push(format!("not early: {}", began.elapsed() >= limit));
    }
}

const MS: Duration = Duration::from_millis(1);

fn pair(kind: c_int) -> [c_int; 2] {
    let mut ends = [0; 2];
    assert_eq!(
        unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, ends.as_mut_ptr()) },
        0
    );
    ends
}

fn pipe() -> [c_int; 2] {
    let mut ends = [0; 2];
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    ends
}

/// A connected pair of TCP sockets, and the listener.
fn tcp() -> [c_int; 3] {
    unsafe {
        let listener = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let mut address = loopback(0);
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        assert_eq!(libc::bind(listener, (&raw const address).cast(), len), 0);
        assert_eq!(libc::listen(listener, 8), 0);
        assert_eq!(libc::getsockname(listener, (&raw mut address).cast(), &mut len), 0);
        let client = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert_eq!(libc::connect(client, (&raw const address).cast(), len), 0);
        let server = libc::accept(listener, null_mut(), null_mut());
        assert!(server > 0);
        [client, server, listener]
    }
}

fn loopback(port: u16) -> libc::sockaddr_in {
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes([127, 0, 0, 1]);
    address
}

fn close(fds: &[c_int]) {
    fds.iter().for_each(|fd| assert_eq!(unsafe { libc::close(*fd) }, 0));
}

fn read(fd: c_int, buffer: &mut [u8]) -> isize {
    unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn write(fd: c_int, bytes: &[u8]) -> isize {
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) }
}

fn set_timeout(fd: c_int, name: c_int, limit: Duration) {
    let value = libc::timeval { tv_sec: limit.as_secs() as i64, tv_usec: i64::from(limit.subsec_micros()) };
    let len = size_of::<libc::timeval>() as u32;
    assert_eq!(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const value).cast(), len) }, 0);
}

type Case = (&'static str, fn(&mut Seen));

const CASES: &[Case] = &[
    ("a refused connection", |seen| unsafe {
        let [client, server, listener] = tcp();
        let mut address = loopback(0);
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        libc::getsockname(listener, (&raw mut address).cast(), &mut len);
        let other = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        seen.call("connect twice", libc::connect(client, (&raw const address).cast(), len));
        close(&[client, server, listener]);
        seen.call("connect", libc::connect(other, (&raw const address).cast(), len));
        seen.call("connect nowhere", libc::connect(other, (&raw const address).cast(), 3));
        seen.call("connect no socket", libc::connect(99_999, (&raw const address).cast(), len));
        close(&[other]);
    }),
    ("a reset", |seen| unsafe {
        let [client, server, listener] = tcp();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of::<libc::linger>() as u32;
        libc::setsockopt(server, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len);
        close(&[server]);
        seen.call("read", read(client, &mut [0; 8]));
        seen.call("read again", read(client, &mut [0; 8]));
        seen.call("write", write(client, b"x"));
        close(&[client, listener]);
    }),
    ("a half close", |seen| unsafe {
        let [client, server, listener] = tcp();
        seen.call("write", write(client, b"last words"));
        seen.call("shutdown", libc::shutdown(client, libc::SHUT_WR));
        let mut buffer = [0; 32];
        let n = seen.call("read", read(server, &mut buffer));
        seen.bytes(&buffer[..n as usize]);
        seen.call("end", read(server, &mut buffer));
        seen.call("write after", write(client, b"x"));
        seen.call("answer", write(server, b"still"));
        seen.call("read answer", read(client, &mut buffer));
        close(&[client, server, listener]);
    }),
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
    ("datagrams are cut", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_DGRAM);
        seen.call("send", libc::send(b, c"0123456789".as_ptr().cast(), 10, 0));
        seen.call("send", libc::send(b, c"next".as_ptr().cast(), 4, 0));
        let mut buffer = [0u8; 16];
        seen.call("peek", libc::recv(a, buffer.as_mut_ptr().cast(), 4, libc::MSG_PEEK | libc::MSG_TRUNC));
        seen.call("recv", libc::recv(a, buffer.as_mut_ptr().cast(), 4, 0));
        seen.bytes(&buffer[..4]);
        seen.call("recv", libc::recv(a, buffer.as_mut_ptr().cast(), 16, 0));
        seen.call("huge", libc::send(b, vec![0u8; 10 << 20].as_ptr().cast(), 10 << 20, 0));
        close(&[a, b]);
    }),
    ("as the user asked: EAGAIN", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        seen.call("MSG_DONTWAIT", libc::recv(a, (&raw mut *Box::new(0u8)).cast(), 1, libc::MSG_DONTWAIT));
        libc::fcntl(a, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("flags", libc::fcntl(a, libc::F_GETFL) & libc::O_NONBLOCK);
        seen.call("read", read(a, &mut [0; 4]));
        let bytes = vec![1u8; 1 << 20];
        let part = write(a, &bytes);
        seen.0.push(format!("a part: {}", part > 0 && part < 1 << 20));
        seen.call("full", write(a, &bytes));
        let [reading, writing] = pipe();
        libc::fcntl(writing, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("pipe part", write(writing, &bytes));
        seen.call("pipe full", write(writing, &bytes));
        let on = 1 as c_int;
        libc::ioctl(reading, libc::FIONBIO, &on);
        read(reading, &mut vec![0; 1 << 20]);
        seen.call("pipe empty", read(reading, &mut [0; 4]));
        let [client, server, listener] = tcp();
        libc::ioctl(listener, libc::FIONBIO, &on);
        seen.call("accept", libc::accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC));
        close(&[a, b, reading, writing, client, server, listener]);
    }),
    ("timeouts of sockets", |seen| unsafe {
        let limit = 20 * MS;
        let [client, server, listener] = tcp();
        set_timeout(client, libc::SO_RCVTIMEO, limit);
        let began = Instant::now();
        seen.call("recv", libc::recv(client, (&raw mut *Box::new(0u8)).cast(), 1, 0));
        seen.took(began, limit);
        set_timeout(listener, libc::SO_RCVTIMEO, limit);
        let began = Instant::now();
        seen.call("accept", libc::accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC));
        seen.took(began, limit);
        // A Unix socket: how much fits is not up to a peer's window.
        let [a, b] = pair(libc::SOCK_STREAM);
        set_timeout(a, libc::SO_SNDTIMEO, limit);
        let bytes = vec![1u8; 4 << 20];
        let began = Instant::now();
        let part = write(a, &bytes);
        seen.0.push(format!("a part: {}", part > 0 && part < 4 << 20));
        seen.took(began, limit);
        seen.call("full", write(a, &bytes));
        close(&[client, server, listener, a, b]);
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
    ("polls", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut list =
            [entry(a, libc::POLLIN), entry(b, libc::POLLOUT), entry(-1, libc::POLLIN), entry(99_999, 1)];
        seen.call("poll", libc::poll(list.as_mut_ptr(), 4, 100));
        seen.0.push(format!("{:?}", list.map(|entry| entry.revents)));
        let began = Instant::now();
        seen.call("poll none", libc::poll(list.as_mut_ptr(), 1, 15));
        seen.took(began, 15 * MS);
        seen.call("poll nothing", libc::poll(null_mut(), 0, 2));
        let bad = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000_000 };
        seen.call("ppoll bad time", libc::ppoll(list.as_mut_ptr(), 1, &bad, null()));
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(a, &mut set);
        let mut limit = libc::timeval { tv_sec: 0, tv_usec: 3000 };
        seen.call("select", libc::select(a + 1, &mut set, null_mut(), null_mut(), &mut limit));
        seen.call("time left", limit.tv_usec);
        seen.call("select negative", libc::select(-1, null_mut(), null_mut(), null_mut(), &mut limit));
        let mut set: libc::fd_set = zeroed();
        // Not open, but within the smallest table that the kernel makes.
        libc::FD_SET(60, &mut set);
        seen.call("select closed", libc::select(61, &mut set, null_mut(), null_mut(), null_mut()));
        close(&[b]);
        seen.call("poll hung up", libc::poll(list.as_mut_ptr(), 1, -1));
        seen.0.push(format!("{:?}", list[0].revents));
        close(&[a]);
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
    }),
    ("children and names", |seen| unsafe {
        let mut status = 0;
        seen.call("no such child", libc::waitpid(1, &mut status, 0));
        seen.call("no such child", libc::waitpid(1, &mut status, libc::WNOHANG));
        let mut info: libc::siginfo_t = zeroed();
        seen.call("waitid", libc::waitid(libc::P_PID, 1, &mut info, libc::WEXITED));
        seen.call("waitid bad", libc::waitid(libc::P_PID, 1, &mut info, 0));
        let mut list = null_mut();
        let error = libc::getaddrinfo(c"127.0.0.1".as_ptr(), c"80".as_ptr(), null(), &mut list);
        seen.call("a number", error);
        libc::freeaddrinfo(list);
        let mut hints: libc::addrinfo = zeroed();
        hints.ai_flags = libc::AI_NUMERICHOST;
        seen.call("no number", -libc::getaddrinfo(c"not.a.number".as_ptr(), null(), &hints, &mut list));
        seen.call("nothing", -libc::getaddrinfo(null(), null(), null(), &mut list));
        let address = loopback(80);
        let mut host = [0i8; 64];
        let (len, flags) = (size_of::<libc::sockaddr_in>() as u32, libc::NI_NUMERICHOST);
        let place = (&raw const address).cast();
        let error = libc::getnameinfo(place, len, host.as_mut_ptr(), 64, null_mut(), 0, flags);
        seen.call("name", error);
        seen.bytes(&host.map(i8::cast_unsigned)[..10]);
        seen.call("too short", -libc::getnameinfo(place, len, host.as_mut_ptr(), 2, null_mut(), 0, flags));
    }),
    ("files", |seen| unsafe {
        let open = |name: &std::ffi::CStr, flags| libc::open(name.as_ptr(), flags, 0o600);
        seen.call("no such file", open(c"/nonexistent/file", libc::O_RDONLY));
        seen.call("a directory", open(c"/", libc::O_WRONLY));
        let mut status: libc::stat = zeroed();
        seen.call("stat", libc::stat(c"/nonexistent".as_ptr(), &mut status));
        seen.call("stat", libc::stat(c"/".as_ptr(), &mut status));
        seen.call("lstat", libc::lstat(c"/proc/self/exe/x".as_ptr(), &mut status));
        let file = libc::open(c"/tmp".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600);
        assert!(file > 0);
        seen.call("write", write(file, b"0123456789"));
        seen.call("pwrite", libc::pwrite(file, c"xy".as_ptr().cast(), 2, 3));
        seen.call("negative offset", libc::pwrite(file, c"xy".as_ptr().cast(), 2, -3));
        let mut buffer = [0; 32];
        seen.call("at the end", read(file, &mut buffer));
        seen.call("pread", libc::pread(file, buffer.as_mut_ptr().cast(), 32, 0));
        seen.bytes(&buffer[..12]);
        seen.call("beyond", libc::pread(file, buffer.as_mut_ptr().cast(), 32, 100));
        libc::lseek(file, 4, libc::SEEK_SET);
        seen.call("read", read(file, &mut buffer));
        seen.call("fsync", libc::fsync(file));
        seen.call("fdatasync", libc::fdatasync(file));
        close(&[file]);
        seen.call("fsync a pipe", {
            let ends = pipe();
            let result = libc::fsync(ends[0]);
            let error = std::io::Error::last_os_error();
            close(&ends);
            *libc::__errno_location() = error.raw_os_error().unwrap_or(0);
            result
        });
    }),
];

/// errno is left alone by a call that succeeds.
#[test]
fn errno_survives_success() {
    on_one_worker(|| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let late = ropewalk::spawn(move || {
            ropewalk::sleep(2 * MS);
            write(b, b"x");
            close(&[b]);
        });
        *libc::__errno_location() = libc::EXDEV;
        assert_eq!(read(a, &mut [0]), 1);
        assert_eq!(*libc::__errno_location(), libc::EXDEV);
        late.join().unwrap();
        close(&[a]);
    });
}

#[test]
fn every_call_answers_alike_on_threads_and_on_coroutines() {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        for (name, case) in CASES {
            let mut plain = Seen::default();
            case(&mut plain);
            let case = *case;
            let cooperative = common::runtime(1).run(move || {
                let mut seen = Seen::default();
                case(&mut seen);
                seen
            });
            assert_eq!(plain, cooperative, "{name}: on a thread (left) and on a coroutine (right)");
            assert!(plain.0.len() > 2, "{name}: {plain:?}");
        }
    });
}
