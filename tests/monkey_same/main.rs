//! Each replaced call both ways: on a plain thread, which the kernel answers, and on a coroutine. Same inputs, same
//! results, same errno, same bytes.
//!
//! Where a call has to wait, a plain thread does what it waits for, both times. `departures` has what differs, and why.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

#[path = "../common/mod.rs"]
mod common;

mod basics;
mod checked;
mod children;
mod datagrams;
mod departures;
mod descriptors;
mod epoll;
mod events;
mod files;
mod huge;
mod locks;
mod moving;
mod names;
mod owners;
mod parts;
mod queues;
mod sockets;
mod streams;
mod waiting;
mod wakes;
mod wide;

use std::mem::zeroed;
use std::ptr::null_mut;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{on_one_worker, watched};
use libc::c_int;

/// What a case saw, call by call.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen(Vec<String>);

impl Seen {
    /// Notes a result, with errno if it is an error.
    fn call(&mut self, name: &str, result: impl TryInto<i64>) -> i64 {
        let result = result.try_into().unwrap_or(i64::MAX);
        let error = std::io::Error::last_os_error().raw_os_error();
        let error = if result < 0 { error } else { None };
        println!("    {name} = {result} {error:?}");
        self.0.push(format!("{name} = {result} {error:?}"));
        result
    }

    /// Notes anything else.
    fn note(&mut self, what: impl std::fmt::Debug) {
        self.0.push(format!("{what:?}"));
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

/// Sends with the time for the other side to wait first.
fn later(f: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(5 * MS);
        f();
    })
}

fn recv(fd: c_int, buffer: &mut [u8], flags: c_int) -> isize {
    unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) }
}

fn send(fd: c_int, bytes: &[u8], flags: c_int) -> isize {
    unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) }
}

/// A file without a name.
fn file() -> c_int {
    let file =
        unsafe { libc::open(c"/tmp".as_ptr(), libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC, 0o600) };
    assert!(file > 0);
    file
}

/// Held by each table while it runs: one has children and asks for any of them, and between `fork` and `exec` a child has
/// everybody's descriptors open, so that another table would see no end of what it has closed.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

type Case = (&'static str, fn(&mut Seen));

/// Runs each case on this thread, and on a coroutine.
fn alike(cases: &'static [Case]) {
    let _alone = ALONE.lock();
    watched(move || {
        ropewalk::monkey::patch_all().unwrap();
        for (name, case) in cases {
            println!("{name}, on a thread");
            let mut plain = Seen::default();
            case(&mut plain);
            println!("{name}, on a coroutine");
            let case = *case;
            let cooperative = common::runtime(1).run(move || {
                let mut seen = Seen::default();
                case(&mut seen);
                seen
            });
            assert_eq!(plain, cooperative, "{name}: on a thread (left) and on a coroutine (right)");
            assert!(plain.0.len() > 2, "{name}: {plain:?}");
            println!("{name}: {} results alike", plain.0.len());
        }
    });
}

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
