//! Messages and semaphores that are no descriptors, or hardly any: POSIX, System V, C; and signals that are taken.

use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::time::Instant;

use super::*;

/// A point of the wall clock, so far ahead.
fn ahead(clock: libc::clockid_t, by: Duration) -> libc::timespec {
    let mut now: libc::timespec = unsafe { zeroed() };
    unsafe { libc::clock_gettime(clock, &mut now) };
    let nanos = now.tv_nsec + i64::from(by.subsec_nanos());
    libc::timespec {
        tv_sec: now.tv_sec + by.as_secs().cast_signed() + nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    }
}

#[repr(C)]
struct Message {
    kind: libc::c_long,
    text: [u8; 8],
}

fn operation(change: i16, flags: c_int) -> libc::sembuf {
    libc::sembuf { sem_num: 0, sem_op: change, sem_flg: flags as i16 }
}

unsafe extern "C" {
    fn sem_clockwait(semaphore: *mut libc::sem_t, clock: c_int, until: *const libc::timespec) -> c_int;
    fn semtimedop(set: c_int, list: *mut libc::sembuf, count: usize, limit: *const libc::timespec) -> c_int;
    fn eventfd_read(fd: c_int, value: *mut u64) -> c_int;
    fn eventfd_write(fd: c_int, value: u64) -> c_int;
    fn wait3(status: *mut c_int, options: c_int, usage: *mut libc::rusage) -> c_int;
}

#[test]
fn queues_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("POSIX message queues", |seen| unsafe {
        let name = std::ffi::CString::new(format!("/ropewalk-{}", std::process::id())).unwrap();
        let mut wanted: libc::mq_attr = zeroed();
        (wanted.mq_maxmsg, wanted.mq_msgsize) = (2, 8);
        let flags = libc::O_CREAT | libc::O_RDWR | libc::O_CLOEXEC;
        let queue = libc::mq_open(name.as_ptr(), flags, 0o600, &raw mut wanted);
        if queue < 0 {
            // A system without them says so both times.
            seen.call("none here", queue);
            seen.note(());
            return seen.note(());
        }
        libc::mq_unlink(name.as_ptr());
        let mut buffer = [0u8; 16];
        let place: *mut libc::c_char = buffer.as_mut_ptr().cast();
        let mut priority = 0;
        let send =
            move |text: &[u8], priority| libc::mq_send(queue, text.as_ptr().cast(), text.len(), priority);
        seen.call("send", send(b"low", 1));
        seen.call("send", send(b"urgent", 9));
        seen.call("too long", send(b"123456789", 0));
        seen.call("receive", libc::mq_receive(queue, place, 16, &mut priority));
        seen.note(priority);
        seen.call("too small", libc::mq_receive(queue, place, 7, null_mut()));
        seen.call("receive", libc::mq_receive(queue, place, 8, null_mut()));
        let late = later(move || assert_eq!(send(b"late", 3), 0));
        seen.call("waits", libc::mq_receive(queue, place, 16, &mut priority));
        seen.note(priority);
        late.join().unwrap();
        let until = ahead(libc::CLOCK_REALTIME, 15 * MS);
        let began = Instant::now();
        seen.call("in time", libc::mq_timedreceive(queue, place, 16, null_mut(), &until));
        seen.took(began, 10 * MS);
        let bad = libc::timespec { tv_sec: 1, tv_nsec: -1 };
        seen.call("bad time", libc::mq_timedreceive(queue, place, 16, null_mut(), &bad));
        send(b"one", 0);
        send(b"two", 0);
        seen.call("full in time", libc::mq_timedsend(queue, c"x".as_ptr(), 1, 0, &until));
        let mut taken = [0u8; 16];
        let late = later(move || {
            assert_eq!(libc::mq_receive(queue, taken.as_mut_ptr().cast(), 16, null_mut()), 3);
        });
        seen.call("waits for room", send(b"three", 0));
        late.join().unwrap();
        let mut never: libc::mq_attr = zeroed();
        never.mq_flags = libc::O_NONBLOCK.into();
        libc::mq_setattr(queue, &never, null_mut());
        seen.call("full", send(b"x", 0));
        seen.call("full, with a limit", libc::mq_timedsend(queue, c"x".as_ptr(), 1, 0, &until));
        for _ in 0..3 {
            seen.call("what is there", libc::mq_receive(queue, place, 16, null_mut()));
        }
        seen.call("close", libc::mq_close(queue));
        seen.call("closed", libc::mq_receive(queue, place, 16, null_mut()));
        seen.call("a file", {
            let other = file();
            let answer = libc::mq_receive(other, place, 16, null_mut());
            let error = *libc::__errno_location();
            close(&[other]);
            *libc::__errno_location() = error;
            answer
        });
    }),
    ("messages of System V", |seen| unsafe {
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        assert!(queue >= 0);
        let send = move |kind, len| {
            let message = Message { kind, text: *b"01234567" };
            libc::msgsnd(queue, (&raw const message).cast(), len, 0)
        };
        let mut taken = Message { kind: 0, text: [0; 8] };
        let place: *mut libc::c_void = (&raw mut taken).cast();
        seen.call("bad kind", send(0, 8));
        seen.call("send", send(1, 8));
        seen.call("send", send(2, 3));
        seen.call("the second kind", libc::msgrcv(queue, place, 8, 2, 0));
        seen.call("too small", libc::msgrcv(queue, place, 3, 0, 0));
        seen.call("cut", libc::msgrcv(queue, place, 3, 0, libc::MSG_NOERROR));
        seen.call("now", libc::msgrcv(queue, place, 8, 0, libc::IPC_NOWAIT));
        let late = later(move || assert_eq!(send(5, 2), 0));
        seen.call("waits", libc::msgrcv(queue, place, 8, 0, 0));
        late.join().unwrap();
        let mut settings: libc::msqid_ds = zeroed();
        libc::msgctl(queue, libc::IPC_STAT, &mut settings);
        settings.msg_qbytes = 16;
        libc::msgctl(queue, libc::IPC_SET, &mut settings);
        seen.call("send", send(1, 8));
        seen.call("send", send(1, 8));
        let late = later(move || {
            let mut other = Message { kind: 0, text: [0; 8] };
            assert_eq!(libc::msgrcv(queue, (&raw mut other).cast(), 8, 0, 0), 8);
        });
        seen.call("waits for room", send(1, 8));
        late.join().unwrap();
        let late = later(move || assert_eq!(libc::msgctl(queue, libc::IPC_RMID, null_mut()), 0));
        seen.call("removed", libc::msgrcv(queue, place, 8, 77, 0));
        late.join().unwrap();
        seen.call("gone", libc::msgrcv(queue, place, 8, 0, 0));
        seen.call("gone", send(1, 8));
    }),
    ("semaphores of System V", |seen| unsafe {
        let set = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        assert!(set >= 0);
        let change = move |by, flags| libc::semop(set, &mut operation(by, flags), 1);
        seen.call("give", change(2, 0));
        seen.call("take", change(-2, 0));
        seen.call("now", change(-1, libc::IPC_NOWAIT));
        let late = later(move || assert_eq!(change(1, 0), 0));
        seen.call("waits", change(-1, 0));
        late.join().unwrap();
        change(1, 0);
        let late = later(move || assert_eq!(change(-1, 0), 0));
        seen.call("waits for none", change(0, 0));
        late.join().unwrap();
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 15_000_000 };
        let began = Instant::now();
        seen.call("in time", semtimedop(set, &mut operation(-1, 0), 1, &limit));
        seen.took(began, 15 * MS);
        let bad = libc::timespec { tv_sec: -1, tv_nsec: 0 };
        seen.call("bad time", semtimedop(set, &mut operation(-1, 0), 1, &bad));
        let mut both = [operation(1, 0), operation(-3, 0)];
        let late = later(move || assert_eq!(change(2, 0), 0));
        seen.call("both at once", libc::semop(set, both.as_mut_ptr(), 2));
        late.join().unwrap();
        let mut mixed = [operation(-1, libc::IPC_NOWAIT), operation(1, 0)];
        seen.call("one of them only tries", libc::semop(set, mixed.as_mut_ptr(), 2));
        let mut mixed = [operation(1, libc::IPC_NOWAIT), operation(-2, 0)];
        let late = later(move || assert_eq!(change(1, 0), 0));
        seen.call("the other one waits", libc::semop(set, mixed.as_mut_ptr(), 2));
        late.join().unwrap();
        seen.call("none at all", libc::semop(set, null_mut(), 0));
        seen.call("too many", libc::semop(set, vec![operation(1, 0); 501].as_mut_ptr(), 501));
        seen.call("no such number", {
            let mut other = operation(1, 0);
            other.sem_num = 9;
            libc::semop(set, &mut other, 1)
        });
        let late = later(move || assert_eq!(libc::semctl(set, 0, libc::IPC_RMID), 0));
        seen.call("removed", change(-1, 0));
        late.join().unwrap();
        seen.call("gone", change(-1, 0));
    }),
    ("semaphores of C", |seen| unsafe {
        let semaphore: &'static mut libc::sem_t = Box::leak(Box::new(zeroed()));
        let place: *mut libc::sem_t = semaphore;
        let address = place.expose_provenance();
        let post = move || assert_eq!(libc::sem_post(std::ptr::with_exposed_provenance_mut(address)), 0);
        seen.call("init", libc::sem_init(place, 0, 2));
        seen.call("take", libc::sem_wait(place));
        seen.call("take", libc::sem_timedwait(place, &ahead(libc::CLOCK_REALTIME, 5000 * MS)));
        seen.call("try", libc::sem_trywait(place));
        let late = later(post);
        seen.call("waits", libc::sem_wait(place));
        late.join().unwrap();
        let late = later(post);
        seen.call("in time", libc::sem_timedwait(place, &ahead(libc::CLOCK_REALTIME, 5000 * MS)));
        late.join().unwrap();
        let began = Instant::now();
        seen.call("too late", libc::sem_timedwait(place, &ahead(libc::CLOCK_REALTIME, 15 * MS)));
        seen.took(began, 10 * MS);
        let began = Instant::now();
        let clock = libc::CLOCK_MONOTONIC;
        seen.call("another clock", sem_clockwait(place, clock, &ahead(clock, 15 * MS)));
        seen.took(began, 15 * MS);
        seen.call("bad clock", sem_clockwait(place, 99, &ahead(clock, 15 * MS)));
        let time = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
        seen.call("past", libc::sem_timedwait(place, &time(0, 0)));
        seen.call("long past", libc::sem_timedwait(place, &time(-5, 0)));
        seen.call("bad time", libc::sem_timedwait(place, &time(0, 1_000_000_000)));
        post();
        seen.call("bad time, and one there", libc::sem_timedwait(place, &time(0, -1)));
        seen.call("past, and one there", libc::sem_timedwait(place, &time(0, 0)));
        seen.call("none left", libc::sem_trywait(place));
    }),
    ("signals that are taken", |seen| unsafe {
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        let signal = libc::SIGRTMIN() + 8;
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        let own = libc::pthread_self();
        let kill = move || assert_eq!(libc::pthread_kill(own, signal), 0);
        let mut number = 0;
        kill();
        seen.call("sigwait", libc::sigwait(&set, &mut number));
        seen.note(number == signal);
        let late = later(kill);
        seen.call("waits", libc::sigwait(&set, &mut number));
        late.join().unwrap();
        let mut info: libc::siginfo_t = zeroed();
        let late = later(kill);
        seen.note(libc::sigwaitinfo(&set, &mut info) == signal);
        seen.note((
            info.si_signo == signal,
            info.si_code,
            info.si_pid().unsigned_abs() == std::process::id(),
        ));
        late.join().unwrap();
        let limit = libc::timespec { tv_sec: 0, tv_nsec: 15_000_000 };
        let began = Instant::now();
        seen.call("in time", libc::sigtimedwait(&set, &mut info, &limit));
        seen.took(began, 15 * MS);
        let bad = libc::timespec { tv_sec: 0, tv_nsec: -1 };
        seen.call("bad time", libc::sigtimedwait(&set, &mut info, &bad));
        kill();
        seen.note(libc::sigtimedwait(&set, null_mut(), null()) == signal);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
    }),
    ("mutexes of C", |seen| unsafe {
        for kind in
            [libc::PTHREAD_MUTEX_NORMAL, libc::PTHREAD_MUTEX_RECURSIVE, libc::PTHREAD_MUTEX_ERRORCHECK]
        {
            let mut attributes: libc::pthread_mutexattr_t = zeroed();
            libc::pthread_mutexattr_init(&mut attributes);
            libc::pthread_mutexattr_settype(&mut attributes, kind);
            let place: *mut libc::pthread_mutex_t = Box::leak(Box::new(zeroed()));
            let address = place.expose_provenance();
            libc::pthread_mutex_init(place, &attributes);
            seen.call("lock", libc::pthread_mutex_lock(place));
            seen.call("try", libc::pthread_mutex_trylock(place));
            if kind != libc::PTHREAD_MUTEX_NORMAL {
                seen.call("again", libc::pthread_mutex_lock(place));
                seen.call("unlock", libc::pthread_mutex_unlock(place));
                seen.call("unlock", libc::pthread_mutex_unlock(place));
            }
            seen.call("unlock", libc::pthread_mutex_unlock(place));
            let (says, hears) = std::sync::mpsc::channel();
            let late = thread::spawn(move || {
                let place = std::ptr::with_exposed_provenance_mut(address);
                libc::pthread_mutex_lock(place);
                says.send(()).unwrap();
                thread::sleep(5 * MS);
                libc::pthread_mutex_unlock(place);
            });
            hears.recv().unwrap();
            seen.call("waits", libc::pthread_mutex_lock(place));
            late.join().unwrap();
            seen.call("unlock", libc::pthread_mutex_unlock(place));
            seen.call("try", libc::pthread_mutex_trylock(place));
        }
    }),
    ("eventfd by C's functions", |seen| unsafe {
        let fd = libc::eventfd(3, libc::EFD_CLOEXEC);
        let mut value = 0;
        seen.call("read", eventfd_read(fd, &mut value));
        seen.note(value);
        let late = later(move || assert_eq!(eventfd_write(fd, 7), 0));
        seen.call("late", eventfd_read(fd, &mut value));
        seen.note(value);
        late.join().unwrap();
        seen.call("too much", eventfd_write(fd, u64::MAX));
        seen.call("full", eventfd_write(fd, u64::MAX - 1));
        let late = later(move || assert_eq!(eventfd_read(fd, &mut 0), 0));
        seen.call("waits for room", eventfd_write(fd, 2));
        late.join().unwrap();
        close(&[fd]);
        seen.call("closed", eventfd_read(fd, &mut value));
        let [reading, writing] = pipe();
        write(writing, b"abc");
        seen.note(eventfd_read(reading, &mut value));
        seen.call("no terminal", libc::tcdrain(writing));
        close(&[reading, writing]);
        let (mut own, mut other) = (0, 0);
        assert_eq!(libc::openpty(&mut own, &mut other, null_mut(), null(), null()), 0);
        seen.call("drained", libc::tcdrain(other));
        close(&[own, other]);
    }),
    ("any child, the old way", |seen| unsafe {
        let mut status = 0;
        let mut usage: libc::rusage = zeroed();
        seen.call("no child", wait3(&mut status, 0, null_mut()));
        #[allow(clippy::zombie_processes, reason = "waited for below")]
        let child = std::process::Command::new("sh").arg("-c").arg("sleep 0.01; exit 12").spawn().unwrap();
        seen.call("not yet", wait3(&mut status, libc::WNOHANG, &mut usage));
        seen.note(wait3(&mut status, 0, &mut usage) == child.id().cast_signed());
        seen.note((libc::WEXITSTATUS(status), usage.ru_maxrss > 0));
    }),
];
