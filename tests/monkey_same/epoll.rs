//! `epoll_wait` and its kin.

use std::ptr::null;
use std::time::Instant;

use libc::epoll_event;

use super::*;

fn add(epoll: c_int, fd: c_int, events: c_int) -> c_int {
    control(epoll, libc::EPOLL_CTL_ADD, fd, events)
}

fn control(epoll: c_int, operation: c_int, fd: c_int, events: c_int) -> c_int {
    let mut event = epoll_event { events: events as u32, u64: 7 };
    unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }
}

/// Waits, and notes the events, sorted.
fn wait(seen: &mut Seen, name: &str, epoll: c_int, most: usize, millis: c_int) {
    let mut events = vec![epoll_event { events: 0, u64: 0 }; most];
    let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), most as c_int, millis) };
    seen.call(name, count);
    let mut found: Vec<u32> = events[..count.max(0) as usize].iter().map(|event| event.events).collect();
    found.sort_unstable();
    seen.note(found);
}

const IN: c_int = libc::EPOLLIN;

#[test]
fn epoll_answers_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("levels and edges", |seen| unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let [a, b] = pair(libc::SOCK_STREAM);
        seen.call("add", add(epoll, a, IN));
        seen.call("twice", add(epoll, a, IN));
        wait(seen, "at once", epoll, 4, 0);
        let began = Instant::now();
        wait(seen, "nothing in time", epoll, 4, 15);
        seen.took(began, 15 * MS);
        let late = later(move || assert_eq!(write(b, b"x"), 1));
        wait(seen, "late", epoll, 4, -1);
        wait(seen, "still", epoll, 4, -1);
        late.join().unwrap();
        seen.call("change", control(epoll, libc::EPOLL_CTL_MOD, a, IN | libc::EPOLLET));
        wait(seen, "an edge", epoll, 4, -1);
        wait(seen, "no second", epoll, 4, 5);
        let late = later(move || assert_eq!(write(b, b"y"), 1));
        wait(seen, "another", epoll, 4, -1);
        late.join().unwrap();
        control(epoll, libc::EPOLL_CTL_MOD, a, IN | libc::EPOLLONESHOT);
        wait(seen, "one shot", epoll, 4, -1);
        let late = later(move || assert_eq!(write(b, b"z"), 1));
        late.join().unwrap();
        wait(seen, "none", epoll, 4, 5);
        control(epoll, libc::EPOLL_CTL_MOD, a, IN | libc::EPOLLOUT | libc::EPOLLONESHOT);
        wait(seen, "armed again", epoll, 4, -1);
        seen.call("take out", control(epoll, libc::EPOLL_CTL_DEL, a, 0));
        seen.call("gone", control(epoll, libc::EPOLL_CTL_DEL, a, 0));
        add(epoll, a, IN | libc::EPOLLRDHUP);
        let late = later(move || close(&[b]));
        read(a, &mut [0; 8]);
        wait(seen, "hung up", epoll, 4, -1);
        late.join().unwrap();
        close(&[a]);
        wait(seen, "closed", epoll, 4, 5);
        close(&[epoll]);
    }),
    ("bad arguments, and other forms", |seen| unsafe {
        let epoll = libc::epoll_create(1);
        let [reading, writing] = pipe();
        add(epoll, reading, IN);
        let mut events = [epoll_event { events: 0, u64: 0 }; 4];
        let place = events.as_mut_ptr();
        seen.call("no size", libc::epoll_create(0));
        seen.call("no room", libc::epoll_wait(epoll, place, 0, 5));
        seen.call("negative", libc::epoll_wait(epoll, place, -1, 5));
        seen.call("no epoll", libc::epoll_wait(reading, place, 4, 5));
        seen.call("closed", libc::epoll_wait(99_999, place, 4, 5));
        seen.call("itself", add(epoll, epoll, IN));
        let file = file();
        seen.call("a file", add(epoll, file, IN));
        seen.call("pwait", libc::epoll_pwait(epoll, place, 4, 5, null()));
        let mask: libc::sigset_t = std::mem::zeroed();
        seen.call("pwait with a mask", libc::epoll_pwait(epoll, place, 4, 5, &mask));
        let late = later(move || assert_eq!(write(writing, b"x"), 1));
        seen.call("late with a mask", libc::epoll_pwait(epoll, place, 4, -1, &mask));
        late.join().unwrap();
        seen.call("at once with a mask", libc::epoll_pwait(epoll, place, 4, 0, &mask));
        unsafe extern "C" {
            fn epoll_pwait2(
                epoll: c_int,
                place: *mut epoll_event,
                most: c_int,
                limit: *const libc::timespec,
                mask: *const libc::sigset_t,
            ) -> c_int;
        }
        let time = |tv_sec, tv_nsec| libc::timespec { tv_sec, tv_nsec };
        seen.call("pwait2", epoll_pwait2(epoll, place, 4, null(), null()));
        seen.call("bad time", epoll_pwait2(epoll, place, 4, &time(0, 1_000_000_000), null()));
        seen.call("bad seconds", epoll_pwait2(epoll, place, 4, &time(-1, 0), null()));
        read(reading, &mut [0; 4]);
        let began = Instant::now();
        seen.call("half a millisecond", epoll_pwait2(epoll, place, 4, &time(0, 500_000), null()));
        seen.took(began, MS / 2);
        seen.call("with a mask", epoll_pwait2(epoll, place, 4, &time(0, 500_000), &mask));
        close(&[epoll, reading, writing, file]);
    }),
    ("one inside of another", |seen| unsafe {
        let (inner, outer) = (libc::epoll_create1(0), libc::epoll_create1(0));
        let [a, b] = pair(libc::SOCK_STREAM);
        add(inner, a, IN);
        add(outer, inner, IN);
        seen.call("a circle", add(inner, outer, IN));
        wait(seen, "nothing", outer, 4, 5);
        let late = later(move || assert_eq!(write(b, b"x"), 1));
        wait(seen, "late", outer, 4, -1);
        wait(seen, "the inner", inner, 4, -1);
        late.join().unwrap();
        let mut entry = libc::pollfd { fd: outer, events: libc::POLLIN, revents: 0 };
        seen.call("poll", libc::poll(&mut entry, 1, -1));
        read(a, &mut [0; 4]);
        wait(seen, "taken", outer, 4, 5);
        let late = later(move || assert_eq!(write(b, b"y"), 1));
        seen.call("poll, late", libc::poll(&mut entry, 1, -1));
        late.join().unwrap();
        close(&[inner, outer, a, b]);
    }),
    ("more than there is room for", |seen| unsafe {
        let epoll = libc::epoll_create1(0);
        let pairs: Vec<_> = (0..5).map(|_| pair(libc::SOCK_STREAM)).collect();
        for [a, b] in &pairs {
            add(epoll, *a, IN);
            write(*b, b"x");
        }
        for _ in 0..3 {
            wait(seen, "two of five", epoll, 2, -1);
        }
        wait(seen, "all", epoll, 9, -1);
        pairs.iter().for_each(|pair| close(pair));
        wait(seen, "none", epoll, 9, 0);
        close(&[epoll]);
    }),
];
