//! Locks on files: `flock`, `fcntl`, `lockf`.

use std::ffi::CString;
use std::time::Instant;

use super::*;

/// A file that is opened anew each time.
struct Named(CString);

impl Named {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-{name}-{}", std::process::id()));
        std::fs::write(&path, "0123456789").unwrap();
        Self(CString::new(path.to_str().unwrap()).unwrap())
    }

    fn open(&self) -> c_int {
        let fd = unsafe { libc::open(self.0.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        assert!(fd > 0);
        fd
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        unsafe { libc::unlink(self.0.as_ptr()) };
    }
}

fn section(kind: c_int, start: i64, len: i64) -> libc::flock {
    let (l_type, l_whence) = (kind as i16, libc::SEEK_SET as i16);
    libc::flock { l_type, l_whence, l_start: start, l_len: len, l_pid: 0 }
}

fn lock(fd: c_int, command: c_int, kind: c_int, start: i64, len: i64) -> c_int {
    let mut section = section(kind, start, len);
    unsafe { libc::fcntl(fd, command, &raw mut section) }
}

/// A child of this process that holds a lock on the first byte until it is told to go on. It makes system calls only.
fn holder(fd: c_int) -> (libc::pid_t, c_int) {
    let [told, tell] = pipe();
    let [ready, say] = pipe();
    match unsafe { libc::fork() } {
        0 => unsafe {
            let mut byte = 0u8;
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(tell);
            lock(fd, libc::F_SETLK, libc::F_WRLCK, 0, 1);
            libc::write(say, (&raw const byte).cast(), 1);
            libc::read(told, (&raw mut byte).cast(), 1);
            libc::_exit(0)
        },
        child => {
            assert_eq!(read(ready, &mut [0]), 1);
            close(&[told, ready, say]);
            (child, tell)
        }
    }
}

/// A child that locks the second byte, then waits for the first; its exit code is what that says. System calls only.
fn crossing(fd: c_int) -> (libc::pid_t, c_int) {
    let [told, tell] = pipe();
    let [ready, say] = pipe();
    match unsafe { libc::fork() } {
        0 => unsafe {
            let mut byte = 0u8;
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::close(tell);
            lock(fd, libc::F_SETLK, libc::F_WRLCK, 1, 1);
            libc::write(say, (&raw const byte).cast(), 1);
            libc::read(told, (&raw mut byte).cast(), 1);
            let answer = lock(fd, libc::F_SETLKW, libc::F_WRLCK, 0, 1);
            libc::_exit(if answer < 0 { *libc::__errno_location() } else { 0 })
        },
        child => {
            assert_eq!(read(ready, &mut [0]), 1);
            close(&[told, ready, say]);
            (child, tell)
        }
    }
}

/// Waits until the kernel lists the process as one that waits for a lock.
fn until_it_waits(process: libc::pid_t) {
    let waits = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(1) == Some(&"->") && words.get(5) == Some(&process.to_string().as_str())
    };
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
        thread::sleep(MS);
    }
}

fn exit_code(child: libc::pid_t) -> c_int {
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status));
    libc::WEXITSTATUS(status)
}

#[test]
fn locks_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("flock", |seen| unsafe {
        let named = Named::new("flock");
        let (a, b) = (named.open(), named.open());
        seen.call("exclusive", libc::flock(a, libc::LOCK_EX));
        seen.call("taken", libc::flock(b, libc::LOCK_EX | libc::LOCK_NB));
        seen.call("taken", libc::flock(b, libc::LOCK_SH | libc::LOCK_NB));
        let late = later(move || assert_eq!(libc::flock(a, libc::LOCK_UN), 0));
        let began = Instant::now();
        seen.call("waits", libc::flock(b, libc::LOCK_EX));
        seen.took(began, MS);
        late.join().unwrap();
        seen.call("down", libc::flock(b, libc::LOCK_SH));
        seen.call("shared", libc::flock(a, libc::LOCK_SH));
        seen.call("up, not alone", libc::flock(a, libc::LOCK_EX | libc::LOCK_NB));
        let late = later(move || close(&[b]));
        seen.call("up", libc::flock(a, libc::LOCK_EX));
        late.join().unwrap();
        let copy = libc::dup(a);
        seen.call("by a copy", libc::flock(copy, libc::LOCK_EX | libc::LOCK_NB));
        seen.call("bad", libc::flock(a, 0));
        seen.call("bad", libc::flock(a, 99));
        let [reading, writing] = pipe();
        seen.call("a pipe", libc::flock(reading, libc::LOCK_EX | libc::LOCK_NB));
        close(&[a, copy, reading, writing]);
    }),
    ("locks of an open file", |seen| unsafe {
        let named = Named::new("ofd");
        let (a, b) = (named.open(), named.open());
        let (set, wait) = (libc::F_OFD_SETLK, libc::F_OFD_SETLKW);
        seen.call("write", lock(a, set, libc::F_WRLCK, 0, 5));
        seen.call("taken", lock(b, set, libc::F_RDLCK, 4, 1));
        seen.call("beside", lock(b, set, libc::F_WRLCK, 5, 1));
        let late = later(move || assert_eq!(lock(a, libc::F_OFD_SETLK, libc::F_UNLCK, 0, 0), 0));
        seen.call("waits", lock(b, wait, libc::F_WRLCK, 0, 3));
        late.join().unwrap();
        let mut found = section(libc::F_WRLCK, 0, 0);
        seen.call("who", libc::fcntl(a, libc::F_OFD_GETLK, &raw mut found));
        seen.note((found.l_type, found.l_start, found.l_len, found.l_pid));
        seen.call("no pid allowed", {
            let mut wrong = section(libc::F_WRLCK, 0, 1);
            wrong.l_pid = 1;
            libc::fcntl(a, wait, &raw mut wrong)
        });
        seen.call("not open", lock(99_999, wait, libc::F_WRLCK, 0, 3));
        seen.call("bad kind", lock(a, wait, 99, 0, 3));
        close(&[a, b]);
    }),
    ("locks of a process", |seen| unsafe {
        let named = Named::new("record");
        let (a, b) = (named.open(), named.open());
        seen.call("write", lock(a, libc::F_SETLKW, libc::F_WRLCK, 0, 5));
        seen.call("the same process", lock(b, libc::F_SETLKW, libc::F_WRLCK, 0, 3));
        // Closing any descriptor of the file gives them all back.
        close(&[b]);
        let (child, tell) = holder(a);
        seen.call("taken", lock(a, libc::F_SETLK, libc::F_WRLCK, 0, 1));
        seen.call("test", libc::lockf(a, libc::F_TEST, 4));
        seen.call("try", libc::lockf(a, libc::F_TLOCK, 4));
        let mut found = section(libc::F_WRLCK, 0, 0);
        seen.call("who", libc::fcntl(a, libc::F_GETLK, &raw mut found));
        seen.note((found.l_type, found.l_len, found.l_pid == child));
        let late = later(move || close(&[tell]));
        seen.call("waits", lock(a, libc::F_SETLKW, libc::F_WRLCK, 0, 1));
        late.join().unwrap();
        seen.note(libc::syscall(libc::SYS_wait4, child, 0, 0, 0) == i64::from(child));
        seen.call("give back", lock(a, libc::F_SETLKW, libc::F_UNLCK, 0, 0));
        seen.call("bad kind", lock(a, libc::F_SETLKW, 99, 0, 1));
        seen.call("bad section", lock(a, libc::F_SETLKW, libc::F_WRLCK, -5, 1));
        close(&[a]);
        let a = named.open();
        let (child, tell) = holder(a);
        let late = later(move || close(&[tell]));
        seen.call("lockf waits", libc::lockf(a, libc::F_LOCK, 4));
        late.join().unwrap();
        seen.note(libc::syscall(libc::SYS_wait4, child, 0, 0, 0) == i64::from(child));
        seen.call("own", libc::lockf(a, libc::F_TEST, 4));
        seen.call("unlock", libc::lockf(a, libc::F_ULOCK, 4));
        seen.call("bad", libc::lockf(a, 99, 4));
        seen.call("closed", libc::lockf(99_999, libc::F_LOCK, 4));
        let readable = libc::open(named.0.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        seen.call("cannot be written", libc::lockf(readable, libc::F_LOCK, 4));
        close(&[a, readable]);
    }),
    ("a cycle of processes", |seen| unsafe {
        let named = Named::new("cycle");
        let a = named.open();
        seen.call("own", lock(a, libc::F_SETLKW, libc::F_WRLCK, 0, 1));
        let (child, tell) = crossing(a);
        close(&[tell]);
        until_it_waits(child);
        // The child waits for this process: who closes the circle is told.
        seen.call("the last one", lock(a, libc::F_SETLKW, libc::F_WRLCK, 1, 1));
        seen.call("beside it", lock(a, libc::F_SETLKW, libc::F_WRLCK, 2, 1));
        seen.call("by lockf", libc::lockf(a, libc::F_LOCK, 2));
        seen.call("give back", lock(a, libc::F_SETLK, libc::F_UNLCK, 0, 0));
        seen.note(exit_code(child));
        // The other way round: this process waits, and the child is told, and ends, which gives its lock back.
        seen.call("own", lock(a, libc::F_SETLKW, libc::F_WRLCK, 0, 1));
        let (child, tell) = crossing(a);
        let own = std::process::id().cast_signed();
        let late = thread::spawn(move || {
            until_it_waits(own);
            close(&[tell]);
        });
        seen.call("the first one", lock(a, libc::F_SETLKW, libc::F_WRLCK, 1, 1));
        late.join().unwrap();
        let told = exit_code(child);
        seen.note(told == libc::EDEADLK);
        close(&[a]);
    }),
];
