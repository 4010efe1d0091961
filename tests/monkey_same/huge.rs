//! More than fits: many buffers' worth of bytes in one call, datagrams that are too long, lengths no call moves.

use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use libc::{iovec, mmsghdr};

use super::*;

/// Far more than the sockets below hold.
const HUGE: usize = 64 << 20;

/// What one call moves at most.
const MOST: usize = 0x7fff_f000;

#[test]
fn huge_calls_answer_alike() {
    alike(ONE_CALL);
}

#[test]
fn calls_of_more_than_a_call_moves_answer_alike() {
    alike(TOO_MUCH);
}

#[test]
fn long_datagrams_answer_alike() {
    alike(DATAGRAMS);
}

/// A connected pair of TCP sockets that hold little.
fn narrow() -> [c_int; 3] {
    let sockets = tcp();
    let size: c_int = 32 << 10;
    for fd in &sockets[..2] {
        for name in [libc::SO_SNDBUF, libc::SO_RCVBUF] {
            let place = (&raw const size).cast();
            assert_eq!(unsafe { libc::setsockopt(*fd, libc::SOL_SOCKET, name, place, 4) }, 0);
        }
    }
    sockets
}

/// Bytes that tell where they belong.
fn bytes() -> Arc<Vec<u8>> {
    let mut all = vec![0; HUGE];
    all.chunks_mut(509).enumerate().for_each(|(n, chunk)| chunk.fill((n ^ n >> 9) as u8));
    Arc::new(all)
}

/// Reads all of it in pieces, and checks every byte.
fn checks(fd: c_int, bytes: &Arc<Vec<u8>>) -> JoinHandle<()> {
    let bytes = Arc::clone(bytes);
    thread::spawn(move || {
        let (mut at, mut piece) = (0, vec![0; 1 << 20]);
        while at < HUGE {
            let count = read(fd, &mut piece);
            assert!(count > 0);
            let end = at + count as usize;
            assert!(piece[..count as usize] == bytes[at..end]);
            at = end;
        }
    })
}

/// Writes all of it in one call.
fn writes(fd: c_int, bytes: &Arc<Vec<u8>>) -> JoinHandle<()> {
    let bytes = Arc::clone(bytes);
    thread::spawn(move || assert_eq!(write(fd, &bytes), HUGE as isize))
}

/// Pieces of growing length, as many as a call takes.
fn pieces(bytes: &[u8]) -> Vec<iovec> {
    let mut left = bytes;
    let mut list: Vec<_> = (0..1023)
        .map(|n| {
            let piece;
            (piece, left) = left.split_at(n * 61);
            iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }
        })
        .collect();
    list.push(iovec { iov_base: left.as_ptr().cast_mut().cast(), iov_len: left.len() });
    list
}

/// Zeros that take no memory: three gigabytes, for one call.
fn zeros() -> (*mut libc::c_void, usize) {
    let len = 3 << 30;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let place = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ, flags, -1, 0) };
    assert_ne!(place, libc::MAP_FAILED);
    (place, len)
}

/// Takes what comes through a pipe, up to its end, without looking at it.
fn drained(pipe: c_int) -> JoinHandle<usize> {
    thread::spawn(move || unsafe {
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let mut all = 0;
        while let count @ 1.. = libc::splice(pipe, null_mut(), nowhere, null_mut(), 1 << 20, 0) {
            all += count as usize;
        }
        close(&[nowhere, pipe]);
        all
    })
}

fn messages(list: &mut [iovec]) -> Vec<mmsghdr> {
    let one = |place: &mut iovec| {
        let mut message: mmsghdr = unsafe { zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (place, 1);
        message
    };
    list.iter_mut().map(one).collect()
}

const ONE_CALL: &[Case] = &[("one call, through small buffers", |seen| unsafe {
    let bytes = bytes();
    let [client, server, listener] = narrow();
    let reader = checks(server, &bytes);
    seen.call("write", write(client, &bytes));
    reader.join().unwrap();
    let reader = checks(server, &bytes);
    seen.call("send", send(client, &bytes, 0));
    reader.join().unwrap();
    let reader = checks(server, &bytes);
    let list = pieces(&bytes);
    seen.call("writev", libc::writev(client, list.as_ptr(), list.len() as c_int));
    reader.join().unwrap();
    let reader = checks(server, &bytes);
    let mut message: libc::msghdr = zeroed();
    (message.msg_iov, message.msg_iovlen) = (list.as_ptr().cast_mut(), list.len() as _);
    seen.call("sendmsg", libc::sendmsg(client, &message, 0));
    reader.join().unwrap();
    let mut back = vec![0; HUGE];
    let writer = writes(server, &bytes);
    seen.call("recv all", recv(client, &mut back, libc::MSG_WAITALL));
    writer.join().unwrap();
    seen.note(back == *bytes);
    back.fill(0);
    let list = pieces(&back);
    (message.msg_iov, message.msg_iovlen) = (list.as_ptr().cast_mut(), list.len() as _);
    let writer = writes(server, &bytes);
    seen.call("recvmsg all", libc::recvmsg(client, &mut message, libc::MSG_WAITALL));
    writer.join().unwrap();
    seen.note(back == *bytes);
    close(&[client, server, listener]);
})];

const TOO_MUCH: &[Case] = &[("more than a call moves", |seen| unsafe {
    let (place, len) = zeros();
    let [reading, writing] = pipe();
    assert!(libc::fcntl(writing, libc::F_SETPIPE_SZ, 1 << 20) > 0);
    let drain = drained(reading);
    seen.call("write", libc::write(writing, place, len));
    let half = iovec { iov_base: place, iov_len: len / 2 };
    seen.call("writev", libc::writev(writing, [half; 2].as_ptr(), 2));
    close(&[writing]);
    seen.note(drain.join().unwrap() == 2 * MOST);
    let [client, server, listener] = tcp();
    let drain = thread::spawn(move || {
        let mut all = 0;
        while let count @ 1.. = libc::recv(server, null_mut(), 4 << 20, libc::MSG_TRUNC) {
            all += count as usize;
        }
        close(&[server]);
        all
    });
    seen.call("send", libc::send(client, place, len, 0));
    close(&[client, listener]);
    seen.note(drain.join().unwrap() == MOST);
    libc::munmap(place, len);
})];

const DATAGRAMS: &[Case] = &[("datagrams that are too long", |seen| unsafe {
    let socket = || libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
    let (a, b) = (socket(), socket());
    let (mut address, mut len) = (loopback(0), size_of::<libc::sockaddr_in>() as u32);
    assert_eq!(libc::bind(a, (&raw const address).cast(), len), 0);
    libc::getsockname(a, (&raw mut address).cast(), &mut len);
    let to = (&raw const address).cast();
    seen.call("connect", libc::connect(b, to, len));
    let mut bytes = vec![7; 70_000];
    seen.call("the longest", send(b, &bytes[..65_507], 0));
    seen.call("received", recv(a, &mut vec![0; 70_000], 0));
    for len in [65_508, 65_536, 70_000] {
        seen.call("send", send(b, &bytes[..len], 0));
        seen.call("write", write(b, &bytes[..len]));
    }
    let place: *const libc::c_void = bytes.as_ptr().cast();
    seen.call("sendto", libc::sendto(b, place, 65_508, 0, to, len));
    seen.call("sendto elsewhere", libc::sendto(b, place, 65_508, 0, null(), 0));
    let (first, second) = bytes.split_at_mut(40_000);
    let piece = |piece: &mut [u8]| iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() };
    let list = [piece(first), piece(second)];
    seen.call("writev", libc::writev(b, list.as_ptr(), 2));
    let mut list = [piece(&mut first[..3]), piece(second), piece(&mut first[..4])];
    list[1].iov_len = 30_000;
    let mut whole = iovec { iov_base: place.cast_mut(), iov_len: 65_508 };
    std::mem::swap(&mut list[1], &mut whole);
    let mut many = messages(&mut list);
    seen.call("the second of three", libc::sendmmsg(b, many.as_mut_ptr(), 3, 0));
    seen.call("the first of two", libc::sendmmsg(b, many.as_mut_ptr().add(1), 2, 0));
    seen.call("sendmsg", libc::sendmsg(b, &many[1].msg_hdr, 0));
    seen.call("the third came by none", recv(a, &mut [0; 8], 0));
    seen.call("nothing else came", recv(a, &mut [0; 8], libc::MSG_DONTWAIT));
    close(&[a, b]);
    let [c, d] = pair(libc::SOCK_SEQPACKET);
    let size: c_int = 8192;
    libc::setsockopt(c, libc::SOL_SOCKET, libc::SO_SNDBUF, (&raw const size).cast(), 4);
    seen.call("a packet", send(c, &bytes, 0));
    seen.call("a packet by write", write(c, &bytes));
    seen.call("one that fits", write(c, &bytes[..1000]));
    seen.call("received in part", read(d, &mut [0; 10]));
    seen.call("the rest is gone", recv(d, &mut [0; 10], libc::MSG_DONTWAIT));
    close(&[c, d]);
})];
