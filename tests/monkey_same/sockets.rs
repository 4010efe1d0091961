//! Making, connecting, accepting and ending connections.

use std::mem::zeroed;
use std::ptr::{null, null_mut};
use std::time::Instant;

use super::*;

fn listener() -> (c_int, libc::sockaddr_in) {
    unsafe {
        let listener = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let mut address = loopback(0);
        let mut len = LEN;
        assert_eq!(libc::bind(listener, (&raw const address).cast(), len), 0);
        assert_eq!(libc::listen(listener, 8), 0);
        assert_eq!(libc::getsockname(listener, (&raw mut address).cast(), &mut len), 0);
        (listener, address)
    }
}

const LEN: u32 = size_of::<libc::sockaddr_in>() as u32;

fn option(fd: c_int, name: c_int) -> c_int {
    let (mut value, mut len) = (0, 4);
    let place = (&raw mut value).cast();
    assert_eq!(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, place, &mut len) }, 0);
    value
}

#[test]
fn sockets_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("a refused connection", |seen| unsafe {
        let [client, server, listener] = tcp();
        let mut address = loopback(0);
        let mut len = size_of::<libc::sockaddr_in>() as u32;
        libc::getsockname(listener, (&raw mut address).cast(), &mut len);
        let other = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
        seen.call("connect twice", libc::connect(client, (&raw const address).cast(), len));
        close(&[client, server, listener]);
        seen.call("connect", libc::connect(other, (&raw const address).cast(), len));
        seen.call("connect nowhere", libc::connect(other, (&raw const address).cast(), 3));
        seen.call("connect no socket", libc::connect(99_999, (&raw const address).cast(), len));
        close(&[other]);
    }),
    ("a reset", |seen| unsafe {
        let [client, server, listener] = tcp();
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let len = size_of::<libc::linger>() as u32;
        libc::setsockopt(server, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len);
        close(&[server]);
        seen.call("read", read(client, &mut [0; 8]));
        seen.call("read again", read(client, &mut [0; 8]));
        seen.call("write", write(client, b"x"));
        close(&[client, listener]);
    }),
    ("a half close", |seen| unsafe {
        let [client, server, listener] = tcp();
        seen.call("write", write(client, b"last words"));
        seen.call("shutdown", libc::shutdown(client, libc::SHUT_WR));
        let mut buffer = [0; 32];
        let n = seen.call("read", read(server, &mut buffer));
        seen.bytes(&buffer[..n as usize]);
        seen.call("end", read(server, &mut buffer));
        seen.call("write after", write(client, b"x"));
        seen.call("answer", write(server, b"still"));
        seen.call("read answer", read(client, &mut buffer));
        close(&[client, server, listener]);
    }),
    ("as the user asked: EAGAIN", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        seen.call("MSG_DONTWAIT", libc::recv(a, (&raw mut *Box::new(0u8)).cast(), 1, libc::MSG_DONTWAIT));
        libc::fcntl(a, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("flags", libc::fcntl(a, libc::F_GETFL) & libc::O_NONBLOCK);
        seen.call("read", read(a, &mut [0; 4]));
        let bytes = vec![1u8; 1 << 20];
        let part = write(a, &bytes);
        seen.0.push(format!("a part: {}", part > 0 && part < 1 << 20));
        seen.call("full", write(a, &bytes));
        let [reading, writing] = pipe();
        libc::fcntl(writing, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("pipe part", write(writing, &bytes));
        seen.call("pipe full", write(writing, &bytes));
        let on = 1 as c_int;
        libc::ioctl(reading, libc::FIONBIO, &on);
        read(reading, &mut vec![0; 1 << 20]);
        seen.call("pipe empty", read(reading, &mut [0; 4]));
        let [client, server, listener] = tcp();
        libc::ioctl(listener, libc::FIONBIO, &on);
        seen.call("accept", libc::accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC));
        close(&[a, b, reading, writing, client, server, listener]);
    }),
    ("timeouts of sockets", |seen| unsafe {
        let limit = 20 * MS;
        let [client, server, listener] = tcp();
        set_timeout(client, libc::SO_RCVTIMEO, limit);
        let began = Instant::now();
        seen.call("recv", libc::recv(client, (&raw mut *Box::new(0u8)).cast(), 1, 0));
        seen.took(began, limit);
        set_timeout(listener, libc::SO_RCVTIMEO, limit);
        let began = Instant::now();
        seen.call("accept", libc::accept4(listener, null_mut(), null_mut(), libc::SOCK_CLOEXEC));
        seen.took(began, limit);
        // A Unix socket: how much fits is not up to a peer's window.
        let [a, b] = pair(libc::SOCK_STREAM);
        set_timeout(a, libc::SO_SNDTIMEO, limit);
        let bytes = vec![1u8; 4 << 20];
        let began = Instant::now();
        let part = write(a, &bytes);
        seen.0.push(format!("a part: {}", part > 0 && part < 4 << 20));
        seen.took(began, limit);
        seen.call("full", write(a, &bytes));
        close(&[client, server, listener, a, b]);
    }),
    ("connecting without waiting", |seen| unsafe {
        let (listener, address) = listener();
        let client = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        let place = (&raw const address).cast();
        seen.call("begin", libc::connect(client, place, LEN));
        let mut entry = libc::pollfd { fd: client, events: libc::POLLOUT, revents: 0 };
        seen.call("poll", libc::poll(&mut entry, 1, -1));
        seen.note(option(client, libc::SO_ERROR));
        seen.call("the end", libc::connect(client, place, LEN));
        seen.call("once more", libc::connect(client, place, LEN));
        close(&[listener]);
        let other = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0);
        seen.call("begin, refused", libc::connect(other, place, LEN));
        let mut entry = libc::pollfd { fd: other, events: libc::POLLOUT, revents: 0 };
        seen.call("poll", libc::poll(&mut entry, 1, -1));
        seen.note(entry.revents);
        seen.note((option(other, libc::SO_ERROR), option(other, libc::SO_ERROR)));
        close(&[client, other]);
    }),
    ("accepting late", |seen| unsafe {
        let (listener, address) = listener();
        let late = later(move || {
            let client = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
            assert_eq!(libc::connect(client, (&raw const address).cast(), LEN), 0);
            write(client, b"hello");
            close(&[client]);
        });
        let (mut from, mut len): (libc::sockaddr_in, u32) = (zeroed(), LEN);
        let server = libc::accept4(listener, (&raw mut from).cast(), &mut len, libc::SOCK_NONBLOCK);
        seen.note((len, from.sin_family, from.sin_addr.s_addr));
        seen.call("accepted flags", libc::fcntl(server, libc::F_GETFL) & libc::O_NONBLOCK);
        seen.call("no cloexec", libc::fcntl(server, libc::F_GETFD));
        late.join().unwrap();
        let mut buffer = [0; 8];
        seen.call("read", read(server, &mut buffer));
        seen.call("read", read(server, &mut buffer));
        seen.call("listener flags", libc::fcntl(listener, libc::F_GETFL) & libc::O_NONBLOCK);
        close(&[server]);
        let late = later(move || {
            assert_eq!(libc::shutdown(listener, libc::SHUT_RD), 0);
        });
        seen.call("shut down", libc::accept(listener, null_mut(), null_mut()));
        late.join().unwrap();
        seen.call("bad flags", libc::accept4(listener, null_mut(), null_mut(), 1 << 20));
        close(&[listener]);
    }),
    ("a peer that ends while this waits", |seen| unsafe {
        let [client, server, listener] = tcp();
        let late = later(move || close(&[server]));
        seen.call("end", read(client, &mut [0; 8]));
        late.join().unwrap();
        close(&[client, listener]);
        let [client, server, listener] = tcp();
        let late = later(move || {
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            let len = size_of::<libc::linger>() as u32;
            libc::setsockopt(server, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), len);
            close(&[server]);
        });
        seen.call("reset", read(client, &mut [0; 8]));
        seen.call("told once", read(client, &mut [0; 8]));
        late.join().unwrap();
        close(&[client, listener]);
        let [client, server, listener] = tcp();
        let late = later(move || {
            libc::shutdown(client, libc::SHUT_RD);
        });
        seen.call("shut by this side", read(client, &mut [0; 8]));
        late.join().unwrap();
        close(&[client, server, listener]);
        let [a, b] = pair(libc::SOCK_STREAM);
        let bytes = vec![1; 4 << 20];
        let late = later(move || close(&[b]));
        let sent = send(a, &bytes, libc::MSG_NOSIGNAL);
        seen.note(sent > 0 && sent < 4 << 20);
        late.join().unwrap();
        seen.call("broken", send(a, &bytes, libc::MSG_NOSIGNAL));
        close(&[a]);
    }),
    ("a Unix socket with a name", |seen| unsafe {
        let mut address: libc::sockaddr_un = zeroed();
        address.sun_family = libc::AF_UNIX as u16;
        // An abstract one, of this process.
        let name = format!("\0ropewalk-same-{}", std::process::id());
        for (place, byte) in address.sun_path.iter_mut().zip(name.bytes()) {
            *place = byte.cast_signed();
        }
        let len = 2 + name.len() as u32;
        let place = (&raw const address).cast();
        let socket = || libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let (server, client) = (socket(), socket());
        seen.call("nobody", libc::connect(client, place, len));
        seen.call("bind", libc::bind(server, place, len));
        seen.call("not listening", libc::connect(client, place, len));
        seen.call("listen", libc::listen(server, 0));
        seen.call("connect", libc::connect(client, place, len));
        let second = socket();
        set_timeout(second, libc::SO_SNDTIMEO, 20 * MS);
        seen.call("second", libc::connect(second, place, len));
        let third = socket();
        libc::fcntl(third, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("full", libc::connect(third, place, len));
        let late = later(move || close(&[libc::accept(server, null_mut(), null_mut())]));
        libc::fcntl(third, libc::F_SETFL, 0);
        seen.call("waits for room", libc::connect(third, place, len));
        late.join().unwrap();
        let began = Instant::now();
        let fourth = socket();
        set_timeout(fourth, libc::SO_SNDTIMEO, 20 * MS);
        seen.call("no room in time", libc::connect(fourth, place, len));
        seen.took(began, 20 * MS);
        seen.call("null", libc::connect(fourth, null(), len));
        close(&[server, client, second, third, fourth]);
    }),
];
