//! `sendfile`, `splice`, `tee`, `vmsplice`, `copy_file_range`.

use std::ptr::null_mut;

use libc::iovec;

use super::*;

fn filled(bytes: &[u8]) -> c_int {
    let fd = file();
    assert_eq!(write(fd, bytes), bytes.len() as isize);
    unsafe { libc::lseek(fd, 0, libc::SEEK_SET) };
    fd
}

fn at(fd: c_int) -> i64 {
    unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) }
}

#[test]
fn moving_answers_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("sendfile", |seen| unsafe {
        let from = filled(b"0123456789");
        let [a, b] = pair(libc::SOCK_STREAM);
        let [reading, writing] = pipe();
        let mut buffer = [0; 32];
        seen.call("to a socket", libc::sendfile(a, from, null_mut(), 4));
        seen.note(at(from));
        let mut offset = 7;
        seen.call("from an offset", libc::sendfile(a, from, &mut offset, 100));
        seen.note((offset, at(from)));
        seen.call("beyond", libc::sendfile(a, from, &mut offset, 100));
        seen.call("nothing", libc::sendfile(a, from, null_mut(), 0));
        seen.call("to a pipe", libc::sendfile(writing, from, null_mut(), 3));
        let n = seen.call("read", read(b, &mut buffer));
        seen.bytes(&buffer[..n as usize]);
        seen.call("read", read(reading, &mut buffer));
        let folder = libc::open(c"/".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        seen.call("from a directory", libc::sendfile(a, folder, null_mut(), 4));
        close(&[folder]);
        seen.call("closed", libc::sendfile(99_999, from, null_mut(), 4));
        seen.call("closed", libc::sendfile(a, 99_999, null_mut(), 4));
        seen.call("the wrong end", libc::sendfile(reading, from, null_mut(), 4));
        offset = -1;
        seen.call("bad offset", libc::sendfile(a, from, &mut offset, 4));
        let big = filled(&vec![7; 4 << 20]);
        let late = later(move || {
            let (mut left, mut piece) = (4 << 20, vec![0; 100_000]);
            while left > 0 {
                left -= read(b, &mut piece);
            }
        });
        let mut sent = 0;
        while sent < 4 << 20 {
            let n = libc::sendfile(a, big, null_mut(), 4 << 20);
            assert!(n > 0);
            sent += n;
        }
        seen.note((sent, at(big)));
        late.join().unwrap();
        libc::fcntl(a, libc::F_SETFL, libc::O_NONBLOCK);
        while libc::sendfile(a, from, &mut 0, 10) > 0 {}
        seen.call("full", libc::sendfile(a, from, &mut 0, 10));
        close(&[b]);
        seen.call("broken", libc::sendfile(a, from, &mut 0, 10));
        close(&[from, big, a, reading, writing]);
    }),
    ("splice", |seen| unsafe {
        let [a, b] = pair(libc::SOCK_STREAM);
        let [reading, writing] = pipe();
        let mut buffer = [0; 32];
        write(a, b"hello");
        let splice = |from, to, len, flags| libc::splice(from, null_mut(), to, null_mut(), len, flags);
        seen.call("from a socket", splice(b, writing, 100, 0));
        seen.call("to a socket", splice(reading, a, 3, 0));
        seen.call("read", read(b, &mut buffer));
        let late = later(move || assert_eq!(write(a, b"late"), 4));
        seen.call("late", splice(b, writing, 100, 0));
        late.join().unwrap();
        seen.call("read", read(reading, &mut buffer));
        seen.call("now", splice(b, writing, 100, libc::SPLICE_F_NONBLOCK));
        seen.call("now", splice(reading, a, 100, libc::SPLICE_F_NONBLOCK));
        seen.call("no pipe", splice(a, b, 100, 0));
        seen.call("nothing", splice(reading, a, 0, 0));
        seen.call("the same pipe", splice(reading, writing, 3, 0));
        seen.call("closed", splice(99_999, a, 3, 0));
        let mut offset = 2;
        seen.call("no offset in a pipe", libc::splice(reading, &mut offset, a, null_mut(), 3, 0));
        let file = filled(b"0123456789");
        seen.call("from a file", libc::splice(file, &mut offset, writing, null_mut(), 4, 0));
        seen.note((offset, at(file)));
        seen.call("read", read(reading, &mut buffer));
        close(&[writing]);
        seen.call("the end", splice(reading, a, 3, 0));
        close(&[a, b, reading, file]);
    }),
    ("tee", |seen| unsafe {
        let ([reading, writing], [out, into]) = (pipe(), pipe());
        let mut buffer = [0; 32];
        write(writing, b"hello");
        seen.call("tee", libc::tee(reading, into, 100, 0));
        seen.call("not taken", read(reading, &mut buffer));
        seen.call("a copy", read(out, &mut buffer));
        seen.bytes(&buffer[..5]);
        let late = later(move || assert_eq!(write(writing, b"late"), 4));
        seen.call("waits", libc::tee(reading, into, 100, 0));
        late.join().unwrap();
        seen.call("a part", libc::tee(reading, into, 2, 0));
        seen.call("nothing", libc::tee(reading, into, 0, 0));
        read(reading, &mut buffer);
        seen.call("now", libc::tee(reading, into, 100, libc::SPLICE_F_NONBLOCK));
        seen.call("the same", libc::tee(reading, writing, 100, 0));
        seen.call("the wrong ends", libc::tee(writing, out, 100, 0));
        let [a, b] = pair(libc::SOCK_STREAM);
        seen.call("no pipe", libc::tee(reading, a, 100, 0));
        seen.call("closed", libc::tee(99_999, into, 100, 0));
        close(&[writing]);
        seen.call("the end", libc::tee(reading, into, 100, 0));
        close(&[a, b, reading, out, into]);
    }),
    ("vmsplice", |seen| unsafe {
        let [reading, writing] = pipe();
        let mut parts = [*b"ab", *b"cd"];
        let mut list = parts.each_mut().map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 2 });
        seen.call("in", libc::vmsplice(writing, list.as_ptr(), 2, 0));
        let mut buffer = [0; 4];
        seen.call("read", read(reading, &mut buffer));
        seen.bytes(&buffer);
        seen.call("nothing", libc::vmsplice(writing, list.as_ptr(), 0, 0));
        // To the reading end: out of the pipe, into memory.
        let late = later(move || assert_eq!(write(writing, b"wxyz"), 4));
        seen.call("out", libc::vmsplice(reading, list.as_ptr(), 2, 0));
        late.join().unwrap();
        seen.bytes(parts.as_flattened());
        seen.call("now", libc::vmsplice(reading, list.as_ptr(), 2, libc::SPLICE_F_NONBLOCK));
        libc::fcntl(writing, libc::F_SETPIPE_SZ, 4096);
        while libc::vmsplice(writing, list.as_ptr(), 2, libc::SPLICE_F_NONBLOCK) > 0 {}
        seen.call("full", libc::vmsplice(writing, list.as_ptr(), 2, libc::SPLICE_F_NONBLOCK));
        let late = later(move || assert!(read(reading, &mut [0; 8192]) > 0));
        list[0].iov_len = 1;
        seen.call("waits for room", libc::vmsplice(writing, list.as_ptr(), 1, 0));
        late.join().unwrap();
        let [a, b] = pair(libc::SOCK_STREAM);
        seen.call("no pipe", libc::vmsplice(a, list.as_ptr(), 2, 0));
        seen.call("closed", libc::vmsplice(99_999, list.as_ptr(), 2, 0));
        close(&[reading]);
        seen.call("broken", libc::vmsplice(writing, list.as_ptr(), 2, 0));
        close(&[a, b, writing]);
    }),
    ("copy_file_range", |seen| unsafe {
        let (from, to) = (filled(b"0123456789"), file());
        let copy = |len| libc::copy_file_range(from, null_mut(), to, null_mut(), len, 0);
        seen.call("a part", copy(4));
        seen.call("the rest", copy(100));
        seen.call("the end", copy(100));
        let (mut at_from, mut at_to) = (2, 20);
        seen.call("offsets", libc::copy_file_range(from, &mut at_from, to, &mut at_to, 3, 0));
        seen.note((at_from, at_to, at(from), at(to)));
        seen.call("bad flags", libc::copy_file_range(from, null_mut(), to, null_mut(), 3, 1));
        let [reading, writing] = pipe();
        seen.call("a pipe", libc::copy_file_range(reading, null_mut(), to, null_mut(), 3, 0));
        let mut buffer = [0; 32];
        seen.call("back", libc::pread(to, buffer.as_mut_ptr().cast(), 32, 0));
        seen.bytes(&buffer);
        close(&[from, to, reading, writing]);
    }),
];
