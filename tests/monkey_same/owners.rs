//! Numbers that change owners, and calls that are refused before they change anything; handlers of signals.

use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;

#[test]
fn owners_answer_alike() {
    alike(CASES);
}

/// A system call that no function of libc's makes.
#[cfg(target_arch = "x86_64")]
fn raw(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    let mut answer = number as isize;
    unsafe {
        std::arch::asm!("syscall", inlateout("rax") answer, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _);
    }
    answer
}

#[cfg(not(target_arch = "x86_64"))]
fn raw(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    unsafe { libc::syscall(number, a, b, c, d) as isize }
}

/// O_NONBLOCK and O_CLOEXEC as another process would find them.
fn flags(fd: c_int) -> (bool, bool) {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
    let flags = c_int::from_str_radix(flags.trim(), 8).unwrap();
    (flags & libc::O_NONBLOCK != 0, flags & libc::O_CLOEXEC != 0)
}

/// A listener that has been waited on.
fn listener() -> c_int {
    let [client, server, listener] = tcp();
    set_timeout(listener, libc::SO_RCVTIMEO, 5 * MS);
    assert_eq!(unsafe { libc::accept(listener, null_mut(), null_mut()) }, -1);
    close(&[client, server]);
    listener
}

/// Closes a pair by raw calls and makes another at the same numbers, which nobody else can take in between.
fn replaced(old: [c_int; 2], kind: c_int) -> [c_int; 2] {
    let mut new = [0; 2];
    let args = [libc::AF_UNIX as usize, kind as usize, 0, (&raw mut new) as usize];
    assert_eq!(raw(libc::SYS_socketpair, args), 0);
    for (old, new) in old.into_iter().zip(new) {
        let args = [new as usize, old as usize, libc::O_CLOEXEC as usize, 0];
        assert_eq!(raw(libc::SYS_dup3, args), old as isize);
        assert_eq!(raw(libc::SYS_close, [new as usize, 0, 0, 0]), 0);
    }
    old
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handle(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

fn restarts(signal: c_int) -> bool {
    let mut action: libc::sigaction = unsafe { zeroed() };
    assert_eq!(unsafe { libc::sigaction(signal, std::ptr::null(), &mut action) }, 0);
    action.sa_flags & libc::SA_RESTART != 0
}

unsafe extern "C" {
    fn _Fork() -> libc::pid_t;
    fn siginterrupt(signal: c_int, interrupts: c_int) -> c_int;
}

const CASES: &[Case] = &[
    ("numbers that raw calls have given another owner", |seen| {
        for (first, second) in [
            (libc::SOCK_STREAM, libc::SOCK_STREAM),
            (libc::SOCK_STREAM | libc::SOCK_NONBLOCK, libc::SOCK_STREAM),
            (libc::SOCK_STREAM, libc::SOCK_STREAM | libc::SOCK_NONBLOCK),
            (libc::SOCK_DGRAM, libc::SOCK_STREAM),
        ] {
            let [a, b] = pair(first);
            set_timeout(a, libc::SO_RCVTIMEO, MS);
            seen.call("nothing", read(a, &mut [0; 8]));
            write(b, b"x");
            seen.call("a byte", read(a, &mut [0; 8]));
            seen.call("nothing again", read(a, &mut [0; 8]));
            let [a, b] = replaced([a, b], second);
            let late = later(move || {
                thread::sleep(20 * MS);
                write(b, b"late");
            });
            seen.call("the new one", read(a, &mut [0; 8]));
            late.join().unwrap();
            seen.call("what is left", recv(a, &mut [0; 8], libc::MSG_DONTWAIT));
            close(&[a, b]);
        }
    }),
    ("numbers that are polled for", |seen| {
        let [a, b] = pair(libc::SOCK_STREAM);
        let poll = |fd, millis| unsafe {
            let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            libc::poll(&mut entry, 1, millis)
        };
        seen.call("nothing", poll(a, 5));
        let [a, b] = replaced([a, b], libc::SOCK_STREAM);
        let late = later(move || {
            thread::sleep(20 * MS);
            write(b, b"late");
        });
        seen.call("the new one", poll(a, 5000));
        seen.call("once more", poll(a, 0));
        late.join().unwrap();
        close(&[a, b]);
    }),
    ("numbers that `syscall` has given another owner", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        set_timeout(a, libc::SO_RCVTIMEO, MS);
        seen.call("nothing", read(a, &mut [0; 8]));
        let [reading, writing] = pipe();
        seen.note(libc::syscall(libc::SYS_dup3, reading, a, libc::O_CLOEXEC) == i64::from(a));
        let late = later(move || assert_eq!(write(writing, b"pipe"), 4));
        seen.call("a pipe now", read(a, &mut [0; 8]));
        late.join().unwrap();
        seen.call("closed", libc::syscall(libc::SYS_close, a));
        seen.call("gone", read(a, &mut [0; 8]));
        close(&[b, reading, writing]);
    }),
    ("what is made to survive an exec", |seen| unsafe {
        let one = listener();
        seen.call("ioctl", libc::ioctl(one, libc::FIONCLEX));
        seen.note(flags(one));
        seen.call("nobody", libc::accept(one, null_mut(), null_mut()));
        seen.note(flags(one));
        seen.call("back", libc::ioctl(one, libc::FIOCLEX));
        seen.note(flags(one));
        let two = listener();
        seen.call("by number", libc::syscall(libc::SYS_fcntl, two, libc::F_SETFD, 0));
        seen.note(flags(two));
        close(&[one, two]);
    }),
    ("what is named for a child", |seen| unsafe {
        let one = listener();
        let mut actions = zeroed();
        assert_eq!(libc::posix_spawn_file_actions_init(&mut actions), 0);
        seen.call("to be its input", libc::posix_spawn_file_actions_adddup2(&mut actions, one, 0));
        seen.note(flags(one));
        seen.call("bad", libc::posix_spawn_file_actions_adddup2(&mut actions, -1, 0));
        libc::posix_spawn_file_actions_destroy(&mut actions);
        let mut command = std::process::Command::new("grep");
        command.args(["flags", "/proc/self/fdinfo/0"]);
        let other = listener();
        command.stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from_raw_fd(other)));
        let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let found = c_int::from_str_radix(text.trim_start_matches("flags:").trim(), 8).unwrap();
        seen.note(("a child's input is non-blocking", found & libc::O_NONBLOCK != 0));
        close(&[one]);
    }),
    ("what a child without fork handlers has", |seen| unsafe {
        let one = listener();
        let child = _Fork();
        if child == 0 {
            let flags = raw(libc::SYS_fcntl, [one as usize, libc::F_GETFL as usize, 0, 0]);
            raw(libc::SYS_exit_group, [usize::from(flags as c_int & libc::O_NONBLOCK != 0), 0, 0, 0]);
        }
        let mut status = 0;
        seen.note(libc::waitpid(child, &mut status, 0) == child);
        seen.note(status);
        seen.call("nobody", libc::accept(one, null_mut(), null_mut()));
        close(&[one]);
    }),
    ("refused duplicates", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let late = later(move || {
            for refused in [
                libc::dup2(99_999, a),
                libc::dup3(99_999, a, 0),
                libc::dup3(b, a, 1),
                libc::dup2(a, 1 << 30),
                libc::close_range(a as u32, a as u32, 1 << 20),
            ] {
                assert_eq!(refused, -1);
            }
            thread::sleep(20 * MS);
            write(b, b"x");
        });
        // It waits through all of that.
        seen.call("read", read(a, &mut [0; 8]));
        late.join().unwrap();
        seen.call("dup2", libc::dup2(99_999, a));
        seen.call("to itself", libc::dup2(99_999, 99_999));
        seen.call("marked only", libc::close_range(a as u32, a as u32, 4));
        seen.note(flags(a));
        close(&[a, b]);
    }),
    ("handlers", |seen| unsafe {
        let signal = libc::SIGRTMIN() + 6;
        let install = |signal, handler| match libc::signal(signal, handler) {
            libc::SIG_ERR => -1,
            _ => 0,
        };
        seen.call("an error", install(signal, libc::SIG_ERR));
        seen.call("no signal", install(0, libc::SIG_IGN));
        seen.call("too large", install(65, libc::SIG_IGN));
        seen.call("not to be caught", install(libc::SIGKILL, libc::SIG_IGN));
        let handler = handle as *const () as libc::sighandler_t;
        seen.call("a handler", install(signal, handler));
        seen.note(restarts(signal));
        seen.call("interrupts", siginterrupt(signal, 1));
        seen.note(restarts(signal));
        seen.note(libc::signal(signal, handler) == handler);
        seen.note(restarts(signal));
        seen.call("restarts", siginterrupt(signal, 0));
        seen.note(restarts(signal));
        let before = HANDLED.load(Ordering::Relaxed);
        libc::raise(signal);
        seen.note(HANDLED.load(Ordering::Relaxed) - before);
        seen.call("no signal", siginterrupt(0, 1));
        seen.call("too large", siginterrupt(65, 1));
        seen.note(libc::signal(signal, libc::SIG_DFL) == handler);
    }),
    ("instances of epoll, one in the other", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let mut chain = vec![a];
        loop {
            let outer = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            let inner = *chain.last().unwrap();
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 7 };
            let added = libc::epoll_ctl(outer, libc::EPOLL_CTL_ADD, inner, &mut event);
            if added != 0 {
                seen.call("too deep", added);
                close(&[outer]);
                break;
            }
            chain.push(outer);
        }
        seen.note(chain.len());
        let outermost = *chain.last().unwrap();
        let mut events: [libc::epoll_event; 2] = zeroed();
        let began = Instant::now();
        seen.call("nothing", libc::epoll_wait(outermost, events.as_mut_ptr(), 2, 20));
        seen.took(began, 20 * MS);
        let late = later(move || assert_eq!(write(b, b"x"), 1));
        seen.call("an event", libc::epoll_wait(outermost, events.as_mut_ptr(), 2, 5000));
        let mut entry = libc::pollfd { fd: outermost, events: libc::POLLIN, revents: 0 };
        seen.call("polled for", libc::poll(&mut entry, 1, 5000));
        late.join().unwrap();
        chain.iter().rev().for_each(|fd| close(&[*fd]));
        close(&[b]);
    }),
];
