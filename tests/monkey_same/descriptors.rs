//! Descriptors: duplicated, reused, sent to others.

use std::mem::zeroed;
use std::time::Instant;

use libc::iovec;

use super::*;

fn nonblocking(fd: c_int) -> bool {
    unsafe { libc::fcntl(fd, libc::F_GETFL) & libc::O_NONBLOCK != 0 }
}

/// Room for control data of one descriptor.
#[repr(align(8))]
struct Control([u8; 24]);

fn message(place: &mut iovec, control: &mut Control) -> libc::msghdr {
    let mut message: libc::msghdr = unsafe { zeroed() };
    (message.msg_iov, message.msg_iovlen) = (place, 1);
    (message.msg_control, message.msg_controllen) = (control.0.as_mut_ptr().cast(), 24);
    message
}

fn pass(to: c_int, fd: c_int) -> isize {
    let mut byte = *b"f";
    let mut place = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 24]);
    let message = message(&mut place, &mut control);
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        ((*header).cmsg_level, (*header).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        (*header).cmsg_len = libc::CMSG_LEN(4) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd);
        libc::sendmsg(to, &message, 0)
    }
}

fn take(from: c_int) -> c_int {
    let mut byte = [0; 1];
    let mut place = iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    let mut control = Control([0; 24]);
    let mut message = message(&mut place, &mut control);
    unsafe {
        assert_eq!(libc::recvmsg(from, &mut message, libc::MSG_CMSG_CLOEXEC), 1);
        libc::CMSG_DATA(libc::CMSG_FIRSTHDR(&message)).cast::<c_int>().read_unaligned()
    }
}

#[test]
fn descriptors_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("duplicates share what they stand for", |seen| unsafe {
        let [client, server, listener] = tcp();
        let copy = libc::dup(client);
        libc::fcntl(copy, libc::F_SETFL, libc::O_NONBLOCK);
        seen.note((nonblocking(client), nonblocking(copy)));
        seen.call("through the other", read(client, &mut [0; 4]));
        let on: c_int = 0;
        libc::ioctl(client, libc::FIONBIO, &on);
        seen.note((nonblocking(client), nonblocking(copy)));
        set_timeout(copy, libc::SO_RCVTIMEO, 15 * MS);
        let began = Instant::now();
        seen.call("a limit", read(client, &mut [0; 4]));
        seen.took(began, 15 * MS);
        set_timeout(client, libc::SO_RCVTIMEO, Duration::ZERO);
        let late = later(move || assert_eq!(write(server, b"1234"), 4));
        seen.call("half", read(client, &mut [0; 2]));
        seen.call("the other half", read(copy, &mut [0; 4]));
        late.join().unwrap();
        close(&[client]);
        let late = later(move || assert_eq!(write(server, b"5"), 1));
        seen.call("without the first", read(copy, &mut [0; 4]));
        late.join().unwrap();
        libc::shutdown(copy, libc::SHUT_WR);
        seen.call("ended by the copy", read(server, &mut [0; 4]));
        close(&[copy, server, listener]);
    }),
    ("numbers", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [reading, writing] = pipe();
        let copy = libc::fcntl(a, libc::F_DUPFD_CLOEXEC, 300);
        seen.note((copy >= 300, libc::fcntl(copy, libc::F_GETFD)));
        seen.call("dup2 to itself", if libc::dup2(a, a) == a { 0 } else { -1 });
        seen.call("dup3 to itself", libc::dup3(a, a, 0));
        seen.call("dup3 bad flags", libc::dup3(a, copy, 1));
        seen.call("dup2 bad number", libc::dup2(a, -1));
        seen.call("dup limit", libc::fcntl(a, libc::F_DUPFD, 1 << 30));
        // The number of a socket becomes that of a pipe.
        write(a, b"to b");
        seen.note(libc::dup2(reading, copy) == copy);
        let late = later(move || assert_eq!(write(writing, b"pipe"), 4));
        let mut buffer = [0; 8];
        seen.call("a pipe now", read(copy, &mut buffer));
        seen.bytes(&buffer[..4]);
        seen.call("no socket now", recv(copy, &mut buffer, 0));
        late.join().unwrap();
        // And of another socket.
        seen.note(libc::dup3(b, copy, libc::O_CLOEXEC) == copy);
        seen.call("a socket now", recv(copy, &mut buffer, 0));
        let late = later(move || assert_eq!(write(a, b"late"), 4));
        seen.call("late", recv(copy, &mut buffer, 0));
        late.join().unwrap();
        seen.call("a range", libc::close_range(copy as u32, copy as u32, 0));
        seen.call("closed", recv(copy, &mut buffer, 0));
        seen.call("bad range", libc::close_range(9, 8, 0));
        close(&[a, b, reading, writing]);
    }),
    ("reused numbers", |seen| unsafe {
        for round in 0..4 {
            let [a, b] = pair(if round % 2 == 0 { libc::SOCK_STREAM } else { libc::SOCK_DGRAM });
            libc::fcntl(a, libc::F_SETFL, if round < 2 { libc::O_NONBLOCK } else { 0 });
            set_timeout(a, libc::SO_RCVTIMEO, MS);
            seen.call("nothing", read(a, &mut [0; 4]));
            close(&[a, b]);
            let [reading, writing] = pipe();
            let late = later(move || assert_eq!(write(writing, b"x"), 1));
            seen.call("waits again", read(reading, &mut [0; 4]));
            late.join().unwrap();
            close(&[reading, writing]);
            let [a, b] = pair(libc::SOCK_STREAM);
            let late = later(move || assert_eq!(write(b, b"x"), 1));
            seen.call("and again", read(a, &mut [0; 4]));
            late.join().unwrap();
            close(&[a, b]);
        }
    }),
    ("descriptors in messages", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [client, server, listener] = tcp();
        set_timeout(listener, libc::SO_RCVTIMEO, 5 * MS);
        seen.call("nobody", libc::accept(listener, null_mut(), null_mut()));
        for fd in [client, listener] {
            seen.call("pass", pass(a, fd));
        }
        let (twin, other) = (take(b), take(b));
        // What others see is a listener that blocks.
        let flags =
            thread::spawn(move || libc::syscall(libc::SYS_fcntl, other, libc::F_GETFL)).join().unwrap();
        seen.note(flags as c_int & libc::O_NONBLOCK);
        seen.call("nobody here either", libc::accept(other, null_mut(), null_mut()));
        libc::fcntl(twin, libc::F_SETFL, libc::O_NONBLOCK);
        seen.call("as the twin asked", read(client, &mut [0; 4]));
        libc::fcntl(twin, libc::F_SETFL, 0);
        let late = later(move || assert_eq!(write(server, b"x"), 1));
        seen.call("through the twin", read(twin, &mut [0; 4]));
        late.join().unwrap();
        seen.call("pass a closed one", pass(a, 99_999));
        close(&[a, b, client, server, listener, twin, other]);
    }),
];
