//! Datagrams, one at a time and many in a call.

use std::mem::zeroed;
use std::ptr::null_mut;
use std::time::Instant;

use libc::{iovec, mmsghdr};

use super::*;

/// Messages with a place for each.
fn messages(places: &mut [iovec]) -> Vec<mmsghdr> {
    let one = |place: &mut iovec| {
        let mut message: mmsghdr = unsafe { zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (place, 1);
        message
    };
    places.iter_mut().map(one).collect()
}

fn places(buffers: &mut [[u8; 4]]) -> Vec<iovec> {
    buffers.iter_mut().map(|buffer| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 4 }).collect()
}

fn lengths(messages: &[mmsghdr]) -> Vec<u32> {
    messages.iter().map(|message| message.msg_len).collect()
}

#[test]
fn datagrams_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("datagrams are cut", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_DGRAM);
        seen.call("send", libc::send(b, c"0123456789".as_ptr().cast(), 10, 0));
        seen.call("send", libc::send(b, c"next".as_ptr().cast(), 4, 0));
        let mut buffer = [0u8; 16];
        seen.call("peek", libc::recv(a, buffer.as_mut_ptr().cast(), 4, libc::MSG_PEEK | libc::MSG_TRUNC));
        seen.call("recv", libc::recv(a, buffer.as_mut_ptr().cast(), 4, 0));
        seen.bytes(&buffer[..4]);
        seen.call("recv", libc::recv(a, buffer.as_mut_ptr().cast(), 16, 0));
        seen.call("huge", libc::send(b, vec![0u8; 10 << 20].as_ptr().cast(), 10 << 20, 0));
        close(&[a, b]);
    }),
    ("many in a call", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_DGRAM);
        let mut buffers = [*b"aaaa", *b"bbbb", *b"cccc"];
        let mut spots = places(&mut buffers);
        (spots[0].iov_len, spots[2].iov_len) = (1, 3);
        let mut list = messages(&mut spots);
        seen.call("send", libc::sendmmsg(b, list.as_mut_ptr(), 3, 0));
        seen.note(lengths(&list));
        let mut back = [[0; 4]; 8];
        let mut spots = places(&mut back);
        let mut list = messages(&mut spots);
        seen.call("one of three", libc::recvmmsg(a, list.as_mut_ptr(), 1, 0, null_mut()));
        seen.call("what is there", libc::recvmmsg(a, list.as_mut_ptr(), 8, libc::MSG_WAITFORONE, null_mut()));
        seen.note(lengths(&list));
        seen.bytes(back.as_flattened());
        seen.call("now", libc::recvmmsg(a, list.as_mut_ptr(), 8, libc::MSG_DONTWAIT, null_mut()));
        seen.call("none", libc::recvmmsg(a, list.as_mut_ptr(), 0, libc::MSG_DONTWAIT, null_mut()));
        seen.call("nowhere", libc::recvmmsg(a, null_mut(), 2, libc::MSG_DONTWAIT, null_mut()));
        seen.call("closed", libc::recvmmsg(99_999, list.as_mut_ptr(), 2, 0, null_mut()));
        let late = thread::spawn(move || {
            for piece in [&b"1"[..], b"22", b"333"] {
                thread::sleep(4 * MS);
                send(b, piece, 0);
            }
        });
        seen.call("one", libc::recvmmsg(a, list.as_mut_ptr(), 3, libc::MSG_WAITFORONE, null_mut()));
        seen.call("the rest", libc::recvmmsg(a, list.as_mut_ptr(), 2, 0, null_mut()));
        seen.note(lengths(&list[..2]));
        late.join().unwrap();
        // The limit is looked at after a message only.
        let mut limit = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let late = thread::spawn(move || {
            thread::sleep(10 * MS);
            send(b, b"x", 0);
        });
        seen.call("late", libc::recvmmsg(a, list.as_mut_ptr(), 3, 0, &mut limit));
        late.join().unwrap();
        set_timeout(a, libc::SO_RCVTIMEO, 15 * MS);
        let began = Instant::now();
        seen.call("limit of the socket", libc::recvmmsg(a, list.as_mut_ptr(), 3, 0, null_mut()));
        seen.took(began, 15 * MS);
        let mut limit = libc::timespec { tv_sec: 0, tv_nsec: -1 };
        seen.call("bad limit", libc::recvmmsg(a, list.as_mut_ptr(), 3, 0, &mut limit));
        close(&[a]);
        seen.call("gone", libc::sendmmsg(b, list.as_mut_ptr(), 3, libc::MSG_NOSIGNAL));
        close(&[b]);
    }),
    ("a full queue", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_DGRAM);
        let mut sent = 0;
        while send(b, b"fill", libc::MSG_DONTWAIT) == 4 {
            sent += 1;
        }
        seen.note(sent > 1);
        seen.call("full", send(b, b"fill", libc::MSG_DONTWAIT));
        set_timeout(b, libc::SO_SNDTIMEO, 15 * MS);
        let began = Instant::now();
        seen.call("no room in time", send(b, b"more", 0));
        seen.took(began, 15 * MS);
        set_timeout(b, libc::SO_SNDTIMEO, Duration::ZERO);
        // The kernel says that there is room when most have been taken.
        let late = later(move || (0..sent).for_each(|_| assert_eq!(recv(a, &mut [0; 8], 0), 4)));
        seen.call("waits for room", send(b, b"more", 0));
        late.join().unwrap();
        while send(b, b"fill", libc::MSG_DONTWAIT) == 4 {}
        let mut buffers = [*b"aaaa"; 3];
        let mut spots = places(&mut buffers);
        let mut list = messages(&mut spots);
        let late = later(move || (0..sent).for_each(|_| assert_eq!(recv(a, &mut [0; 8], 0), 4)));
        seen.call("as many as fit", libc::sendmmsg(b, list.as_mut_ptr(), 3, 0));
        late.join().unwrap();
        close(&[a, b]);
    }),
    ("udp", |seen| unsafe {
        let socket = || libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let (a, b) = (socket(), socket());
        let (mut address, mut len) = (loopback(0), size_of::<libc::sockaddr_in>() as u32);
        assert_eq!(libc::bind(a, (&raw const address).cast(), len), 0);
        libc::getsockname(a, (&raw mut address).cast(), &mut len);
        let place: *const libc::sockaddr = (&raw const address).cast();
        seen.call("to", libc::sendto(b, b"hi".as_ptr().cast(), 2, 0, place, len));
        let (mut from, mut room): (libc::sockaddr_in, u32) = (zeroed(), len);
        let mut buffer = [0u8; 8];
        let spot = buffer.as_mut_ptr().cast();
        seen.call("from", libc::recvfrom(a, spot, 8, 0, (&raw mut from).cast(), &mut room));
        seen.note((room, from.sin_family, from.sin_addr.s_addr));
        let (late, to) = (later(move || assert_eq!(send(b, b"late", 0), 4)), place);
        seen.call("connect", libc::connect(b, to, len));
        room = 4;
        seen.call("a short address", libc::recvfrom(a, spot, 8, 0, (&raw mut from).cast(), &mut room));
        seen.note(room);
        late.join().unwrap();
        seen.call("too long", send(b, &vec![0; 70_000], 0));
        close(&[a]);
        seen.call("to nobody", send(b, b"x", 0));
        seen.call("told", recv(b, &mut [0; 4], 0));
        seen.call("once", recv(b, &mut [0; 4], libc::MSG_DONTWAIT));
        close(&[b]);
    }),
];
