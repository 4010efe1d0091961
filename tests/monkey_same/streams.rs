//! Streams: flags of `recv` and `send`, urgent data, parts that come late.

use std::ptr::{null, null_mut};
use std::time::Instant;

use libc::iovec;

use super::*;

/// A pair of TCP sockets, and a thread that writes pieces into it, one after the other.
fn pieces(ends: bool) -> ([c_int; 3], JoinHandle<()>) {
    let sockets = tcp();
    let writer = sockets[1];
    let thread = thread::spawn(move || {
        for piece in [&b"ab"[..], b"cd", b"ef"] {
            thread::sleep(4 * MS);
            assert_eq!(write(writer, piece), 2);
        }
        if ends {
            unsafe { libc::shutdown(writer, libc::SHUT_WR) };
        }
    });
    (sockets, thread)
}

#[test]
fn streams_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("all of it", |seen| unsafe {
        let (sockets, thread) = pieces(true);
        let mut buffer = [0; 16];
        seen.call("recv", recv(sockets[0], &mut buffer[..5], libc::MSG_WAITALL));
        seen.bytes(&buffer);
        seen.call("up to the end", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
        seen.call("the end", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
        thread.join().unwrap();
        close(&sockets);
        let (sockets, thread) = pieces(false);
        seen.call("peek", recv(sockets[0], &mut buffer[..6], libc::MSG_WAITALL | libc::MSG_PEEK));
        seen.call("once more", recv(sockets[0], &mut buffer[..6], libc::MSG_WAITALL | libc::MSG_PEEK));
        thread.join().unwrap();
        set_timeout(sockets[0], libc::SO_RCVTIMEO, 20 * MS);
        let began = Instant::now();
        seen.call("a part in time", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
        seen.took(began, 20 * MS);
        seen.call("nothing in time", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
        write(sockets[1], b"xyz");
        seen.call("now", recv(sockets[0], &mut buffer, libc::MSG_WAITALL | libc::MSG_DONTWAIT));
        close(&sockets);
        let (sockets, thread) = pieces(true);
        let mut parts = [[0u8; 3]; 2];
        let mut list = parts.each_mut().map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 3 });
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (list.as_mut_ptr(), 2);
        seen.call("recvmsg", libc::recvmsg(sockets[0], &mut message, libc::MSG_WAITALL));
        seen.bytes(parts.as_flattened());
        seen.call("the end", libc::recvmsg(sockets[0], &mut message, libc::MSG_WAITALL));
        thread.join().unwrap();
        close(&sockets);
    }),
    ("a look, and nothing taken", |seen| unsafe {
        let [client, server, listener] = tcp();
        let late = later(move || assert_eq!(write(server, b"0123456789"), 10));
        let mut buffer = [0; 16];
        seen.call("peek", recv(client, &mut buffer[..4], libc::MSG_PEEK));
        late.join().unwrap();
        seen.call("peek all", recv(client, &mut buffer, libc::MSG_PEEK));
        seen.call("peek nothing", recv(client, &mut [], libc::MSG_PEEK));
        seen.call("thrown away", recv(client, &mut buffer[..4], libc::MSG_TRUNC));
        seen.call("recv", recv(client, &mut buffer, 0));
        seen.bytes(&buffer[..6]);
        seen.call("now", recv(client, &mut buffer, libc::MSG_DONTWAIT));
        seen.call("peek now", recv(client, &mut buffer, libc::MSG_DONTWAIT | libc::MSG_PEEK));
        seen.call("nothing to send", send(client, &[], 0));
        seen.call("errors", recv(client, &mut buffer, libc::MSG_ERRQUEUE));
        seen.call("into nothing", {
            write(server, b"x");
            libc::recv(client, null_mut(), 5, 0)
        });
        seen.call("from nothing", libc::send(client, null(), 5, libc::MSG_NOSIGNAL));
        close(&[client, server, listener]);
    }),
    ("urgent data", |seen| unsafe {
        let [client, server, listener] = tcp();
        let mut buffer = [0; 16];
        seen.call("none", recv(client, &mut buffer, libc::MSG_OOB));
        seen.call("send", send(server, b"abc", libc::MSG_OOB));
        let mut entry = libc::pollfd { fd: client, events: libc::POLLPRI, revents: 0 };
        seen.call("poll", libc::poll(&mut entry, 1, -1));
        seen.note(entry.revents);
        seen.call("before it", recv(client, &mut buffer, 0));
        seen.bytes(&buffer[..4]);
        seen.call("the byte", recv(client, &mut buffer, libc::MSG_OOB));
        seen.bytes(&buffer[..1]);
        seen.call("taken", recv(client, &mut buffer, libc::MSG_OOB));
        let late = later(move || {
            send(server, b"u", libc::MSG_OOB);
        });
        let mut entry = libc::pollfd { fd: client, events: libc::POLLPRI, revents: 0 };
        seen.call("poll", libc::poll(&mut entry, 1, -1));
        seen.call("late", recv(client, &mut buffer, libc::MSG_OOB));
        late.join().unwrap();
        let on: c_int = 1;
        libc::setsockopt(client, libc::SOL_SOCKET, libc::SO_OOBINLINE, (&raw const on).cast(), 4);
        let late = later(move || {
            send(server, b"in", libc::MSG_OOB);
        });
        seen.call("in line", recv(client, &mut buffer[..2], libc::MSG_WAITALL));
        seen.call("not out of it", recv(client, &mut buffer, libc::MSG_OOB));
        late.join().unwrap();
        close(&[client, server, listener]);
    }),
    ("time limits, and what was moved before", |seen| unsafe {
        let [client, server, listener] = tcp();
        set_timeout(client, libc::SO_RCVTIMEO, 20 * MS);
        let late = later(move || assert_eq!(write(server, b"abc"), 3));
        let mut buffer = [0; 8];
        seen.call("in time", read(client, &mut buffer));
        late.join().unwrap();
        let began = Instant::now();
        let mut single = iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: 8 };
        seen.call("readv", libc::readv(client, &single, 1));
        seen.took(began, 20 * MS);
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut single, 1);
        let began = Instant::now();
        seen.call("recvmsg", libc::recvmsg(client, &mut message, 0));
        seen.took(began, 20 * MS);
        // No limit again.
        set_timeout(client, libc::SO_RCVTIMEO, Duration::ZERO);
        let late = thread::spawn(move || {
            thread::sleep(40 * MS);
            write(server, b"d");
        });
        seen.call("no limit", read(client, &mut buffer));
        late.join().unwrap();
        let [a, b] = pair(libc::SOCK_STREAM);
        set_timeout(a, libc::SO_SNDTIMEO, 20 * MS);
        let bytes = vec![0; 8 << 20];
        let began = Instant::now();
        let part = send(a, &bytes, 0);
        seen.note(part > 0 && part < 8 << 20);
        seen.took(began, 20 * MS);
        seen.call("full", send(a, &bytes, 0));
        seen.call("full now", send(a, &bytes, libc::MSG_DONTWAIT));
        close(&[client, server, listener, a, b]);
    }),
];
