//! Where a replaced call differs from the kernel's, on purpose: each both ways, with what each does.

use std::mem::zeroed;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// A call that waits, and the answer when nothing but the signal comes, or else after what `more` does.
type Interrupted = fn(c_int) -> isize;

const CALLS: &[(&str, Interrupted)] = &[
    ("read", |fd| read(fd, &mut [0; 4])),
    ("recv", |fd| recv(fd, &mut [0; 4], 0)),
    ("poll", |fd| {
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        unsafe { libc::poll(&mut entry, 1, -1) as isize }
    }),
    ("accept", |_| unsafe {
        let listener = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert_eq!(libc::listen(listener, 1), 0);
        set_timeout(listener, libc::SO_RCVTIMEO, 200 * MS);
        let answer = libc::accept(listener, null_mut(), null_mut());
        let error = *libc::__errno_location();
        close(&[listener]);
        *libc::__errno_location() = error;
        answer as isize
    }),
    ("nanosleep", |_| {
        let time = libc::timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        unsafe { libc::nanosleep(&time, null_mut()) as isize }
    }),
];

/// Makes the call; a signal with a handler, not restarting, comes to its thread every 10 ms until it is over, and a byte
/// after a tenth of a second.
fn interrupted(call: Interrupted) -> (isize, Option<i32>, Duration) {
    let [a, b] = pair(libc::SOCK_STREAM);
    let own = unsafe { libc::pthread_self() };
    let over = std::sync::Arc::new(AtomicU32::new(0));
    let sees = std::sync::Arc::clone(&over);
    let other = thread::spawn(move || {
        for round in 0.. {
            thread::sleep(10 * MS);
            if sees.load(Ordering::Acquire) != 0 {
                break;
            }
            unsafe { libc::pthread_kill(own, libc::SIGRTMIN() + 5) };
            if round == 10 {
                write(b, b"x");
            }
        }
    });
    let began = Instant::now();
    let answer = call(a);
    let error = std::io::Error::last_os_error().raw_os_error();
    let took = began.elapsed();
    over.store(1, Ordering::Release);
    other.join().unwrap();
    close(&[a, b]);
    (answer, if answer < 0 { error } else { None }, took)
}

/// A handler that runs on the worker ends none of the calls that its coroutines wait in: which of them would it be? The
/// kernel sends a signal for the process to any thread, so no program can rely on it that a given call ends. gevent does
/// the same.
#[test]
fn a_signal_ends_the_kernels_call_but_not_a_coroutines() {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = count as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGRTMIN() + 5, &action, null_mut()), 0);
        }
        for (name, call) in CALLS {
            let (answer, error, _) = interrupted(*call);
            assert_eq!((answer, error), (-1, Some(libc::EINTR)), "{name} on a thread");
            let before = HANDLED.load(Ordering::Relaxed);
            let call = *call;
            let (answer, error, took) = common::runtime(1).run(move || interrupted(call));
            let handled = HANDLED.load(Ordering::Relaxed) - before;
            assert!(handled >= 2, "{name}: the handler ran {handled} times");
            match *name {
                "accept" => assert_eq!((answer, error), (-1, Some(libc::EAGAIN)), "its time limit"),
                "nanosleep" => assert!(answer == 0 && took >= 200 * MS, "{took:?}"),
                _ => assert_eq!((answer, error), (1, None), "{name} on a coroutine"),
            }
        }
    });
}

/// A signal for the whole process, sent while coroutines wait in all kinds of calls: handled once, and nobody fails.
#[test]
fn a_signal_for_the_process_is_handled_and_ends_no_call() {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        let signal = libc::SIGRTMIN() + 6;
        unsafe {
            let mut action: libc::sigaction = zeroed();
            action.sa_sigaction = count as *const () as usize;
            assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
        }
        common::runtime(1).run(move || {
            let before = HANDLED.load(Ordering::Relaxed);
            let [a, b] = pair(libc::SOCK_STREAM);
            let reader = ropewalk::spawn(move || read(a, &mut [0; 4]));
            let sleeper = ropewalk::spawn(|| {
                let time = libc::timespec { tv_sec: 0, tv_nsec: 30_000_000 };
                unsafe { libc::nanosleep(&time, null_mut()) }
            });
            ropewalk::sleep(5 * MS);
            assert_eq!(unsafe { libc::kill(libc::getpid(), signal) }, 0);
            while HANDLED.load(Ordering::Relaxed) == before {
                ropewalk::sleep(MS);
            }
            assert_eq!(sleeper.join().unwrap(), 0);
            assert!(!reader.is_finished());
            write(b, b"x");
            assert_eq!(reader.join().unwrap(), 1);
            close(&[a, b]);
        });
    });
}

/// The kernel lets a thread that waits go on with what its descriptor stood for, although the number is closed, or is
/// another's; a coroutine is told `EBADF`, so that it never meets the next owner of the number.
#[test]
fn closing_ends_a_coroutines_call_but_not_the_kernels() {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        let [a, b] = pair(libc::SOCK_STREAM);
        let reader = thread::spawn(move || read(a, &mut [0; 4]));
        thread::sleep(20 * MS);
        close(&[a]);
        // It cannot end before this, whether it waits already or is yet to begin: then the number is closed.
        write(b, b"x");
        let answer = reader.join().unwrap();
        assert!(answer == 1 || answer == -1);
        close(&[b]);
        common::runtime(1).run(|| {
            let [a, b] = pair(libc::SOCK_STREAM);
            let reader = ropewalk::spawn(move || {
                let answer = read(a, &mut [0; 4]);
                (answer, std::io::Error::last_os_error().raw_os_error())
            });
            ropewalk::yield_now();
            ropewalk::sleep(MS);
            close(&[a]);
            assert_eq!(reader.join().unwrap(), (-1, Some(libc::EBADF)));
            close(&[b]);
        });
    });
}
