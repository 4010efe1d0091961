//! The debug mode that reports blocking system calls which slip past the replaced functions.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{child, watched};
use ropewalk::{Runtime, monkey};

static REPORTS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        REPORTS.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// A runtime with one worker, everything replaced, and reports captured.
fn runtime(name: &str) -> Runtime {
    // The first test of the process sets it.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Warn);
    monkey::patch_all().unwrap();
    Runtime::builder().workers(1).name(name).build().unwrap()
}

/// Reports about a runtime that contain `text`.
fn reports(runtime: &str, text: &str) -> Vec<String> {
    let name = format!("runtime '{runtime}'");
    let all = REPORTS.lock().unwrap();
    all.iter().filter(|report| report.contains(&name) && report.contains(text)).cloned().collect()
}

/// Waits for a report about a runtime that contains `text`.
fn report(runtime: &str, text: &str) -> String {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = reports(runtime, text).pop() {
            return found;
        }
        assert!(Instant::now() < end, "no report of '{runtime}' with '{text}'");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn counted(name: &str) -> u64 {
    monkey::slipped().iter().filter(|call| call.name() == Some(name)).map(monkey::Slipped::count).sum()
}

/// What is reported of a coroutine that blocks with `f`, again and again until there is a report.
fn blocks(runtime_name: &'static str, call: &'static str, f: fn(&AtomicU32)) -> String {
    watched(move || {
        monkey::report_blocking(true).unwrap();
        let stop: &'static AtomicU32 = Box::leak(Box::default());
        let before = counted(call);
        let runtime = runtime(runtime_name);
        let body = move || {
            while stop.load(Ordering::Relaxed) == 0 {
                f(stop);
            }
        };
        let handle = ropewalk::coroutine::Builder::new().name("culprit").spawn_in(&runtime, body).unwrap();
        let text = report(runtime_name, "past the hooks");
        assert!(text.contains(&format!("coroutine 'culprit' (#{}) blocks worker 0", handle.id())), "{text}");
        assert!(text.contains(&format!("({call}) for at least ")), "{text}");
        assert!(counted(call) > before);
        let listed = monkey::slipped();
        let listed = listed.iter().find(|listed| listed.name() == Some(call)).unwrap();
        assert_eq!(listed.last_coroutine(), Some("culprit"), "{listed}");
        assert!(text.contains(&format!("system call {} (", listed.number())), "{text}");
        stop.store(1, Ordering::Relaxed);
        handle.join().unwrap();
        // One turn, one report, and none of a long turn besides.
        assert_eq!(reports(runtime_name, "past the hooks").len(), 1);
        text
    })
}

#[inline(never)]
fn a_futex_wait_of_its_own(word: &AtomicU32) {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
    // Plain FUTEX_WAIT, as parking_lot has it, is left to the kernel.
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the limit live through the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 0, &raw const limit, 0, 0) };
}

#[test]
fn a_wait_by_libc_s_syscall_is_reported() {
    let text = blocks("futex", "futex", a_futex_wait_of_its_own);
    assert!(cfg!(not(target_arch = "x86_64")) || text.contains("a_futex_wait_of_its_own"), "{text}");
}

#[test]
fn a_poll_of_nothing_is_reported() {
    #[inline(never)]
    fn a_raw_poll(_: &AtomicU32) {
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
        let (none, zero) = (std::ptr::null::<libc::pollfd>(), 0usize);
        // SAFETY: no descriptors, no mask; the limit lives through the call.
        unsafe { libc::syscall(libc::SYS_ppoll, none, zero, &raw const limit, zero, zero) };
    }
    let text = blocks("ppoll", "ppoll", a_raw_poll);
    assert!(cfg!(not(target_arch = "x86_64")) || text.contains("a_raw_poll"), "{text}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_system_call_as_an_instruction_is_reported() {
    #[inline(never)]
    fn sleeps_by_an_instruction(_: &AtomicU32) {
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
        // SAFETY: nanosleep reads the limit, and writes nothing.
        unsafe {
            std::arch::asm!(
                "syscall",
                inlateout("rax") libc::SYS_nanosleep => _,
                in("rdi") &raw const limit,
                in("rsi") 0,
                lateout("rcx") _,
                lateout("r11") _,
                options(nostack),
            );
        }
    }
    let text = blocks("instruction", "nanosleep", sleeps_by_an_instruction);
    assert!(text.contains("sleeps_by_an_instruction"), "{text}");
}

/// A call that no other test here makes: the last coroutine found in it is for all of the process.
fn a_sleep_by_libc_s_syscall() {
    let limit = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
    // SAFETY: the limit lives through the call, which writes nothing.
    unsafe { libc::syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, 0, &raw const limit, 0) };
}

#[test]
fn without_a_signal_the_call_and_the_worker_are_named() {
    watched(|| {
        monkey::report_blocking(true).unwrap();
        drop(runtime("other"));
        let runtime = Runtime::builder().workers(1).name("mute").monitor_signal(None).build().unwrap();
        let stop: &'static AtomicU32 = Box::leak(Box::default());
        let handle = runtime.spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                a_sleep_by_libc_s_syscall();
            }
        });
        let text = report("mute", "past the hooks");
        assert!(
            text.starts_with("one coroutine blocks worker 0 of runtime 'mute' in system call "),
            "{text}"
        );
        stop.store(1, Ordering::Relaxed);
        handle.join().unwrap();
    });
}

#[test]
fn a_coroutine_that_computes_is_not_blocked() {
    watched(|| {
        monkey::report_blocking(true).unwrap();
        let stop: &'static AtomicBool = Box::leak(Box::default());
        let runtime = runtime("computes");
        let handle = runtime.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        // By then it has been looked at several times.
        report("computes", "without a wait or a yield");
        stop.store(true, Ordering::Relaxed);
        handle.join().unwrap();
        assert_eq!(reports("computes", "past the hooks"), [""; 0]);
    });
}

#[test]
fn replaced_calls_do_not_slip() {
    watched(|| {
        monkey::report_blocking(true).unwrap();
        let runtime = runtime("replaced");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let mut peer = listener.accept().unwrap().0;
            // Long enough to be seen, if it blocked.
            std::thread::sleep(Duration::from_millis(150));
            peer.write_all(b"x").unwrap();
        });
        runtime.run(move || {
            std::thread::sleep(Duration::from_millis(150));
            TcpStream::connect(address).unwrap().read_exact(&mut [0]).unwrap();
            let guard = Mutex::new(());
            let condvar = std::sync::Condvar::new();
            let _ = condvar.wait_timeout(guard.lock().unwrap(), Duration::from_millis(150)).unwrap();
        });
        peer.join().unwrap();
        assert_eq!(reports("replaced", "past the hooks"), [""; 0]);
    });
}

#[test]
fn a_wait_while_unwinding_is_the_worker_s_own() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            ropewalk::sleep(Duration::from_millis(80));
        }
    }
    watched(|| {
        monkey::report_blocking(true).unwrap();
        let runtime = runtime("unwinds");
        let handle = runtime.spawn(|| {
            let _waits = Waits;
            std::panic::resume_unwind(Box::new("as it should"));
        });
        assert!(handle.join().is_err());
        assert_eq!(reports("unwinds", "past the hooks"), [""; 0]);
    });
}

/// libc waits for its locks inside of itself, but for `pthread_mutex_lock` alone. So a coroutine that holds one and waits
/// keeps it from all others of its worker, itself included once one of them has asked for it: that is reported.
#[test]
fn a_lock_of_libc_s_that_a_waiting_coroutine_holds_is_reported() {
    watched(|| {
        monkey::report_blocking(true).unwrap();
        let runtime = runtime("holds");
        let mutex: &'static Mutexes = Box::leak(Box::new(Mutexes(libc::PTHREAD_MUTEX_INITIALIZER.into())));
        let (mut reading, mut writing) = std::io::pipe().unwrap();
        let [held, asked, stop]: &'static [AtomicBool; 3] = Box::leak(Box::default());
        let holder = runtime.spawn(move || {
            // SAFETY: a mutex that stays; it is unlocked by the thread that has locked it.
            assert_eq!(unsafe { libc::pthread_mutex_lock(mutex.0.get()) }, 0);
            held.store(true, Ordering::Release);
            reading.read_exact(&mut [0]).unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { libc::pthread_mutex_unlock(mutex.0.get()) }, 0);
        });
        let until = |flag: &AtomicBool| {
            while !flag.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        until(held);
        let body = move || {
            asked.store(true, Ordering::Release);
            while !stop.load(Ordering::Relaxed) {
                waits_for_the_lock(mutex);
            }
        };
        let culprit = ropewalk::coroutine::Builder::new().name("culprit").spawn_in(&runtime, body).unwrap();
        // What the holder waits for comes now; but it has no worker to go on with.
        until(asked);
        writing.write_all(b"x").unwrap();
        let text = report("holds", "past the hooks");
        assert!(text.contains("coroutine 'culprit'") && text.contains("(futex)"), "{text}");
        assert!(cfg!(not(target_arch = "x86_64")) || text.contains("waits_for_the_lock"), "{text}");
        assert!(!holder.is_finished());
        stop.store(true, Ordering::Relaxed);
        culprit.join().unwrap();
        holder.join().unwrap();
    });
}

struct Mutexes(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is there to be used by several threads.
unsafe impl Sync for Mutexes {}

/// With a limit, or else it would never end.
#[inline(never)]
fn waits_for_the_lock(mutex: &Mutexes) {
    let mut until = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: this frame's own.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut until) };
    until.tv_sec += 1;
    // SAFETY: a mutex that stays.
    let answer = unsafe { libc::pthread_mutex_timedlock(mutex.0.get(), &raw const until) };
    assert_eq!(answer, libc::ETIMEDOUT, "the holder cannot have gone on");
}

#[test]
fn it_is_off_until_asked_for_and_can_be_turned_off() {
    // The switch is for the whole process.
    let Some(output) = child("it_is_off_until_asked_for_and_can_be_turned_off") else {
        let stop: &'static AtomicU32 = Box::leak(Box::default());
        let look = |name: &str, text: &str| {
            stop.store(0, Ordering::Relaxed);
            let runtime = runtime(name);
            let handle = runtime.spawn(move || {
                while stop.load(Ordering::Relaxed) == 0 {
                    a_futex_wait_of_its_own(stop);
                }
            });
            report(name, text);
            stop.store(1, Ordering::Relaxed);
            handle.join().unwrap();
            reports(name, "past the hooks").len()
        };
        // The report of a long turn comes later than the other would.
        assert_eq!(look("before", "without a wait or a yield"), 0);
        assert!(monkey::slipped().is_empty());
        monkey::report_blocking(true).unwrap();
        assert_eq!(look("on", "past the hooks"), 1);
        monkey::report_blocking(false).unwrap();
        assert_eq!(look("after", "without a wait or a yield"), 0);
        assert_eq!(counted("futex"), 1);
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
