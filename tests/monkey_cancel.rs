//! Cancellations and time limits that reach replaced calls, whose callers take no notice of errors.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{child, on_one_worker, runtime};
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Waits in a loop that does not care how each wait ends, until it is told to stop.
fn stubborn(stop: &Arc<AtomicBool>, mut wait: impl FnMut() + Send + 'static) -> ropewalk::JoinHandle<()> {
    let stop = Arc::clone(stop);
    spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            wait();
        }
    })
}

#[test]
fn cancelled_loops_that_ignore_errors_let_others_of_their_worker_run() {
    on_one_worker(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (silent, open) = UnixStream::pair().unwrap();
        let polled = silent.try_clone().unwrap();
        let (never, _open) = UnixStream::pair().unwrap();
        never.set_nonblocking(true).unwrap();
        let loops = [
            stubborn(&stop, move || drop(listener.accept())),
            stubborn(&stop, move || drop((&silent).read(&mut [0]))),
            stubborn(&stop, || thread::sleep(HOUR)),
            stubborn(&stop, move || {
                let mut place = libc::pollfd { fd: polled.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                // SAFETY: a list of one.
                unsafe { libc::poll(&raw mut place, 1, -1) };
            }),
            stubborn(&stop, || drop("localhost:80".to_socket_addrs())),
            stubborn(&stop, thread::yield_now),
            stubborn(&stop, || {
                // SAFETY: a list of none.
                unsafe { libc::poll(std::ptr::null_mut(), 0, 0) };
            }),
            stubborn(&stop, move || drop((&never).read(&mut [0]))),
        ];
        ropewalk::sleep(5 * MS);
        loops.iter().for_each(ropewalk::JoinHandle::cancel);
        // Each of these needs the worker.
        (0..20).for_each(|_| ropewalk::sleep(MS));
        assert!(!loops[0].is_finished());
        stop.store(true, Ordering::Relaxed);
        ropewalk::join_all(loops);
        drop(open);
    });
}

#[test]
fn one_that_ignores_errors_for_ever_ends_the_process_with_its_name_when_its_runtime_ends() {
    match child("one_that_ignores_errors_for_ever_ends_the_process_with_its_name_when_its_runtime_ends") {
        Some(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            common::named(&errors, &["coroutine 'acceptor' (#", "does not end", "cancelled waits"]);
        }
        None => {
            // Ends a child that hangs.
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(25));
                std::process::exit(1);
            });
            ropewalk::monkey::patch_all().unwrap();
            let runtime = runtime(1);
            let acceptor = || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                listener.incoming().flatten().for_each(drop);
            };
            ropewalk::Builder::new().name("acceptor").spawn_in(&runtime, acceptor).unwrap();
            runtime.run(|| ropewalk::sleep(5 * MS));
            drop(runtime);
        }
    }
}

#[test]
fn what_comes_of_a_call_that_a_time_limit_has_ended_is_no_result() {
    on_one_worker(|| {
        let (mut silent, mut open) = UnixStream::pair().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(ropewalk::timeout(2 * MS, || thread::sleep(HOUR)).is_err());
        assert!(ropewalk::timeout(2 * MS, || drop(listener.accept())).is_err());
        assert!(ropewalk::timeout(2 * MS, || silent.read_to_end(&mut Vec::new()).ok()).is_err());
        assert!(ropewalk::timeout(2 * MS, || open.write_all(&[0; 4 << 20]).ok()).is_err());
        // Of two, the one whose time is over.
        let nested = ropewalk::timeout(HOUR, || {
            ropewalk::timeout(2 * MS, || thread::sleep(HOUR)).unwrap_err();
            thread::sleep(MS);
            7
        });
        assert_eq!(nested, Ok(7));
        let nested = ropewalk::timeout(2 * MS, || ropewalk::timeout(HOUR, || thread::sleep(HOUR)));
        assert!(nested.is_err());
        // Late, but nothing was cut short.
        let late = ropewalk::timeout(MS, || {
            let began = std::time::Instant::now();
            while began.elapsed() < 3 * MS {
                std::hint::spin_loop();
            }
            7
        });
        assert_eq!(late, Ok(7));
        assert_eq!(ropewalk::timeout(HOUR, || thread::sleep(MS)), Ok(()));
    });
}
