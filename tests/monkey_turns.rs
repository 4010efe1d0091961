//! Code that waits by looking again and again: each loop here looks until another coroutine of the same worker has set a
//! flag, so it never ends if it keeps the worker.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "libc is called with numbers, and with memory of the calling frame"
)]

mod common;

use std::fs::File;
use std::io::{self, Read};
use std::mem::zeroed;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use common::{child, on_one_worker, runtime, watched};
use ropewalk::{monkey, spawn, timeout};

const MS: Duration = Duration::from_millis(1);
const NO_TIME: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 0 };

/// Looks in a loop until another coroutine, which waits by then, has set a flag.
fn look_until_set(name: &str, mut look: impl FnMut()) {
    println!("{name}");
    let flag = Arc::new(AtomicBool::new(false));
    let setter = spawn({
        let flag = Arc::clone(&flag);
        move || {
            ropewalk::sleep(3 * MS);
            flag.store(true, Ordering::Relaxed);
        }
    });
    ropewalk::sleep(MS);
    while !flag.load(Ordering::Relaxed) {
        look();
    }
    setter.join().unwrap();
}

fn parks(name: &str) -> u64 {
    let status = monkey::status();
    let symbol = status.iter().find(|symbol| symbol.name() == name).unwrap();
    assert!(symbol.is_active(), "{symbol}");
    symbol.parks()
}

#[test]
fn giving_way_lets_others_run() {
    on_one_worker(|| unsafe {
        unsafe extern "C" {
            fn thrd_yield();
        }
        look_until_set("thread::yield_now", thread::yield_now);
        assert!(parks("sched_yield") > 0);
        look_until_set("thrd_yield", || thrd_yield());
        assert!(parks("thrd_yield") > 0);
        look_until_set("sched_yield by number", || assert_eq!(libc::syscall(libc::SYS_sched_yield), 0));
    });
}

#[test]
fn each_yield_is_one_turn() {
    let order = Arc::new(Mutex::new(String::new()));
    on_one_worker({
        let order = Arc::clone(&order);
        move || {
            let each = |letter| {
                let order = Arc::clone(&order);
                spawn(move || {
                    for _ in 0..4 {
                        order.lock().unwrap().push(letter);
                        thread::yield_now();
                    }
                })
            };
            ropewalk::join_all([each('a'), each('b')]);
        }
    });
    assert_eq!(*order.lock().unwrap(), "abababab");
}

#[test]
fn sleeps_of_no_time_let_others_run() {
    on_one_worker(|| unsafe {
        look_until_set("usleep", || assert_eq!(libc::usleep(0), 0));
        look_until_set("sleep", || assert_eq!(libc::sleep(0), 0));
        look_until_set("nanosleep", || assert_eq!(libc::nanosleep(&NO_TIME, null_mut()), 0));
        for flags in [0, libc::TIMER_ABSTIME] {
            look_until_set("clock_nanosleep", || {
                assert_eq!(libc::clock_nanosleep(libc::CLOCK_MONOTONIC, flags, &NO_TIME, null_mut()), 0);
            });
        }
        look_until_set("park_timeout", || thread::park_timeout(Duration::ZERO));
        let (lock, condvar) = (Mutex::new(()), Condvar::new());
        look_until_set("Condvar::wait_timeout", || {
            drop(condvar.wait_timeout(lock.lock().unwrap(), Duration::ZERO));
        });
    });
}

#[test]
fn waits_of_no_time_let_others_run() {
    on_one_worker(|| unsafe {
        let (silent, _open) = UnixStream::pair().unwrap();
        let fd = silent.as_raw_fd();
        let entry = || libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mask: libc::sigset_t = zeroed();
        look_until_set("poll of none", || assert_eq!(libc::poll(null_mut(), 0, 0), 0));
        look_until_set("poll", || assert_eq!(libc::poll(&mut entry(), 1, 0), 0));
        for mask in [null(), &raw const mask] {
            look_until_set("ppoll", || assert_eq!(libc::ppoll(&mut entry(), 1, &NO_TIME, mask), 0));
            look_until_set("pselect", || {
                assert_eq!(libc::pselect(0, null_mut(), null_mut(), null_mut(), &NO_TIME, mask), 0);
            });
        }
        look_until_set("select", || {
            let mut none = libc::timeval { tv_sec: 0, tv_usec: 0 };
            assert_eq!(libc::select(0, null_mut(), null_mut(), null_mut(), &mut none), 0);
        });
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event: libc::epoll_event = zeroed();
        look_until_set("epoll_wait", || assert_eq!(libc::epoll_wait(epoll, &mut event, 1, 0), 0));
        for mask in [null(), &raw const mask] {
            look_until_set("epoll_pwait", || {
                assert_eq!(libc::epoll_pwait(epoll, &mut event, 1, 0, mask), 0);
            });
            look_until_set("epoll_pwait2", || {
                assert!(libc::epoll_pwait2(epoll, &mut event, 1, &NO_TIME, mask) < 1);
            });
        }
        libc::close(epoll);
        let mut signals: libc::sigset_t = zeroed();
        libc::sigaddset(&mut signals, libc::SIGUSR1);
        look_until_set("sigtimedwait", || {
            assert_eq!(libc::sigtimedwait(&signals, null_mut(), &NO_TIME), -1);
        });
        let mut semaphore: libc::sem_t = zeroed();
        look_until_set("sem_timedwait", || assert_eq!(libc::sem_timedwait(&mut semaphore, &NO_TIME), -1));
    });
}

#[test]
fn calls_that_fail_rather_than_wait_let_others_run() {
    on_one_worker(|| unsafe {
        let would_block = |result: io::Result<usize>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        };
        let (silent, open) = UnixStream::pair().unwrap();
        let mut byte = [0u8];
        let place = byte.as_mut_ptr().cast();
        let fd = silent.as_raw_fd();
        look_until_set("recv, MSG_DONTWAIT", || {
            assert_eq!(libc::recv(fd, place, 1, libc::MSG_DONTWAIT), -1);
        });
        silent.set_nonblocking(true).unwrap();
        look_until_set("read", || would_block((&silent).read(&mut [0])));
        assert!(parks("recv") > 0);
        look_until_set("recv", || assert_eq!(libc::recv(fd, place, 1, 0), -1));
        while libc::send(fd, [0u8; 4096].as_ptr().cast(), 4096, 0) > 0 {}
        look_until_set("send", || assert_eq!(libc::send(fd, place, 1, 0), -1));
        look_until_set("write", || assert_eq!(libc::write(fd, place, 1), -1));
        look_until_set("recv, MSG_PEEK", || {
            assert_eq!(libc::recv(open.as_raw_fd(), place, 1, libc::MSG_PEEK), 1);
        });
        look_until_set("FIONREAD", || {
            let mut count = 1;
            assert_eq!((libc::ioctl(fd, libc::FIONREAD, &mut count), count), (0, 0));
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        look_until_set("accept", || assert!(listener.accept().is_err()));
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        look_until_set("TcpStream::read", || would_block(client.read(&mut [0])));
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        let mut message = [0u64; 2];
        look_until_set("msgrcv", || {
            assert_eq!(libc::msgrcv(queue, message.as_mut_ptr().cast(), 8, 0, libc::IPC_NOWAIT), -1);
        });
        libc::msgctl(queue, libc::IPC_RMID, null_mut());
        let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        look_until_set("semop", || {
            let mut take = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: libc::IPC_NOWAIT as i16 };
            assert_eq!(libc::semop(set, &mut take, 1), -1);
        });
        libc::semctl(set, 0, libc::IPC_RMID);
    });
}

#[test]
fn tries_for_locks_of_files_let_others_run() {
    on_one_worker(|| unsafe {
        let path = std::env::temp_dir().join(format!("ropewalk-turns-{}", std::process::id()));
        let (held, other) = (File::create(&path).unwrap(), File::create(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let (held, other) = (held.as_raw_fd(), other.as_raw_fd());
        assert_eq!(libc::flock(held, libc::LOCK_EX), 0);
        look_until_set("flock", || assert_eq!(libc::flock(other, libc::LOCK_EX | libc::LOCK_NB), -1));
        let mut section: libc::flock = zeroed();
        section.l_type = libc::F_WRLCK as i16;
        assert_eq!(libc::fcntl(held, libc::F_OFD_SETLK, &section), 0);
        look_until_set("fcntl", || assert_eq!(libc::fcntl(other, libc::F_OFD_SETLK, &section), -1));
        look_until_set("lockf", || assert_eq!(libc::lockf(other, libc::F_TLOCK, 0), -1));
    });
}

#[test]
fn looks_at_files_and_children_let_others_run() {
    on_one_worker(|| {
        let mut file = File::open("/proc/self/exe").unwrap();
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).unwrap();
        look_until_set("the end of a file", || assert_eq!(file.read(&mut [0]).unwrap(), 0));
        look_until_set("a file that is there", || assert!(std::path::Path::new("/").exists()));
        look_until_set("a file that is not", || assert!(!std::path::Path::new("/no-such-file").exists()));
        look_until_set("open", || assert!(File::open("/no-such-file").is_err()));
        let mut child = std::process::Command::new("sleep").arg("3600").spawn().unwrap();
        look_until_set("Child::try_wait", || assert!(child.try_wait().unwrap().is_none()));
        let id = child.id().cast_signed();
        look_until_set("waitpid", || {
            assert_eq!(unsafe { libc::waitpid(id, null_mut(), libc::WNOHANG) }, 0);
        });
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn fresh_coroutines_start_beside_a_loop_that_yields() {
    for workers in [1, 2] {
        watched(move || {
            monkey::patch_all().unwrap();
            runtime(workers).run(|| {
                let count = Arc::new(AtomicU32::new(0));
                for _ in 0..100 {
                    let count = Arc::clone(&count);
                    spawn(move || count.fetch_add(1, Ordering::Relaxed));
                }
                while count.load(Ordering::Relaxed) < 100 {
                    thread::yield_now();
                }
            });
        });
    }
}

#[test]
fn a_yield_of_a_cancelled_coroutine_returns() {
    on_one_worker(|| {
        let loops = spawn(|| {
            let mut yields = 0;
            // Not a cancellation point: the coroutine goes on after each of these.
            while yields < 5_000 {
                thread::yield_now();
                yields += 1;
            }
            yields
        });
        ropewalk::sleep(Duration::ZERO);
        loops.cancel();
        assert_eq!(loops.join().unwrap(), 5_000);
    });
}

#[test]
fn calls_that_give_turns_tell_of_a_cancellation() {
    let cancelled = |look: fn(&UnixStream) -> i32| {
        let (silent, _open) = UnixStream::pair().unwrap();
        silent.set_nonblocking(true).unwrap();
        let looks = spawn(move || {
            loop {
                let answer = look(&silent);
                let error = io::Error::last_os_error().raw_os_error();
                if answer < 0 && error != Some(libc::EAGAIN) {
                    return error;
                }
            }
        });
        ropewalk::sleep(2 * MS);
        assert!(!looks.is_finished(), "it looks");
        looks.cancel();
        assert_eq!(looks.join().unwrap(), Some(libc::ECANCELED));
    };
    on_one_worker(move || {
        cancelled(|_| unsafe { libc::poll(null_mut(), 0, 0) });
        cancelled(|_| unsafe { libc::usleep(0) });
        cancelled(|_| unsafe { libc::nanosleep(&NO_TIME, null_mut()) });
        cancelled(|silent| (&mut &*silent).read(&mut [0]).map_or(-1, |n| n as i32));
    });
}

#[test]
fn a_shield_holds_a_cancellation_back() {
    on_one_worker(|| {
        let looks = spawn(|| {
            ropewalk::shield(|| {
                for _ in 0..3_000 {
                    assert_eq!(unsafe { libc::poll(null_mut(), 0, 0) }, 0);
                }
            });
            unsafe { libc::poll(null_mut(), 0, 0) }
        });
        ropewalk::sleep(Duration::ZERO);
        looks.cancel();
        assert_eq!(looks.join().unwrap(), -1);
    });
}

#[test]
fn a_time_limit_ends_loops_that_pass_errors_on() {
    on_one_worker(|| {
        let (silent, _open) = UnixStream::pair().unwrap();
        silent.set_nonblocking(true).unwrap();
        let looked = timeout(5 * MS, || {
            loop {
                match (&silent).read(&mut [0]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    other => break other,
                }
            }
        });
        assert!(looked.is_err(), "{looked:?}");
        let polled = timeout(5 * MS, || while unsafe { libc::poll(null_mut(), 0, 0) } == 0 {});
        assert!(polled.is_err());
        // `sched_yield` has no error: the loop goes on until its flag is set, and the limit is told then.
        let flag = Arc::new(AtomicBool::new(false));
        let setter = spawn({
            let flag = Arc::clone(&flag);
            move || {
                ropewalk::sleep(20 * MS);
                flag.store(true, Ordering::Relaxed);
            }
        });
        let yielded = timeout(5 * MS, || {
            while !flag.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        });
        assert!(yielded.is_err());
        setter.join().unwrap();
    });
}

#[test]
fn a_destructor_that_yields_while_it_unwinds_is_not_seen_by_others() {
    struct Yields;
    impl Drop for Yields {
        fn drop(&mut self) {
            assert!(thread::panicking());
            (0..50).for_each(|_| thread::yield_now());
        }
    }
    on_one_worker(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let witness = spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(!thread::panicking());
                    thread::yield_now();
                }
            }
        });
        let panics = spawn(|| {
            let _yields = Yields;
            panic!("meant");
        });
        assert!(panics.join().is_err());
        stop.store(true, Ordering::Relaxed);
        witness.join().unwrap();
    });
}

#[test]
fn a_runtime_that_ends_names_a_loop_that_yields_for_ever() {
    match child("a_runtime_that_ends_names_a_loop_that_yields_for_ever") {
        Some(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            common::named(&errors, &["coroutine 'spinner' (#", "does not end"]);
        }
        None => {
            // Ends a child that hangs.
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(25));
                std::process::exit(1);
            });
            monkey::patch_all().unwrap();
            let runtime = runtime(1);
            let spins = || {
                while std::hint::black_box(true) {
                    thread::yield_now();
                }
            };
            ropewalk::Builder::new().name("spinner").spawn_in(&runtime, spins).unwrap();
            thread::sleep(10 * MS);
            drop(runtime);
        }
    }
}
