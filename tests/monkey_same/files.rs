//! Files, by name and by offset.

use std::mem::zeroed;
use std::ptr::{null, null_mut};

use libc::iovec;

use super::*;

#[test]
fn files_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[
    ("files", |seen| unsafe {
        let open = |name: &std::ffi::CStr, flags| libc::open(name.as_ptr(), flags, 0o600);
        seen.call("no such file", open(c"/nonexistent/file", libc::O_RDONLY));
        seen.call("a directory", open(c"/", libc::O_WRONLY));
        let mut status: libc::stat = zeroed();
        seen.call("stat", libc::stat(c"/nonexistent".as_ptr(), &mut status));
        seen.call("stat", libc::stat(c"/".as_ptr(), &mut status));
        seen.call("lstat", libc::lstat(c"/proc/self/exe/x".as_ptr(), &mut status));
        let file = libc::open(c"/tmp".as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600);
        assert!(file > 0);
        seen.call("write", write(file, b"0123456789"));
        seen.call("pwrite", libc::pwrite(file, c"xy".as_ptr().cast(), 2, 3));
        seen.call("negative offset", libc::pwrite(file, c"xy".as_ptr().cast(), 2, -3));
        let mut buffer = [0; 32];
        seen.call("at the end", read(file, &mut buffer));
        seen.call("pread", libc::pread(file, buffer.as_mut_ptr().cast(), 32, 0));
        seen.bytes(&buffer[..12]);
        seen.call("beyond", libc::pread(file, buffer.as_mut_ptr().cast(), 32, 100));
        libc::lseek(file, 4, libc::SEEK_SET);
        seen.call("read", read(file, &mut buffer));
        seen.call("fsync", libc::fsync(file));
        seen.call("fdatasync", libc::fdatasync(file));
        close(&[file]);
        seen.call("fsync a pipe", {
            let ends = pipe();
            let result = libc::fsync(ends[0]);
            let error = std::io::Error::last_os_error();
            close(&ends);
            *libc::__errno_location() = error.raw_os_error().unwrap_or(0);
            result
        });
    }),
    ("vectors at an offset", |seen| unsafe {
        let file = file();
        let mut parts = [*b"ab", *b"cd", *b"ef"];
        let list: Vec<_> =
            parts.iter_mut().map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 2 }).collect();
        seen.call("pwritev", libc::pwritev(file, list.as_ptr(), 3, 10));
        seen.call("pwritev2", libc::pwritev2(file, list.as_ptr(), 2, 0, 0));
        seen.call("pwritev2 here", libc::pwritev2(file, list.as_ptr(), 3, -1, 0));
        seen.call("pwritev2 sync", libc::pwritev2(file, list.as_ptr(), 1, 20, libc::RWF_DSYNC));
        seen.call("append", libc::pwritev2(file, list.as_ptr(), 3, 0, libc::RWF_APPEND));
        seen.call("offset", libc::lseek(file, 0, libc::SEEK_CUR));
        let mut back = [[0u8; 7]; 5];
        let list: Vec<_> =
            back.iter_mut().map(|part| iovec { iov_base: part.as_mut_ptr().cast(), iov_len: 7 }).collect();
        seen.call("preadv", libc::preadv(file, list.as_ptr(), 5, 1));
        seen.bytes(back.as_flattened());
        seen.call("preadv2", libc::preadv2(file, list.as_ptr(), 2, 12, 0));
        seen.call("preadv2 here", libc::preadv2(file, list.as_ptr(), 2, -1, 0));
        seen.call("preadv2 nowait", libc::preadv2(file, list.as_ptr(), 2, 0, libc::RWF_NOWAIT));
        seen.call("beyond", libc::preadv2(file, list.as_ptr(), 2, 1000, 0));
        seen.call("bad flag", libc::preadv2(file, list.as_ptr(), 2, 0, 1 << 20));
        seen.call("bad offset", libc::preadv2(file, list.as_ptr(), 2, -2, 0));
        seen.call("bad offset", libc::preadv(file, list.as_ptr(), 2, -1));
        seen.call("bad count", libc::preadv(file, list.as_ptr(), -1, 0));
        seen.call("nothing", libc::preadv(file, null(), 0, 0));
        let [reading, writing] = pipe();
        write(writing, b"0123456789");
        seen.call("a pipe", libc::preadv(reading, list.as_ptr(), 2, 0));
        seen.call("a pipe here", libc::preadv2(reading, list.as_ptr(), 1, -1, 0));
        seen.call("to a pipe here", libc::pwritev2(writing, list.as_ptr(), 1, -1, 0));
        let late = later(move || {
            let mut buffer = [0; 32];
            read(reading, &mut buffer);
            write(writing, b"late");
        });
        late.join().unwrap();
        seen.call("a pipe that waits", libc::preadv2(reading, list.as_ptr(), 1, -1, 0));
        seen.call("nowait", libc::preadv2(reading, list.as_ptr(), 1, -1, libc::RWF_NOWAIT));
        close(&[file, reading, writing]);
    }),
    ("made and truncated", |seen| unsafe {
        let name = std::ffi::CString::new(format!("/tmp/ropewalk-same-{}", std::process::id())).unwrap();
        let fd = libc::creat(name.as_ptr(), 0o600);
        seen.note(fd > 2);
        seen.call("write", write(fd, b"0123"));
        seen.call("read", read(fd, &mut [0; 4]));
        close(&[fd]);
        let fd = libc::open(name.as_ptr(), libc::O_RDONLY);
        let mut status: libc::stat = zeroed();
        seen.call("fstatat", libc::fstatat(fd, c"".as_ptr(), &mut status, libc::AT_EMPTY_PATH));
        seen.note(status.st_size);
        seen.call("exclusive", libc::open(name.as_ptr(), libc::O_CREAT | libc::O_EXCL | libc::O_RDWR, 0o600));
        seen.call("a file is no directory", libc::openat(fd, c"x".as_ptr(), libc::O_RDONLY));
        close(&[fd]);
        seen.call("unlink", libc::unlink(name.as_ptr()));
        seen.call("gone", libc::open(name.as_ptr(), libc::O_RDONLY));
        seen.call("null", libc::open(null_mut(), libc::O_RDONLY));
    }),
];
