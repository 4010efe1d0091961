//! eventfd, timerfd, signalfd: descriptors that count.

use std::mem::zeroed;
use std::ptr::null_mut;
use std::time::Instant;

use super::*;

/// Reads a number.
fn number(seen: &mut Seen, name: &str, fd: c_int) {
    let mut count = [0; 8];
    if seen.call(name, read(fd, &mut count)) == 8 {
        seen.note(u64::from_ne_bytes(count));
    }
}

fn count(fd: c_int, value: u64) -> isize {
    write(fd, &value.to_ne_bytes())
}

#[test]
fn events_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("eventfd", |seen| unsafe {
        let fd = libc::eventfd(3, libc::EFD_CLOEXEC);
        number(seen, "at first", fd);
        let late = later(move || assert_eq!(count(fd, 5), 8));
        number(seen, "late", fd);
        late.join().unwrap();
        seen.call("short", read(fd, &mut [0; 7]));
        seen.call("short", write(fd, &[0; 7]));
        seen.call("too much", count(fd, u64::MAX));
        seen.call("as much as there can be", count(fd, u64::MAX - 1));
        let late = later(move || assert_eq!(read(fd, &mut [0; 8]), 8));
        seen.call("waits for room", count(fd, 1));
        late.join().unwrap();
        number(seen, "the rest", fd);
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        number(seen, "nothing", fd);
        close(&[fd]);
        let fd = libc::eventfd(0, libc::EFD_SEMAPHORE | libc::EFD_NONBLOCK);
        number(seen, "no permit", fd);
        count(fd, 2);
        for _ in 0..3 {
            number(seen, "a permit", fd);
        }
        libc::fcntl(fd, libc::F_SETFL, 0);
        let late = later(move || assert_eq!(count(fd, 2), 8));
        number(seen, "late", fd);
        number(seen, "and one more", fd);
        late.join().unwrap();
        seen.call("bad flags", libc::eventfd(0, 0x100));
        close(&[fd]);
    }),
    ("timerfd", |seen| unsafe {
        let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC);
        let mut when: libc::itimerspec = zeroed();
        when.it_value.tv_nsec = 5_000_000;
        let began = Instant::now();
        libc::timerfd_settime(fd, 0, &when, null_mut());
        number(seen, "once", fd);
        seen.took(began, 5 * MS);
        seen.call("short", read(fd, &mut [0; 4]));
        seen.call("write", write(fd, &[0; 8]));
        when.it_interval.tv_nsec = 5_000_000;
        libc::timerfd_settime(fd, 0, &when, null_mut());
        let began = Instant::now();
        let mut total = 0;
        while total < 4 {
            let mut bytes = [0; 8];
            assert_eq!(read(fd, &mut bytes), 8);
            total += u64::from_ne_bytes(bytes);
        }
        seen.took(began, 20 * MS);
        let never: libc::itimerspec = zeroed();
        libc::timerfd_settime(fd, 0, &never, null_mut());
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        number(seen, "not armed", fd);
        libc::fcntl(fd, libc::F_SETFL, 0);
        when.it_interval.tv_nsec = 0;
        let late = later(move || assert_eq!(libc::timerfd_settime(fd, 0, &when, null_mut()), 0));
        number(seen, "armed late", fd);
        late.join().unwrap();
        seen.call("bad clock", libc::timerfd_create(99, 0));
        close(&[fd]);
    }),
    ("signalfd", |seen| unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigaddset(&mut set, libc::SIGRTMIN() + 3);
        let mut before: libc::sigset_t = zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC);
        let mut info: libc::signalfd_siginfo = zeroed();
        let room = size_of::<libc::signalfd_siginfo>();
        let mut take = |seen: &mut Seen, name: &str| {
            seen.call(name, libc::read(fd, (&raw mut info).cast(), room));
            seen.note((info.ssi_signo, info.ssi_pid == std::process::id()));
        };
        let own = libc::pthread_self();
        libc::raise(libc::SIGRTMIN() + 3);
        take(seen, "there");
        let late = later(move || assert_eq!(libc::pthread_kill(own, libc::SIGRTMIN() + 3), 0));
        take(seen, "late");
        late.join().unwrap();
        seen.call("short", read(fd, &mut [0; 8]));
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        take(seen, "nothing");
        close(&[fd]);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
    }),
    ("inotify", |seen| unsafe {
        /// Takes the folder away however the case ends.
        struct Folder(std::path::PathBuf);
        impl Drop for Folder {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
        let own = Folder(std::env::temp_dir().join(format!("ropewalk-watched-{}", std::process::id())));
        let folder = &own.0;
        let _ = std::fs::create_dir(folder);
        let name = std::ffi::CString::new(folder.to_str().unwrap()).unwrap();
        let fd = libc::inotify_init1(libc::IN_CLOEXEC);
        seen.note(libc::inotify_add_watch(fd, name.as_ptr(), libc::IN_CREATE) > 0);
        let inside = folder.join("file");
        let late = later(move || std::fs::write(inside, "x").unwrap());
        seen.note(read(fd, &mut [0; 512]) > 16);
        late.join().unwrap();
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("nothing", read(fd, &mut [0; 512]));
        close(&[fd]);
    }),
];
