//! Data that comes or goes in parts: where the kernel's own call goes on, and where it stops.

use std::os::fd::RawFd;
use std::ptr::null;
use std::time::Instant;

use libc::{iovec, mmsghdr, msghdr};

use super::*;

#[test]
fn parts_answer_alike() {
    alike(CASES);
}

/// Sends bytes, and descriptors beside them.
fn send_with(fd: c_int, bytes: &[u8], rights: &[RawFd]) {
    unsafe {
        let mut part = iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = [0u64; 8];
        let mut message: msghdr = zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        if !rights.is_empty() {
            let len = size_of_val(rights) as u32;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(len) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            ((*header).cmsg_level, (*header).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
            (*header).cmsg_len = libc::CMSG_LEN(len) as _;
            for (number, right) in rights.iter().enumerate() {
                libc::CMSG_DATA(header).cast::<RawFd>().wrapping_add(number).write_unaligned(*right);
            }
        }
        assert_eq!(libc::sendmsg(fd, &message, 0), bytes.len() as isize);
    }
}

/// Receives into a buffer of `len` bytes, with `room` bytes for control data; notes all that comes, and closes it.
fn receive_all(seen: &mut Seen, fd: c_int, (len, room): (usize, usize), flags: c_int) -> isize {
    unsafe {
        let mut bytes = vec![0u8; len];
        let mut part = iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: len };
        let mut control = [0u64; 16];
        let mut message: msghdr = zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        message.msg_control = if room == 0 { null_mut() } else { control.as_mut_ptr().cast() };
        message.msg_controllen = room as _;
        let came = libc::recvmsg(fd, &mut message, flags | libc::MSG_CMSG_CLOEXEC);
        seen.call("recvmsg", came);
        seen.bytes(&bytes);
        seen.note((message.msg_controllen as usize, message.msg_flags));
        let mut header = if came < 0 { null_mut() } else { libc::CMSG_FIRSTHDR(&message) };
        while let Some(piece) = header.as_ref() {
            seen.note((piece.cmsg_level, piece.cmsg_type, piece.cmsg_len));
            if piece.cmsg_type == libc::SCM_RIGHTS {
                close(&[libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()]);
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
        came
    }
}

/// Messages of a list, each of one buffer.
fn list_of(pieces: &mut [iovec]) -> Vec<mmsghdr> {
    let mut list: Vec<mmsghdr> = pieces.iter().map(|_| unsafe { zeroed() }).collect();
    for (message, piece) in list.iter_mut().zip(pieces) {
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (piece, 1);
    }
    list
}

fn pieces_of(buffers: &mut [Vec<u8>]) -> Vec<iovec> {
    let piece = |buffer: &mut Vec<u8>| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    buffers.iter_mut().map(piece).collect()
}

fn set_option(fd: c_int, level: c_int, name: c_int, value: c_int) -> c_int {
    unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), 4) }
}

/// A pair of which one end has been read short, and then gets urgent data amid of other.
fn with_mark(inline: bool) -> [c_int; 3] {
    let sockets = tcp();
    assert_eq!(set_option(sockets[0], libc::SOL_SOCKET, libc::SO_OOBINLINE, c_int::from(inline)), 0);
    let writer = sockets[1];
    let late = later(move || assert_eq!(write(writer, b"x"), 1));
    assert_eq!(read(sockets[0], &mut [0; 64]), 1);
    late.join().unwrap();
    assert_eq!(send(writer, b"ab!", libc::MSG_OOB), 3);
    assert_eq!(write(writer, b"def"), 3);
    sockets
}

const CASES: &[Case] = &[
    ("reads around the urgent mark", |seen| {
        for inline in [false, true] {
            let sockets = with_mark(inline);
            let mut buffer = [0; 64];
            seen.call("before", read(sockets[0], &mut buffer));
            seen.call("behind", recv(sockets[0], &mut buffer, 0));
            seen.bytes(&buffer);
            write(sockets[1], b"later");
            seen.call("after", read(sockets[0], &mut buffer));
            close(&sockets);
        }
    }),
    ("an urgent byte that is taken first", |seen| {
        let sockets = with_mark(false);
        let mut buffer = [0; 64];
        seen.call("urgent", recv(sockets[0], &mut buffer, libc::MSG_OOB));
        seen.call("before", read(sockets[0], &mut buffer));
        seen.call("behind", read(sockets[0], &mut buffer));
        seen.bytes(&buffer);
        close(&sockets);
    }),
    ("all of it, with a mark within", |seen| {
        for inline in [false, true] {
            let sockets = with_mark(inline);
            let mut buffer = [0; 5];
            seen.call("up to the mark", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
            let writer = sockets[1];
            let late = later(move || assert_eq!(write(writer, b"ghi"), 3));
            seen.call("the rest", recv(sockets[0], &mut buffer, libc::MSG_WAITALL));
            seen.bytes(&buffer);
            late.join().unwrap();
            close(&sockets);
        }
    }),
    ("all of it, with descriptors", |seen| {
        let [read_end, write_end] = pipe();
        for room in [128, 0] {
            let [a, b] = pair(libc::SOCK_STREAM);
            // Descriptors with the second part.
            let late = later(move || {
                send_with(b, b"ab", &[]);
                thread::sleep(5 * MS);
                send_with(b, b"cd", &[read_end]);
            });
            receive_all(seen, a, (4, room), libc::MSG_WAITALL);
            late.join().unwrap();
            // With each part: the first is all.
            send_with(b, b"one!", &[read_end]);
            send_with(b, b"two!", &[read_end, write_end]);
            receive_all(seen, a, (8, room.min(24)), libc::MSG_WAITALL);
            receive_all(seen, a, (4, room.min(24)), libc::MSG_WAITALL);
            // A look takes nothing, and sees as far.
            send_with(b, b"a", &[read_end]);
            send_with(b, b"b", &[]);
            receive_all(seen, a, (8, room), libc::MSG_WAITALL | libc::MSG_PEEK);
            receive_all(seen, a, (8, room), libc::MSG_WAITALL);
            close(&[a, b]);
        }
        close(&[read_end, write_end]);
    }),
    ("all of it, with the sender's name", |seen| {
        let [a, b] = pair(libc::SOCK_STREAM);
        assert_eq!(set_option(a, libc::SOL_SOCKET, libc::SO_PASSCRED, 1), 0);
        let late = later(move || {
            send_with(b, b"ab", &[]);
            thread::sleep(5 * MS);
            send_with(b, b"cd", &[]);
        });
        receive_all(seen, a, (4, 128), libc::MSG_WAITALL);
        late.join().unwrap();
        close(&[a, b]);
    }),
    ("a read after a message with descriptors", |seen| {
        let [read_end, write_end] = pipe();
        let [a, b] = pair(libc::SOCK_STREAM);
        let late = later(move || send_with(b, b"x", &[]));
        assert_eq!(read(a, &mut [0; 64]), 1);
        late.join().unwrap();
        send_with(b, b"one", &[read_end]);
        send_with(b, b"two", &[]);
        let mut buffer = [0; 64];
        seen.call("first", read(a, &mut buffer));
        seen.call("second", read(a, &mut buffer));
        seen.bytes(&buffer);
        close(&[a, b, read_end, write_end]);
    }),
    ("messages of a list on a stream", |seen| unsafe {
        const LEN: usize = 1 << 20;
        for [here, there] in [pair(libc::SOCK_STREAM), [tcp()[0..2].to_vec()].concat().try_into().unwrap()] {
            let reader = thread::spawn(move || {
                let (mut counts, mut buffer) = ([0usize; 256], vec![0; 1 << 16]);
                loop {
                    match read(there, &mut buffer) {
                        ..=0 => return (counts[b'A' as usize], counts[b'B' as usize], counts[b'C' as usize]),
                        came => buffer[..came as usize].iter().for_each(|byte| counts[*byte as usize] += 1),
                    }
                }
            });
            let mut buffers = [vec![b'A'; LEN], vec![b'B'; LEN], vec![b'C'; 3]];
            let mut pieces = pieces_of(&mut buffers);
            let mut list = list_of(&mut pieces);
            seen.call("sendmmsg", libc::sendmmsg(here, list.as_mut_ptr(), 3, 0));
            seen.note(list.iter().map(|message| message.msg_len).collect::<Vec<_>>());
            libc::shutdown(here, libc::SHUT_WR);
            seen.note(reader.join().unwrap());
            close(&[here, there]);
        }
    }),
    ("messages of a list from a stream", |seen| unsafe {
        for flags in [libc::MSG_WAITALL, libc::MSG_WAITALL | libc::MSG_WAITFORONE, libc::MSG_WAITFORONE, 0] {
            let [a, b] = pair(libc::SOCK_STREAM);
            let late = later(move || {
                for piece in [&b"ab"[..], b"cd", b"ef", b"gh"] {
                    assert_eq!(write(b, piece), 2);
                    thread::sleep(5 * MS);
                }
                libc::shutdown(b, libc::SHUT_WR);
            });
            let mut buffers = [vec![0; 4], vec![0; 2]];
            let mut pieces = pieces_of(&mut buffers);
            let mut list = list_of(&mut pieces);
            seen.call("recvmmsg", libc::recvmmsg(a, list.as_mut_ptr(), 2, flags, null_mut()));
            seen.note(list.iter().map(|message| message.msg_len).collect::<Vec<_>>());
            late.join().unwrap();
            close(&[a, b]);
        }
    }),
    ("the time that a list leaves", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_DGRAM);
        let mut buffers = [vec![0; 4], vec![0; 4], vec![0; 4]];
        let mut pieces = pieces_of(&mut buffers);
        let mut list = list_of(&mut pieces);
        for (count, millis, flags) in
            [(2, 500, 0), (3, 0, 0), (3, 500, libc::MSG_WAITFORONE), (3, 500, libc::MSG_DONTWAIT), (3, 30, 0)]
        {
            for _ in 0..3 {
                send(b, b"data", 0);
            }
            let mut limit = libc::timespec { tv_sec: 0, tv_nsec: millis * 1_000_000 };
            let late = later(move || thread::sleep(60 * MS));
            if millis == 30 {
                // The fourth comes late, and then the time is over.
                assert_eq!(recv(a, &mut [0; 4], 0), 4);
            }
            let ends = later(move || {
                thread::sleep(60 * MS);
                send(b, b"late", 0);
            });
            seen.call("recvmmsg", libc::recvmmsg(a, list.as_mut_ptr(), count, flags, &mut limit));
            let left = limit.tv_sec * 1000 + limit.tv_nsec / 1_000_000;
            seen.note((left == millis, left < millis, left == 0));
            late.join().unwrap();
            ends.join().unwrap();
            while recv(a, &mut [0; 4], libc::MSG_DONTWAIT) > 0 {}
        }
        let mut limit = libc::timespec { tv_sec: 0, tv_nsec: 7 };
        seen.call("nothing", libc::recvmmsg(a, list.as_mut_ptr(), 3, libc::MSG_DONTWAIT, &mut limit));
        seen.note(limit.tv_nsec);
        close(&[a, b]);
    }),
    ("a read that waits for enough", |seen| {
        for set_early in [true, false] {
            let sockets = tcp();
            let (reader, writer) = (sockets[0], sockets[1]);
            let mut buffer = [0; 16];
            if !set_early {
                write(writer, b"x");
                read(reader, &mut buffer);
            }
            seen.call("set", set_option(reader, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 4));
            for call in ["read", "recv", "less room", "peek"] {
                let late = later(move || {
                    for piece in [&b"ab"[..], b"cd", b"ef"] {
                        assert_eq!(write(writer, piece), 2);
                        thread::sleep(5 * MS);
                    }
                });
                match call {
                    "read" => seen.call(call, i64::from(read(reader, &mut buffer) >= 4)),
                    "recv" => seen.call(call, i64::from(recv(reader, &mut buffer, 0) >= 4)),
                    "peek" => seen.call(call, i64::from(recv(reader, &mut buffer, libc::MSG_PEEK) >= 4)),
                    _ => seen.call(call, recv(reader, &mut buffer[..3], 0)),
                };
                late.join().unwrap();
                while recv(reader, &mut buffer, libc::MSG_DONTWAIT) > 0 {}
            }
            set_timeout(reader, libc::SO_RCVTIMEO, 20 * MS);
            write(writer, b"ab");
            seen.call("too little in time", read(reader, &mut buffer));
            write(writer, b"ab");
            unsafe { libc::shutdown(writer, libc::SHUT_WR) };
            seen.call("too little at the end", read(reader, &mut buffer));
            close(&sockets);
        }
    }),
    ("enough, on the sockets of a listener and of a pair", |seen| unsafe {
        let sockets = tcp();
        seen.call("set", set_option(sockets[2], libc::SOL_SOCKET, libc::SO_RCVLOWAT, 3));
        let mut address = loopback(0);
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        libc::getsockname(sockets[2], (&raw mut address).cast(), &mut len);
        let client = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        assert_eq!(libc::connect(client, (&raw const address).cast(), len), 0);
        let accepted = libc::accept(sockets[2], null_mut(), null_mut());
        let [a, b] = pair(libc::SOCK_STREAM);
        let second = libc::dup(a);
        let mut buffer = [0; 16];
        // The other descriptor has been looked at already.
        write(b, b"x");
        read(second, &mut buffer);
        assert_eq!(set_option(a, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 3), 0);
        for (reader, writer) in [(accepted, client), (a, b), (second, b)] {
            let late = later(move || {
                for piece in [&b"ab"[..], b"c"] {
                    write(writer, piece);
                    thread::sleep(5 * MS);
                }
            });
            seen.call("read", read(reader, &mut buffer));
            late.join().unwrap();
        }
        close(&sockets);
        close(&[client, accepted, a, b, second]);
    }),
    ("data that begins a connection", |seen| unsafe {
        let sockets = tcp();
        let mut address = loopback(0);
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        libc::getsockname(sockets[2], (&raw mut address).cast(), &mut len);
        let new = || libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let to = |fd, bytes: &[u8], address: *const libc::sockaddr_in| {
            libc::sendto(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_FASTOPEN, address.cast(), len)
        };
        let accepted = || {
            let socket = libc::accept(sockets[2], null_mut(), null_mut());
            let mut buffer = [0; 8];
            let came = recv(socket, &mut buffer[..5], libc::MSG_WAITALL);
            close(&[socket]);
            (came, buffer)
        };
        let client = new();
        seen.call("sendto", to(client, b"hello", &raw const address));
        seen.note(accepted());
        close(&[client]);
        let client = new();
        seen.call("set", set_option(client, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1));
        seen.call("connect", libc::connect(client, (&raw const address).cast(), len));
        seen.call("write", write(client, b"later"));
        seen.note(accepted());
        close(&[client]);
        let client = new();
        libc::close(libc::dup(client));
        seen.call("without an address", to(client, b"hello", null()));
        close(&[client]);
        close(&sockets);
        let client = new();
        seen.call("refused", to(client, b"hello", &raw const address));
        close(&[client]);
    }),
    ("an unconnected send to a full receiver", |seen| unsafe {
        let receiver = libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut address: libc::sockaddr_un = zeroed();
        address.sun_family = libc::AF_UNIX as u16;
        // The kernel finds a name in the abstract space.
        assert_eq!(libc::bind(receiver, (&raw const address).cast(), 2), 0);
        let mut len = size_of_val(&address) as u32;
        assert_eq!(libc::getsockname(receiver, (&raw mut address).cast(), &mut len), 0);
        let sender = libc::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let to = |bytes: &[u8], flags| {
            let place = (&raw const address).cast();
            libc::sendto(sender, bytes.as_ptr().cast(), bytes.len(), flags, place, len)
        };
        while to(b"fill", libc::MSG_DONTWAIT) == 4 {}
        seen.call("full", to(b"data", libc::MSG_DONTWAIT));
        set_timeout(sender, libc::SO_SNDTIMEO, 20 * MS);
        let began = Instant::now();
        seen.call("in time", to(b"data", 0));
        seen.took(began, 20 * MS);
        set_timeout(sender, libc::SO_SNDTIMEO, Duration::ZERO);
        let late = later(move || {
            thread::sleep(20 * MS);
            recv(receiver, &mut [0; 4], 0);
        });
        seen.call("once there is room", to(b"data", 0));
        late.join().unwrap();
        close(&[sender, receiver]);
    }),
];
