//! Wrong arguments: every replaced function answers on a coroutine what it answers on a plain thread.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with what it refuses, and with memory of the calling frame"
)]

mod common;

use std::mem::zeroed;
use std::ptr::{null, null_mut};

use common::{runtime, watched};
use libc::{c_int, c_void, iovec};

/// Descriptors of each kind, made anew for each side.
#[derive(Clone, Copy)]
struct Fds {
    /// A pipe with eight bytes in it.
    reads: c_int,
    writes: c_int,
    /// A pair of connected sockets with eight bytes under way to the first.
    stream: c_int,
    peer: c_int,
    /// Messages.
    datagram: c_int,
    /// TCP, not connected.
    tcp: c_int,
    listener: c_int,
    udp: c_int,
    /// A file of eight bytes, for reading only.
    file: c_int,
    directory: c_int,
    event: c_int,
    timer: c_int,
    epoll: c_int,
    closed: c_int,
}

fn made(fd: c_int) -> c_int {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    fd
}

impl Fds {
    fn new() -> Self {
        unsafe {
            let (mut pipe, mut pair, mut messages) = ([0; 2], [0; 2], [0; 2]);
            assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
            assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr()), 0);
            assert_eq!(libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, messages.as_mut_ptr()), 0);
            let name = c"/proc/self/exe".as_ptr();
            let socket = |kind| made(libc::socket(libc::AF_INET, kind | libc::SOCK_CLOEXEC, 0));
            let fds = Self {
                reads: pipe[0],
                writes: pipe[1],
                stream: pair[0],
                peer: pair[1],
                datagram: messages[0],
                tcp: socket(libc::SOCK_STREAM),
                listener: socket(libc::SOCK_STREAM),
                udp: socket(libc::SOCK_DGRAM),
                file: made(libc::open(name, libc::O_RDONLY)),
                directory: made(libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY)),
                event: made(libc::eventfd(1, 0)),
                timer: made(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)),
                epoll: made(libc::epoll_create1(0)),
                closed: 700,
            };
            assert_eq!(libc::listen(fds.listener, 1), 0);
            assert_eq!(libc::write(fds.writes, [7u8; 8].as_ptr().cast(), 8), 8);
            assert_eq!(libc::write(fds.peer, [7u8; 8].as_ptr().cast(), 8), 8);
            assert_eq!(libc::write(messages[1], [7u8; 8].as_ptr().cast(), 8), 8);
            libc::close(messages[1]);
            fds
        }
    }

    /// Closes all; what a case has closed is not open again, as cases run one after the other.
    fn close(self) {
        let Self { reads, writes, stream, peer, datagram, tcp, .. } = self;
        let Self { listener, udp, file, directory, event, timer, epoll, .. } = self;
        let all =
            [reads, writes, stream, peer, datagram, tcp, listener, udp, file, directory, event, timer, epoll];
        for fd in all {
            unsafe { libc::close(fd) };
        }
    }
}

type Case = (&'static str, fn(Fds) -> i64);

/// The cases of a group: `name: fds => answer`.
macro_rules! cases {
    ($($fds:ident => $call:expr;)*) => {
        &[$((stringify!($call), (|$fds: Fds| {
            let answer = unsafe { $call };
            answer as i64
        }) as fn(Fds) -> i64)),*]
    };
}

/// Runs each case on a plain thread and on a coroutine; names those that differ.
fn compare(cases: &'static [Case]) {
    let run = |(name, case): &Case| {
        let fds = Fds::new();
        unsafe { *libc::__errno_location() = 0 };
        if std::env::var_os("NAMES").is_some() {
            eprintln!("{name}");
        }
        let answer = case(fds);
        let error = std::io::Error::last_os_error().raw_os_error();
        fds.close();
        (answer, error)
    };
    // Numbers are compared, and `closed` is to stay so.
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    watched(move || {
        ropewalk::monkey::patch_all().unwrap();
        let runtime = runtime(1);
        let mut differing = Vec::new();
        for case in cases {
            let plain = run(case);
            let parking = runtime.run(move || run(case));
            if plain != parking {
                differing.push(format!("{}: {plain:?} becomes {parking:?}", case.0));
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
    });
}

fn buffer() -> *mut c_void {
    thread_local!(static BYTES: std::cell::UnsafeCell<[u64; 64]> = const { std::cell::UnsafeCell::new([0; 64]) });
    BYTES.with(|bytes| bytes.get().cast())
}

const HUGE: usize = isize::MAX as usize;

fn vectors(lens: [usize; 2]) -> *const iovec {
    let list = lens.map(|len| iovec { iov_base: buffer(), iov_len: len });
    Box::leak(Box::new(list)).as_ptr()
}

#[test]
fn reads_and_writes() {
    compare(cases! {
        _f => libc::read(-1, buffer(), 8);
        _f => libc::read(i32::MIN, buffer(), 8);
        _f => libc::read(i32::MAX, buffer(), 8);
        _f => libc::read(1 << 20, buffer(), 8);
        f => libc::read(f.closed, buffer(), 8);
        f => libc::read(f.reads, null_mut(), 8);
        f => libc::read(f.reads, null_mut(), 0);
        f => libc::read(f.reads, buffer(), usize::MAX);
        f => libc::read(f.reads, buffer(), HUGE);
        f => libc::read(f.writes, buffer(), 8);
        f => libc::read(f.writes, buffer(), 0);
        f => libc::read(f.stream, null_mut(), 8);
        f => libc::read(f.stream, buffer(), 0);
        f => libc::read(f.stream, buffer(), usize::MAX);
        f => libc::read(f.stream, buffer(), HUGE);
        f => libc::read(f.datagram, null_mut(), 8);
        f => libc::read(f.datagram, buffer(), 4);
        f => libc::read(f.tcp, buffer(), 8);
        f => libc::read(f.listener, buffer(), 8);
        f => libc::read(f.file, null_mut(), 8);
        f => libc::read(f.file, buffer(), usize::MAX);
        f => libc::read(f.file, buffer(), 0);
        f => libc::read(f.directory, buffer(), 8);
        f => libc::read(f.event, buffer(), 4);
        f => libc::read(f.event, buffer(), 0);
        f => libc::read(f.event, null_mut(), 8);
        f => libc::read(f.timer, buffer(), 4);
        f => libc::read(f.epoll, buffer(), 8);
        f => libc::write(f.closed, buffer(), 8);
        f => libc::write(f.reads, buffer(), 8);
        f => libc::write(f.writes, null(), 8);
        f => libc::write(f.writes, null(), 0);
        f => libc::write(f.writes, buffer(), usize::MAX);
        f => libc::write(f.peer, null(), 8);
        f => libc::write(f.peer, null(), 0);
        f => libc::write(f.peer, buffer(), usize::MAX);
        f => libc::write(f.tcp, buffer(), 8);
        f => libc::write(f.listener, buffer(), 8);
        f => libc::write(f.udp, buffer(), 8);
        f => libc::write(f.file, buffer(), 8);
        f => libc::write(f.file, buffer(), 0);
        f => libc::write(f.directory, buffer(), 8);
        f => libc::write(f.event, buffer(), 4);
        f => libc::write(f.event, [u64::MAX].as_ptr().cast(), 8);
        f => libc::write(f.timer, buffer(), 8);
        f => { libc::close(f.stream); libc::write(f.peer, buffer(), 8) };
        f => { libc::close(f.reads); libc::write(f.writes, buffer(), 8) };
        f => { libc::shutdown(f.peer, libc::SHUT_WR); libc::write(f.peer, buffer(), 8) };
    });
}

#[test]
fn vectored_reads_and_writes() {
    compare(cases! {
        f => libc::readv(f.reads, null(), 1);
        f => libc::readv(f.reads, null(), 0);
        f => libc::readv(f.reads, vectors([4, 4]), -1);
        f => libc::readv(f.reads, vectors([4, 4]), 0);
        f => libc::readv(f.reads, vectors([4, 4]), 1025);
        f => libc::readv(f.reads, vectors([4, 4]), i32::MAX);
        f => libc::readv(f.reads, vectors([HUGE, HUGE]), 2);
        f => libc::readv(f.reads, vectors([usize::MAX, 4]), 2);
        f => libc::readv(f.stream, vectors([usize::MAX, 4]), 2);
        f => libc::readv(f.stream, vectors([HUGE, 4]), 2);
        f => libc::readv(f.stream, vectors([0, 4]), 2);
        f => libc::readv(f.file, vectors([usize::MAX, usize::MAX]), 2);
        f => libc::readv(f.event, vectors([4, 4]), 2);
        f => libc::readv(f.event, vectors([8, 0]), 2);
        f => libc::readv(f.closed, vectors([4, 4]), 2);
        _f => libc::readv(-1, null(), -1);
        f => libc::writev(f.writes, null(), 2);
        f => libc::writev(f.writes, vectors([usize::MAX, 4]), 2);
        f => libc::writev(f.peer, vectors([0, 0]), 2);
        f => libc::writev(f.peer, vectors([4, 4]), -1);
        f => libc::writev(f.tcp, vectors([4, 4]), 2);
        f => libc::pread(f.file, buffer(), 8, -1);
        f => libc::pread(f.file, buffer(), 8, i64::MIN);
        f => libc::pread(f.file, buffer(), 8, i64::MAX);
        f => libc::pread(f.file, null_mut(), 8, 0);
        f => libc::pread(f.file, buffer(), usize::MAX, 0);
        f => libc::pread(f.reads, buffer(), 8, 0);
        f => libc::pread(f.stream, buffer(), 8, 0);
        f => libc::pread(f.directory, buffer(), 8, 0);
        f => libc::pread(f.closed, buffer(), 8, 0);
        f => libc::pwrite(f.file, buffer(), 8, 0);
        f => libc::pwrite(f.file, buffer(), 8, -1);
        f => libc::pwrite(f.writes, buffer(), 8, 0);
        f => libc::preadv(f.file, null(), 1, 0);
        f => libc::preadv(f.file, vectors([4, 4]), -1, 0);
        f => libc::preadv(f.file, vectors([4, 4]), 2, -1);
        f => libc::preadv(f.file, vectors([usize::MAX, 4]), 2, 0);
        f => libc::preadv2(f.file, vectors([4, 4]), 2, 0, 1 << 30);
        f => libc::preadv2(f.file, vectors([4, 4]), 2, -2, 0);
        f => libc::preadv2(f.reads, vectors([4, 4]), 2, 0, 0);
        f => libc::preadv2(f.reads, vectors([4, 4]), 2, -1, 0);
        f => libc::preadv2(f.file, vectors([4, 4]), 2, i64::MAX, 0);
        f => libc::pwritev2(f.file, vectors([4, 4]), 2, 0, 0);
        f => libc::pwritev2(f.writes, vectors([4, 4]), 2, -1, 1 << 30);
        f => libc::sendfile(f.peer, f.file, null_mut(), 0);
        f => libc::sendfile(f.peer, f.reads, null_mut(), 8);
        f => libc::sendfile(f.closed, f.file, null_mut(), 8);
        f => libc::sendfile(f.peer, f.closed, null_mut(), 8);
        f => libc::sendfile(f.file, f.file, null_mut(), 8);
        f => { let mut at = -1; libc::sendfile(f.peer, f.file, &raw mut at, 8) };
        f => libc::splice(f.file, null_mut(), f.stream, null_mut(), 8, 0);
        f => libc::splice(f.reads, null_mut(), f.writes, null_mut(), 8, 0);
        f => libc::splice(f.reads, null_mut(), f.peer, null_mut(), 8, u32::MAX);
        f => libc::splice(f.closed, null_mut(), f.peer, null_mut(), 8, 0);
        f => libc::splice(f.reads, null_mut(), f.closed, null_mut(), 8, 0);
        f => { let mut at = 0; libc::splice(f.reads, &raw mut at, f.peer, null_mut(), 8, 0) };
        f => libc::copy_file_range(f.file, null_mut(), f.file, null_mut(), 8, 1);
        f => libc::copy_file_range(f.file, null_mut(), f.reads, null_mut(), 8, 0);
        f => libc::copy_file_range(f.closed, null_mut(), f.file, null_mut(), 8, 0);
    });
}

fn message(list: *const iovec, count: usize) -> *mut libc::msghdr {
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (list.cast_mut(), count);
    Box::leak(Box::new(message))
}

fn batch(count: usize) -> *mut libc::mmsghdr {
    let one = || libc::mmsghdr { msg_hdr: unsafe { *message(vectors([4, 4]), 2) }, msg_len: 0 };
    (0..count).map(|_| one()).collect::<Vec<_>>().leak().as_mut_ptr()
}

fn spec(seconds: i64, nanos: i64) -> *mut libc::timespec {
    Box::leak(Box::new(libc::timespec { tv_sec: seconds, tv_nsec: nanos }))
}

#[test]
fn messages_and_connections() {
    compare(cases! {
        f => libc::recv(f.reads, buffer(), 8, 0);
        f => libc::recv(f.file, buffer(), 8, 0);
        f => libc::recv(f.closed, buffer(), 8, 0);
        _f => libc::recv(-1, buffer(), 8, 0);
        f => libc::recv(f.tcp, buffer(), 8, 0);
        f => libc::recv(f.listener, buffer(), 8, 0);
        f => libc::recv(f.stream, null_mut(), 8, 0);
        f => libc::recv(f.stream, buffer(), 0, 0);
        f => libc::recv(f.stream, buffer(), usize::MAX, 0);
        f => libc::recv(f.stream, buffer(), 8, i32::MAX);
        f => libc::recv(f.stream, buffer(), 8, libc::MSG_OOB);
        f => libc::recv(f.datagram, buffer(), 4, libc::MSG_TRUNC);
        f => libc::recv(f.datagram, buffer(), 0, libc::MSG_PEEK);
        f => libc::recv(f.datagram, null_mut(), 8, 0);
        f => libc::recvfrom(f.datagram, buffer(), 8, 0, buffer().cast(), null_mut());
        f => libc::send(f.writes, buffer(), 8, 0);
        f => libc::send(f.tcp, buffer(), 8, 0);
        f => libc::send(f.udp, buffer(), 8, 0);
        f => libc::send(f.peer, null(), 8, 0);
        f => libc::send(f.peer, buffer(), 8, libc::MSG_OOB);
        f => libc::sendto(f.udp, buffer(), 8, 0, buffer().cast(), 1);
        f => libc::sendto(f.udp, buffer(), 8, 0, null(), 16);
        f => libc::sendto(f.udp, buffer(), 8, 0, buffer().cast(), u32::MAX);
        f => libc::sendto(f.udp, buffer(), 1 << 20, 0, buffer().cast(), 16);
        f => libc::recvmsg(f.stream, null_mut(), 0);
        f => libc::recvmsg(f.stream, message(null(), 1), 0);
        f => libc::recvmsg(f.stream, message(null(), 0), 0);
        f => libc::recvmsg(f.stream, message(vectors([4, 4]), 1025), 0);
        f => libc::recvmsg(f.stream, message(vectors([4, 4]), usize::MAX), 0);
        f => libc::recvmsg(f.stream, message(vectors([usize::MAX, 4]), 2), 0);
        f => libc::recvmsg(f.reads, message(vectors([4, 4]), 2), 0);
        f => libc::recvmsg(f.closed, message(vectors([4, 4]), 2), 0);
        f => libc::recvmsg(f.datagram, message(vectors([2, 2]), 2), 0);
        f => libc::sendmsg(f.peer, null(), 0);
        f => libc::sendmsg(f.peer, message(null(), 1), 0);
        f => libc::sendmsg(f.peer, message(vectors([4, 4]), 1025), 0);
        f => libc::sendmsg(f.peer, message(vectors([usize::MAX, 4]), 2), 0);
        f => libc::sendmsg(f.udp, message(vectors([4, 4]), 2), 0);
        f => libc::sendmsg(f.tcp, message(vectors([4, 4]), 2), 0);
        f => { let m = message(vectors([4, 4]), 2); (*m).msg_controllen = 3; (*m).msg_control = buffer(); libc::sendmsg(f.peer, m, 0) };
        f => { let m = message(vectors([4, 4]), 2); (*m).msg_controllen = 64; (*m).msg_control = buffer(); libc::sendmsg(f.peer, m, 0) };
        f => { let m = message(vectors([4, 4]), 2); (*m).msg_controllen = 64; libc::sendmsg(f.peer, m, 0) };
        f => { let m = message(vectors([4, 4]), 2); (*m).msg_namelen = 4; libc::sendmsg(f.udp, m, 0) };
        f => libc::recvmmsg(f.datagram, null_mut(), 1, 0, null_mut());
        f => libc::recvmmsg(f.datagram, batch(2), 0, 0, null_mut());
        f => libc::recvmmsg(f.datagram, batch(2), 1, 0, spec(0, 1_000_000_000));
        f => libc::recvmmsg(f.datagram, batch(2), 1, 0, spec(-1, 0));
        f => libc::recvmmsg(f.datagram, batch(2), 2, libc::MSG_WAITFORONE, null_mut());
        f => libc::recvmmsg(f.reads, batch(2), 2, 0, null_mut());
        f => libc::recvmmsg(f.closed, batch(2), 2, 0, null_mut());
        f => libc::sendmmsg(f.datagram, null_mut(), 1, 0);
        f => libc::sendmmsg(f.datagram, batch(2), 0, 0);
        f => libc::sendmmsg(f.reads, batch(2), 2, 0);
        f => libc::sendmmsg(f.udp, batch(2), 2, 0);
        f => libc::accept(f.tcp, null_mut(), null_mut());
        f => libc::accept(f.udp, null_mut(), null_mut());
        f => libc::accept(f.stream, null_mut(), null_mut());
        f => libc::accept(f.reads, null_mut(), null_mut());
        f => libc::accept(f.closed, null_mut(), null_mut());
        _f => libc::accept(-1, null_mut(), null_mut());
        f => libc::accept4(f.listener, null_mut(), null_mut(), 1);
        f => libc::connect(f.tcp, null(), 16);
        f => libc::connect(f.tcp, buffer().cast(), 0);
        f => libc::connect(f.tcp, buffer().cast(), u32::MAX);
        f => libc::connect(f.tcp, buffer().cast(), 16);
        f => libc::connect(f.listener, [libc::AF_INET as u16, 0, 0, 0, 0, 0, 0, 0].as_ptr().cast(), 16);
        f => libc::connect(f.stream, [libc::AF_UNIX as u16; 8].as_ptr().cast(), 16);
        f => libc::connect(f.reads, buffer().cast(), 16);
        f => libc::connect(f.closed, buffer().cast(), 16);
        f => libc::shutdown(f.tcp, libc::SHUT_RD);
    });
}

fn entry(fd: c_int) -> *mut libc::pollfd {
    Box::leak(Box::new(libc::pollfd { fd, events: libc::POLLIN, revents: 0 }))
}

fn set(fd: c_int) -> *mut libc::fd_set {
    let set: &mut libc::fd_set = Box::leak(Box::new(unsafe { zeroed() }));
    unsafe { libc::FD_SET(fd, set) };
    set
}

fn limit(seconds: i64, micros: i64) -> *mut libc::timeval {
    Box::leak(Box::new(libc::timeval { tv_sec: seconds, tv_usec: micros }))
}

#[test]
fn waits() {
    compare(cases! {
        _f => libc::poll(null_mut(), 1, 0);
        _f => libc::poll(null_mut(), 1, -1);
        _f => libc::poll(null_mut(), 0, 1);
        _f => libc::poll(null_mut(), u64::MAX, 0);
        f => libc::poll(entry(f.reads), 1 << 21, 0);
        f => libc::poll(entry(f.closed), 1, -1);
        f => { let e = entry(f.closed); libc::poll(e, 1, -1); (*e).revents };
        _f => libc::poll(entry(-1), 1, 1);
        _f => libc::poll(entry(i32::MIN), 1, 1);
        f => libc::poll(entry(f.file), 1, -1);
        f => libc::poll(entry(f.directory), 1, -1);
        f => libc::poll(entry(f.listener), 1, 1);
        f => libc::ppoll(entry(f.tcp), 1, spec(0, -1), null());
        f => libc::ppoll(entry(f.timer), 1, spec(-1, 0), null());
        f => libc::ppoll(entry(f.timer), 1, spec(0, 1_000_000_000), null());
        _f => libc::ppoll(null_mut(), 1, spec(0, 0), null());
        _f => libc::select(-1, null_mut(), null_mut(), null_mut(), null_mut());
        _f => libc::select(i32::MIN, null_mut(), null_mut(), null_mut(), null_mut());
        f => { libc::close(f.timer); libc::select(f.timer + 1, set(f.timer), null_mut(), null_mut(), null_mut()) };
        f => libc::select(f.timer + 1, set(f.timer), null_mut(), null_mut(), limit(-1, 0));
        f => libc::select(f.timer + 1, set(f.timer), null_mut(), null_mut(), limit(0, -1));
        f => libc::select(f.timer + 1, set(f.timer), null_mut(), null_mut(), limit(0, 1_000_001));
        f => libc::select(0, set(f.timer), null_mut(), null_mut(), limit(0, 1));
        f => libc::select(f.file + 1, set(f.file), null_mut(), set(f.file), null_mut());
        f => libc::pselect(f.timer + 1, set(f.timer), null_mut(), null_mut(), spec(0, 1_000_000_000), null());
        _f => libc::pselect(-1, null_mut(), null_mut(), null_mut(), spec(0, -1), null());
        f => libc::epoll_wait(f.epoll, buffer().cast(), 0, 0);
        f => libc::epoll_wait(f.epoll, buffer().cast(), -1, 0);
        f => libc::epoll_wait(f.epoll, buffer().cast(), i32::MAX, 0);
        f => libc::epoll_wait(f.epoll, null_mut(), 1, 1);
        f => libc::epoll_wait(f.reads, buffer().cast(), 1, -1);
        f => libc::epoll_wait(f.file, buffer().cast(), 1, -1);
        f => libc::epoll_wait(f.closed, buffer().cast(), 1, -1);
        _f => libc::epoll_wait(-1, buffer().cast(), 1, -1);
        f => libc::epoll_pwait(f.epoll, buffer().cast(), 0, -1, null());
        _f => libc::nanosleep(null(), null_mut());
        _f => libc::nanosleep(spec(0, 1_000_000_000), null_mut());
        _f => libc::nanosleep(spec(0, -1), null_mut());
        _f => libc::nanosleep(spec(-1, 0), null_mut());
        _f => libc::nanosleep(spec(0, 0), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, null(), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, spec(0, -1), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 1, null(), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 1, spec(-1, 0), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 1, spec(0, i64::MAX), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 2, spec(0, 1), null_mut());
        _f => libc::clock_nanosleep(12345, 0, spec(0, 1), null_mut());
        _f => libc::clock_nanosleep(libc::CLOCK_THREAD_CPUTIME_ID, 0, spec(0, 1), null_mut());
        _f => libc::usleep(0);
        _f => libc::sleep(0);
        _f => libc::waitpid(i32::MAX, null_mut(), 0);
        _f => libc::waitpid(1, null_mut(), 0);
        _f => libc::waitpid(0, null_mut(), 0);
        _f => libc::waitpid(i32::MIN, null_mut(), 0);
        _f => libc::waitpid(1, null_mut(), i32::MAX);
        _f => libc::waitpid(-1, null_mut(), 1 << 20);
        _f => libc::wait4(1, null_mut(), 0, null_mut());
        _f => libc::waitid(99, 1, null_mut(), libc::WEXITED);
        _f => libc::waitid(libc::P_PID, 0, null_mut(), libc::WEXITED);
        _f => libc::waitid(libc::P_PID, u32::MAX, buffer().cast(), libc::WEXITED);
        _f => libc::waitid(libc::P_PID, 1, buffer().cast(), libc::WEXITED);
        _f => libc::waitid(libc::P_PID, 1, buffer().cast(), 0);
        f => libc::waitid(libc::P_PIDFD, f.reads as u32, buffer().cast(), libc::WEXITED);
        _f => libc::waitid(libc::P_PIDFD, u32::MAX, buffer().cast(), libc::WEXITED);
        _f => libc::pthread_join(libc::pthread_self(), null_mut());
        _f => libc::syscall(-1);
        _f => libc::syscall(100_000, 1, 2, 3);
    });
}

#[test]
fn names_and_descriptors() {
    compare(cases! {
        _f => libc::open(null(), libc::O_RDONLY);
        _f => libc::open(c"".as_ptr(), libc::O_RDONLY);
        _f => libc::open(c"/proc/self/exe/x".as_ptr(), libc::O_RDONLY);
        _f => libc::open(c"/".as_ptr(), libc::O_RDWR);
        _f => libc::open(c"/etc/passwd".as_ptr(), libc::O_DIRECTORY);
        f => libc::openat(f.closed, c"x".as_ptr(), libc::O_RDONLY);
        f => libc::openat(f.file, c"x".as_ptr(), libc::O_RDONLY);
        _f => libc::creat(c"/nowhere/x".as_ptr(), 0);
        _f => libc::stat(null(), buffer().cast());
        _f => libc::stat(c"/".as_ptr(), null_mut());
        _f => libc::stat(c"/nowhere".as_ptr(), buffer().cast());
        _f => libc::lstat(c"".as_ptr(), buffer().cast());
        f => libc::fstatat(f.closed, c"x".as_ptr(), buffer().cast(), 0);
        f => libc::fstatat(f.file, c"".as_ptr(), buffer().cast(), 0);
        f => libc::fstatat(f.file, c"".as_ptr(), buffer().cast(), libc::AT_EMPTY_PATH);
        f => libc::fstatat(f.file, c"".as_ptr(), null_mut(), libc::AT_EMPTY_PATH);
        f => libc::fstatat(f.file, c"".as_ptr(), buffer().cast(), 1);
        f => libc::statx(f.file, c"".as_ptr(), libc::AT_EMPTY_PATH, u32::MAX, buffer().cast());
        f => libc::statx(f.file, c"".as_ptr(), i32::MAX, 0, buffer().cast());
        f => libc::statx(f.file, null(), 0, 0, buffer().cast());
        _f => libc::fsync(-1);
        f => libc::fsync(f.reads);
        f => libc::fdatasync(f.stream);
        f => libc::flock(f.closed, libc::LOCK_EX);
        f => libc::flock(f.file, 99);
        f => libc::flock(f.file, 0);
        f => libc::lockf(f.file, 99, 0);
        f => libc::lockf(f.file, libc::F_LOCK, 0);
        f => libc::lockf(f.reads, libc::F_LOCK, 0);
        f => libc::fcntl(f.closed, libc::F_GETFL);
        f => libc::fcntl(f.file, 9999);
        f => libc::fcntl(f.file, libc::F_SETLKW, 0usize);
        f => libc::fcntl(f.file, libc::F_OFD_SETLKW, 0usize);
        f => libc::fcntl(f.closed, libc::F_SETLKW, buffer());
        f => libc::fcntl(f.file, libc::F_DUPFD, -1);
        f => libc::fcntl(f.file, libc::F_DUPFD, i32::MAX);
        f => libc::fcntl(f.file, libc::F_SETFL, -1);
        _f => libc::close(-1);
        f => libc::close(f.closed);
        _f => libc::close(i32::MIN);
        _f => libc::dup(-1);
        f => libc::dup(f.closed);
        f => libc::dup2(f.file, -1);
        f => libc::dup2(f.file, i32::MAX);
        f => libc::dup2(f.closed, f.reads);
        f => libc::dup2(f.closed, f.closed);
        f => libc::dup3(f.file, f.file, 0);
        f => libc::dup3(f.file, f.reads, 1);
        f => libc::dup3(f.file, -1, 0);
        _f => libc::close_range(5, 3, 0);
        _f => libc::close_range(u32::MAX, u32::MAX, 1 << 20);
        f => libc::ioctl(f.reads, libc::FIONBIO, 0usize);
        f => libc::ioctl(f.closed, libc::FIONBIO, buffer());
        f => libc::ioctl(f.reads, u64::MAX, 0usize);
        f => libc::setsockopt(f.stream, libc::SOL_SOCKET, libc::SO_RCVTIMEO, null(), 16);
        f => libc::setsockopt(f.stream, libc::SOL_SOCKET, libc::SO_RCVTIMEO, buffer(), 1);
        f => libc::setsockopt(f.reads, libc::SOL_SOCKET, libc::SO_RCVTIMEO, buffer(), 16);
        f => libc::setsockopt(f.stream, 9999, 9999, buffer(), 4);
        _f => libc::socket(9999, libc::SOCK_STREAM, 0);
        _f => libc::socket(libc::AF_INET, 99, 0);
        _f => libc::socketpair(libc::AF_INET, libc::SOCK_STREAM, 0, buffer().cast());
        _f => libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, null_mut());
        _f => libc::pipe(null_mut());
        _f => libc::pipe2(buffer().cast(), 1);
        _f => libc::eventfd(0, 1 << 30);
        _f => libc::timerfd_create(9999, 0);
        _f => libc::signalfd(-1, null(), 0);
        f => libc::signalfd(f.reads, buffer().cast(), 0);
        _f => libc::epoll_create(0);
        _f => libc::epoll_create(-1);
        _f => libc::epoll_create1(1);
        _f => libc::inotify_init1(1);
        _f => libc::memfd_create(null(), 0);
        _f => libc::memfd_create(c"x".as_ptr(), u32::MAX);
        _f => libc::getaddrinfo(null(), null(), null(), buffer().cast());
        _f => libc::getaddrinfo(c"1.2.3.4.5".as_ptr(), c"no-such-service".as_ptr(), null(), buffer().cast());
        _f => { let mut h: libc::addrinfo = zeroed(); h.ai_family = 9999; libc::getaddrinfo(c"::1".as_ptr(), null(), &raw const h, buffer().cast()) };
        _f => { let mut h: libc::addrinfo = zeroed(); h.ai_flags = -1; libc::getaddrinfo(c"::1".as_ptr(), null(), &raw const h, buffer().cast()) };
        _f => libc::getnameinfo(null(), 0, buffer().cast(), 8, null_mut(), 0, 0);
        _f => libc::getnameinfo([9999u16; 8].as_ptr().cast(), 16, buffer().cast(), 8, null_mut(), 0, 0);
        _f => libc::getnameinfo([libc::AF_INET as u16, 0, 0, 0, 0, 0, 0, 0].as_ptr().cast(), 2, buffer().cast(), 8, null_mut(), 0, 0);
        _f => libc::getnameinfo([libc::AF_INET as u16, 0, 0, 0, 0, 0, 0, 0].as_ptr().cast(), 16, buffer().cast(), 2, null_mut(), 0, libc::NI_NUMERICHOST) + { *libc::__errno_location() = 0; 0 };
        _f => libc::getnameinfo([libc::AF_INET as u16, 0, 0, 0, 0, 0, 0, 0].as_ptr().cast(), 16, null_mut(), 0, null_mut(), 0, 0);
        _f => libc::sigaction(0, null(), buffer().cast());
        _f => libc::sigaction(99, null(), buffer().cast());
        _f => { let mut a: libc::sigaction = zeroed(); a.sa_sigaction = 1000; libc::sigaction(libc::SIGKILL, &raw const a, null_mut()) };
        _f => libc::signal(99, libc::SIG_IGN);
        _f => libc::signal(libc::SIGSTOP, libc::SIG_IGN);
    });
}

#[test]
fn words_of_locks() {
    const WAIT: c_int = libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG;
    const WAKE: c_int = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    compare(cases! {
        _f => libc::syscall(libc::SYS_futex, 0usize, WAIT, 0, 0usize, 0usize, u32::MAX);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAIT, 1, 0usize, 0usize, u32::MAX);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAIT, 0, spec(0, 1_000_000_000), 0usize, u32::MAX);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAIT, 0, spec(-1, 0), 0usize, u32::MAX);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAIT, 0, spec(0, 0), 0usize, 0);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAIT, 0, spec(1, 0), 0usize, u32::MAX);
        _f => libc::syscall(libc::SYS_futex, 0usize, WAKE, 1);
        _f => libc::syscall(libc::SYS_futex, buffer(), WAKE, 0);
        _f => libc::syscall(libc::SYS_futex, buffer().wrapping_byte_add(1), WAKE, 1);
        _f => libc::syscall(libc::SYS_futex, buffer(), 9999, 1);
    });
}
