//! Calls beside the common ones: each waits on one coroutine for what another of the same worker does, so it would wait
//! for ever if it kept the worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame, or with memory that is leaked"
)]

mod common;

use std::io::Write;
use std::mem::zeroed;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::on_one_worker;
use libc::c_int;
use ropewalk::{monkey, spawn};

const MS: Duration = Duration::from_millis(1);

/// Runs `wait` on a coroutine, and `act` once it waits.
fn together(wait: impl FnOnce() + Send + 'static, act: impl FnOnce() + Send + 'static) {
    on_one_worker(|| {
        let waiter = spawn(wait);
        ropewalk::sleep(2 * MS);
        assert!(!waiter.is_finished(), "it waits");
        act();
        waiter.join().unwrap();
    });
}

fn counted(name: &str) -> [u64; 3] {
    let status = monkey::status();
    let symbol = status.iter().find(|symbol| symbol.name() == name).unwrap();
    assert!(symbol.is_active(), "{symbol}");
    [symbol.calls(), symbol.parks(), symbol.offloads()]
}

#[test]
fn a_semaphore_of_c() {
    let semaphore: &'static mut libc::sem_t = Box::leak(Box::new(unsafe { zeroed() }));
    let place = (&raw mut *semaphore).expose_provenance();
    let semaphore = move || std::ptr::with_exposed_provenance_mut::<libc::sem_t>(place);
    together(
        move || assert_eq!(unsafe { libc::sem_wait(semaphore()) }, 0),
        move || assert_eq!(unsafe { libc::sem_post(semaphore()) }, 0),
    );
    assert!(counted("sem_wait")[1] > 0);
}

#[test]
fn a_semaphore_of_system_v() {
    let set = unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) };
    let change = move |sem_op| {
        let mut operation = libc::sembuf { sem_num: 0, sem_op, sem_flg: 0 };
        assert_eq!(unsafe { libc::semop(set, &mut operation, 1) }, 0);
    };
    together(move || change(-1), move || change(1));
    assert_eq!(unsafe { libc::semctl(set, 0, libc::IPC_RMID) }, 0);
}

#[test]
fn a_message_of_system_v() {
    let queue = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
    together(
        move || {
            let mut place = [0u64; 2];
            assert_eq!(unsafe { libc::msgrcv(queue, place.as_mut_ptr().cast(), 8, 0, 0) }, 8);
            assert_eq!(place, [1, 5]);
        },
        move || assert_eq!(unsafe { libc::msgsnd(queue, [1u64, 5].as_ptr().cast(), 8, 0) }, 0),
    );
    assert_eq!(unsafe { libc::msgctl(queue, libc::IPC_RMID, null_mut()) }, 0);
}

#[test]
fn a_message_of_posix() {
    let name = std::ffi::CString::new(format!("/ropewalk-others-{}", std::process::id())).unwrap();
    let flags = libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC;
    let none = null_mut::<libc::mq_attr>();
    let queue = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600, none) };
    if queue < 0 {
        println!("skipped: no message queues here: {}", std::io::Error::last_os_error());
        return;
    }
    unsafe { libc::mq_unlink(name.as_ptr()) };
    together(
        move || {
            let mut place = vec![0; 8192];
            assert_eq!(unsafe { libc::mq_receive(queue, place.as_mut_ptr(), 8192, null_mut()) }, 4);
        },
        move || assert_eq!(unsafe { libc::mq_send(queue, c"word".as_ptr(), 4, 0) }, 0),
    );
    assert!(counted("mq_receive")[1] > 0);
    unsafe { libc::mq_close(queue) };
}

#[test]
fn a_signal_that_is_taken() {
    let mut set: libc::sigset_t = unsafe { zeroed() };
    let signal = libc::SIGRTMIN() + 9;
    unsafe { libc::sigaddset(&mut set, signal) };
    together(
        move || {
            // The worker's own mask.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, null_mut()) };
            let mut number = 0;
            assert_eq!(unsafe { libc::sigwait(&set, &mut number) }, 0);
            assert_eq!(number, signal);
        },
        move || assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), signal) }, 0),
    );
    assert!(counted("sigwait")[1] > 0);
}

#[test]
fn a_count_by_c_s_functions() {
    unsafe extern "C" {
        fn eventfd_read(fd: c_int, value: *mut u64) -> c_int;
        fn eventfd_write(fd: c_int, value: u64) -> c_int;
    }
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    together(
        move || assert_eq!(unsafe { eventfd_read(fd, &mut 0) }, 0),
        move || assert_eq!(unsafe { eventfd_write(fd, 7) }, 0),
    );
    unsafe { libc::close(fd) };
}

#[test]
fn pipes_that_are_copied_and_filled_from_memory() {
    on_one_worker(|| unsafe {
        let ([mut from, mut into], full) = ([[0; 2]; 2], 4096);
        libc::pipe2(from.as_mut_ptr(), libc::O_CLOEXEC);
        libc::pipe2(into.as_mut_ptr(), libc::O_CLOEXEC);
        let copier = spawn(move || assert_eq!(libc::tee(from[0], into[1], 9, 0), 4));
        ropewalk::sleep(2 * MS);
        assert_eq!(libc::write(from[1], c"word".as_ptr().cast(), 4), 4);
        copier.join().unwrap();
        libc::fcntl(into[1], libc::F_SETPIPE_SZ, full);
        let bytes: &'static [u8] = &[7; 4096];
        let list = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 4096 };
        while libc::vmsplice(into[1], &list, 1, libc::SPLICE_F_NONBLOCK) > 0 {}
        let filler = spawn(move || {
            let list = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 10 };
            assert_eq!(libc::vmsplice(into[1], &list, 1, 0), 10);
        });
        ropewalk::sleep(2 * MS);
        let mut buffer = [0u8; 8192];
        while !filler.is_finished() {
            assert!(libc::read(into[0], buffer.as_mut_ptr().cast(), 8192) > 0);
            ropewalk::sleep(MS);
        }
        filler.join().unwrap();
        from.iter().chain(&into).for_each(|fd| assert_eq!(libc::close(*fd), 0));
    });
}

/// While it is under way, another coroutine of the worker gets its turns.
#[test]
fn names_are_looked_up_and_changed_by_other_threads() {
    on_one_worker(|| {
        let folder = std::env::temp_dir().join(format!("ropewalk-others-{}", std::process::id()));
        let names = ["mkdir", "rename", "unlink", "rmdir", "readlink", "realpath", "ftruncate64", "opendir"];
        let before = names.map(counted);
        std::fs::create_dir(&folder).unwrap();
        let (a, b) = (folder.join("a"), folder.join("b"));
        std::fs::File::create(&a).unwrap().set_len(9).unwrap();
        std::fs::rename(&a, &b).unwrap();
        std::os::unix::fs::symlink(&b, &a).unwrap();
        assert_eq!(std::fs::read_link(&a).unwrap(), b);
        assert_eq!(std::fs::canonicalize(&a).unwrap(), b);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        std::fs::remove_file(&a).unwrap();
        std::fs::remove_file(&b).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        for (name, before) in names.iter().zip(before) {
            let now = counted(name);
            assert!(now[0] > before[0] && now[2] > before[2], "{name}: {before:?}, {now:?}");
        }
    });
}

/// A close that waits until everything has gone out (`SO_LINGER`).
#[test]
fn a_lingering_close() {
    for accepted in [false, true] {
        on_one_worker(move || {
            let linger = libc::linger { l_onoff: 1, l_linger: 1 };
            let set = |fd: c_int| {
                let (place, len) = ((&raw const linger).cast(), size_of::<libc::linger>() as u32);
                assert_eq!(unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, place, len) }, 0);
            };
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if accepted {
                set(listener.as_raw_fd());
            }
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let server = listener.accept().unwrap().0;
            let (mut closes, _keeps) = if accepted { (server, client) } else { (client, server) };
            if !accepted {
                set(closes.as_raw_fd());
            }
            closes.set_nonblocking(true).unwrap();
            while closes.write(&[1; 65_536]).is_ok() {}
            let turns: &'static AtomicU32 = Box::leak(Box::default());
            let other = spawn(move || {
                while turns.fetch_add(1, Ordering::Relaxed) < 1000 {
                    ropewalk::sleep(5 * MS);
                }
            });
            // It starts here: one that has not may be taken by another worker.
            ropewalk::sleep(7 * MS);
            let began = Instant::now();
            drop(closes);
            assert!(began.elapsed() >= 900 * MS, "{:?}: it lingers", began.elapsed());
            let seen = turns.swap(2000, Ordering::Relaxed);
            assert!(seen > 10, "{seen} turns of another coroutine meanwhile");
            other.join().unwrap();
        });
    }
    assert!(counted("close")[2] >= 2);
}
