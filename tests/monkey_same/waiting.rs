//! `poll`, `select`, and their forms with signal masks.

use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::*;

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Installs the handler, and blocks the signal on this thread; what was blocked before.
fn blocked(signal: c_int) -> libc::sigset_t {
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = count as *const () as usize;
        assert_eq!(libc::sigaction(signal, &action, null_mut()), 0);
        let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigaddset(&mut set, signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, &mut before);
        HANDLED.store(0, Ordering::Relaxed);
        before
    }
}

fn handled(seen: &mut Seen) {
    seen.note(("handled", HANDLED.load(Ordering::Relaxed)));
}

fn time(tv_sec: i64, tv_nsec: i64) -> libc::timespec {
    libc::timespec { tv_sec, tv_nsec }
}

#[test]
fn polls_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("polls", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut list =
            [entry(a, libc::POLLIN), entry(b, libc::POLLOUT), entry(-1, libc::POLLIN), entry(99_999, 1)];
        seen.call("poll", libc::poll(list.as_mut_ptr(), 4, 100));
        seen.0.push(format!("{:?}", list.map(|entry| entry.revents)));
        let began = Instant::now();
        seen.call("poll none", libc::poll(list.as_mut_ptr(), 1, 15));
        seen.took(began, 15 * MS);
        seen.call("poll nothing", libc::poll(null_mut(), 0, 2));
        let bad = libc::timespec { tv_sec: 0, tv_nsec: 2_000_000_000 };
        seen.call("ppoll bad time", libc::ppoll(list.as_mut_ptr(), 1, &bad, null()));
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(a, &mut set);
        let mut limit = libc::timeval { tv_sec: 0, tv_usec: 3000 };
        seen.call("select", libc::select(a + 1, &mut set, null_mut(), null_mut(), &mut limit));
        seen.call("time left", limit.tv_usec);
        seen.call("select negative", libc::select(-1, null_mut(), null_mut(), null_mut(), &mut limit));
        let mut set: libc::fd_set = zeroed();
        // Not open, but within the smallest table that the kernel makes.
        libc::FD_SET(60, &mut set);
        seen.call("select closed", libc::select(61, &mut set, null_mut(), null_mut(), null_mut()));
        close(&[b]);
        seen.call("poll hung up", libc::poll(list.as_mut_ptr(), 1, -1));
        seen.0.push(format!("{:?}", list[0].revents));
        close(&[a]);
    }),
    ("polls that wait", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [reading, writing] = pipe();
        let entry = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let mut list = [entry(a, libc::POLLIN), entry(reading, libc::POLLIN), entry(-5, libc::POLLIN)];
        let late = later(move || assert_eq!(write(writing, b"x"), 1));
        seen.call("the second", libc::poll(list.as_mut_ptr(), 3, -1));
        seen.note(list.map(|entry| entry.revents));
        late.join().unwrap();
        let late = later(move || assert_eq!(write(b, b"x"), 1));
        seen.call("ready already", libc::poll(list.as_mut_ptr(), 3, 1000));
        late.join().unwrap();
        seen.call("both", libc::poll(list.as_mut_ptr(), 3, 1000));
        seen.note(list.map(|entry| entry.revents));
        // The same descriptor twice, and once more for room.
        let mut list = [entry(a, libc::POLLIN), entry(a, libc::POLLOUT), entry(a, libc::POLLPRI)];
        seen.call("the same", libc::poll(list.as_mut_ptr(), 3, 0));
        seen.note(list.map(|entry| entry.revents));
        read(a, &mut [0; 4]);
        let mut list = [entry(a, 0), entry(a, libc::POLLRDHUP)];
        let late = later(move || {
            libc::shutdown(b, libc::SHUT_WR);
        });
        seen.call("half closed", libc::poll(list.as_mut_ptr(), 2, -1));
        seen.note(list.map(|entry| entry.revents));
        late.join().unwrap();
        let late = later(move || close(&[writing]));
        read(reading, &mut [0; 4]);
        let mut list = [entry(reading, 0)];
        seen.call("hung up", libc::poll(list.as_mut_ptr(), 1, -1));
        seen.note(list[0].revents);
        late.join().unwrap();
        let file = file();
        let mut list = [entry(file, libc::POLLIN | libc::POLLOUT)];
        seen.call("a file", libc::poll(list.as_mut_ptr(), 1, -1));
        seen.note(list[0].revents);
        seen.call("too many", libc::poll(list.as_mut_ptr(), 1 << 40, 0));
        seen.call("nowhere", libc::poll(null_mut(), 3, 0));
        close(&[a, b, reading, file]);
    }),
    ("selects that wait", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(a, &mut set);
        let late = later(move || assert_eq!(write(b, b"x"), 1));
        let limit = time(5, 0);
        seen.call("pselect", libc::pselect(a + 1, &mut set, null_mut(), null_mut(), &limit, null()));
        seen.note((libc::FD_ISSET(a, &set), limit.tv_sec, limit.tv_nsec));
        late.join().unwrap();
        let mut writes: libc::fd_set = zeroed();
        libc::FD_SET(a, &mut writes);
        seen.call("both ways", libc::select(a + 1, &mut set, &mut writes, null_mut(), null_mut()));
        read(a, &mut [0; 4]);
        let began = Instant::now();
        let limit = time(0, 10_000_000);
        seen.call("in time", libc::pselect(a + 1, &mut set, null_mut(), null_mut(), &limit, null()));
        seen.took(began, 10 * MS);
        seen.note(libc::FD_ISSET(a, &set));
        let bad = time(0, -1);
        seen.call("bad time", libc::pselect(0, null_mut(), null_mut(), null_mut(), &bad, null()));
        let mut bad = libc::timeval { tv_sec: -1, tv_usec: 0 };
        seen.call("bad time", libc::select(0, null_mut(), null_mut(), null_mut(), &mut bad));
        let mut none = libc::timeval { tv_sec: 0, tv_usec: 0 };
        seen.call("a look", libc::select(0, null_mut(), null_mut(), null_mut(), &mut none));
        close(&[a, b]);
    }),
    ("signal masks", |seen| unsafe {
        let signal = libc::SIGRTMIN() + 4;
        let before = blocked(signal);
        let none: libc::sigset_t = zeroed();
        let [a, b] = pair(libc::SOCK_STREAM);
        let mut list = [libc::pollfd { fd: a, events: libc::POLLIN, revents: 0 }];
        let place = list.as_mut_ptr();
        // What is pending is handled, and ends the wait.
        libc::raise(signal);
        handled(seen);
        seen.call("ppoll", libc::ppoll(place, 1, &time(5, 0), &none));
        handled(seen);
        seen.call("nothing pending", libc::ppoll(place, 1, &time(0, 5_000_000), &none));
        libc::raise(signal);
        let mut set: libc::fd_set = zeroed();
        libc::FD_SET(a, &mut set);
        seen.call("pselect", libc::pselect(a + 1, &mut set, null_mut(), null_mut(), &time(5, 0), &none));
        handled(seen);
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 1 };
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, a, &mut event);
        libc::raise(signal);
        seen.call("epoll_pwait", libc::epoll_pwait(epoll, &mut event, 1, 5000, &none));
        handled(seen);
        // Ready: the kernel looks at the descriptors first.
        libc::raise(signal);
        write(b, b"x");
        seen.call("ready", libc::ppoll(place, 1, &time(5, 0), &none));
        handled(seen);
        read(a, &mut [0; 4]);
        seen.call("a look", libc::ppoll(place, 1, &time(0, 0), &none));
        handled(seen);
        let late = later(move || assert_eq!(write(b, b"y"), 1));
        seen.call("late", libc::ppoll(place, 1, null(), &none));
        late.join().unwrap();
        // The mask is back as it was.
        libc::raise(signal);
        handled(seen);
        seen.call("taken", libc::ppoll(null_mut(), 0, &time(0, 0), &none));
        handled(seen);
        close(&[a, b, epoll]);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, null_mut());
    }),
];
