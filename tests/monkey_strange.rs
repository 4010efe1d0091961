//! Arguments and moments that are allowed and yet strange: descriptors closed by signal handlers, sets that are shorter than
//! the count, control data at odd addresses.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

mod common;

use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use common::on_one_worker;
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

fn handle(signal: i32, handler: extern "C" fn(i32)) {
    let mut action: libc::sigaction = unsafe { zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    assert_eq!(unsafe { libc::sigaction(signal, &action, null_mut()) }, 0);
}

static TO_CLOSE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn close_one(_: i32) {
    unsafe { libc::close(TO_CLOSE.swap(-1, Ordering::SeqCst)) };
}

/// Reads from a number that is closed while this waits.
fn read_until_closed(number: i32) -> (isize, Option<i32>) {
    let answer = unsafe { libc::read(number, [0u8; 1].as_mut_ptr().cast(), 1) };
    (answer, std::io::Error::last_os_error().raw_os_error())
}

#[test]
fn a_descriptor_that_a_handler_closes_ends_the_calls_that_wait_on_it() {
    on_one_worker(|| {
        let signal = libc::SIGRTMIN() + 8;
        handle(signal, close_one);
        for _ in 0..20 {
            let (a, _b) = UnixStream::pair().unwrap();
            let number = a.into_raw_fd();
            let reader = spawn(move || read_until_closed(number));
            ropewalk::sleep(MS);
            assert!(!reader.is_finished());
            TO_CLOSE.store(number, Ordering::SeqCst);
            unsafe { libc::raise(signal) };
            assert_eq!(reader.join().unwrap(), (-1, Some(libc::EBADF)));
            // Whoever gets the number next, most likely this, waits on the new one.
            let (mut c, mut d) = UnixStream::pair().unwrap();
            let late = spawn(move || {
                ropewalk::sleep(MS);
                d.write_all(b"x").map(|()| d)
            });
            c.read_exact(&mut [0]).unwrap();
            drop(late.join().unwrap());
        }
    });
}

static HANDLED: AtomicU32 = AtomicU32::new(0);
/// Descriptors that coroutines wait on, for the handler to close.
static WAITED_ON: [AtomicI32; 4] = [const { AtomicI32::new(-1) }; 4];

/// All that POSIX lets a handler do with descriptors.
extern "C" fn churn(_: i32) {
    unsafe {
        let mut ends = [-1; 2];
        assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
        let copies = [libc::dup(ends[0]), libc::fcntl(ends[1], libc::F_DUPFD_CLOEXEC, 3)];
        libc::dup2(ends[0], copies[1]);
        libc::fcntl(ends[0], libc::F_SETFL, libc::O_NONBLOCK);
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        let file = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
        for fd in [ends[0], ends[1], copies[0], copies[1], socket, file] {
            assert_eq!(libc::close(fd), 0);
        }
        for place in &WAITED_ON {
            libc::close(place.swap(-1, Ordering::SeqCst));
        }
    }
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn a_handler_makes_and_closes_descriptors_whatever_it_interrupts() {
    on_one_worker(|| {
        let signal = libc::SIGRTMIN() + 9;
        handle(signal, churn);
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
        let closed = WAITED_ON.iter().map(|place| {
            spawn(move || {
                while HANDLED.load(Ordering::SeqCst) < 1_000 {
                    let (a, _b) = UnixStream::pair().unwrap();
                    let number = a.into_raw_fd();
                    let reader = spawn(move || read_until_closed(number));
                    // Now it waits.
                    ropewalk::yield_now();
                    ropewalk::yield_now();
                    place.store(number, Ordering::SeqCst);
                    assert_eq!(reader.join().unwrap(), (-1, Some(libc::EBADF)));
                }
            })
        });
        let closed: Vec<_> = closed.collect();
        let coroutines: Vec<_> = (0..4)
            .map(|_| {
                spawn(|| {
                    while HANDLED.load(Ordering::SeqCst) < 1_000 {
                        let (mut a, mut b) = UnixStream::pair().unwrap();
                        let copy = b.try_clone().unwrap();
                        let writer = spawn(move || {
                            ropewalk::yield_now();
                            b.write_all(b"x").unwrap();
                        });
                        a.read_exact(&mut [0]).unwrap();
                        writer.join().unwrap();
                        drop(copy);
                    }
                })
            })
            .collect();
        closed.into_iter().chain(coroutines).for_each(|coroutine| coroutine.join().unwrap());
        over.store(true, Ordering::Relaxed);
        sender.join().unwrap();
    });
}

#[test]
fn a_set_may_be_shorter_than_the_count_as_far_as_there_are_descriptors() {
    on_one_worker(|| unsafe {
        // The set ends where the memory does.
        let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let memory = libc::mmap(null_mut(), 2 * page, protection, flags, -1, 0);
        assert_ne!(memory, libc::MAP_FAILED);
        let end = memory.wrapping_byte_add(page);
        assert_eq!(libc::mprotect(end, page, libc::PROT_NONE), 0);
        let set = end.wrapping_byte_sub(size_of::<libc::fd_set>()).cast::<libc::fd_set>();
        let (a, mut b) = UnixStream::pair().unwrap();
        for most in [1 << 16, 1 << 20, i32::MAX] {
            libc::FD_SET(a.as_raw_fd(), set);
            let mut limit = libc::timeval { tv_sec: 0, tv_usec: 2000 };
            assert_eq!(libc::select(most, set, null_mut(), null_mut(), &raw mut limit), 0);
            libc::FD_SET(a.as_raw_fd(), set);
            let limit = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000 };
            assert_eq!(libc::pselect(most, set, null_mut(), null_mut(), &raw const limit, null_mut()), 0);
        }
        b.write_all(b"x").unwrap();
        libc::FD_SET(a.as_raw_fd(), set);
        assert_eq!(libc::select(i32::MAX, set, null_mut(), null_mut(), null_mut()), 1);
        assert!(libc::FD_ISSET(a.as_raw_fd(), set));
        assert_eq!(libc::munmap(memory, 2 * page), 0);
    });
}

#[test]
fn control_data_may_lie_at_an_odd_address() {
    on_one_worker(|| unsafe {
        const SPACE: usize = 64;
        #[repr(align(16))]
        struct Aligned([u8; SPACE + 1]);
        let (a, b) = UnixStream::pair().unwrap();
        let (c, mut d) = UnixStream::pair().unwrap();
        let mut byte = [7u8];
        let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
        let mut control = Aligned([0; SPACE + 1]);
        let place = control.0.as_mut_ptr().wrapping_add(1);
        let mut message: libc::msghdr = zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut piece, 1);
        (message.msg_control, message.msg_controllen) = (place.cast(), libc::CMSG_LEN(4) as _);
        let mut header: libc::cmsghdr = zeroed();
        header.cmsg_len = libc::CMSG_LEN(4) as _;
        (header.cmsg_level, header.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        place.cast::<libc::cmsghdr>().write_unaligned(header);
        let data = place.wrapping_add(libc::CMSG_LEN(0) as usize).cast::<i32>();
        data.write_unaligned(c.as_raw_fd());
        assert_eq!(libc::sendmsg(a.as_raw_fd(), &raw const message, 0), 1);
        drop(c);
        message.msg_controllen = SPACE as _;
        assert_eq!(libc::recvmsg(b.as_raw_fd(), &raw mut message, 0), 1);
        let mut came = UnixStream::from(OwnedFd::from_raw_fd(data.read_unaligned()));
        let reader = spawn(move || came.read_exact(&mut [0]));
        ropewalk::sleep(MS);
        d.write_all(b"x").unwrap();
        reader.join().unwrap().unwrap();
    });
}
