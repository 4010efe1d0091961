//! glibc's checked forms, which C code that is built with `_FORTIFY_SOURCE` calls.

use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

use super::*;

unsafe extern "C" {
    fn __read_chk(fd: c_int, place: *mut c_void, count: usize, room: usize) -> isize;
    fn __pread_chk(fd: c_int, place: *mut c_void, count: usize, offset: i64, room: usize) -> isize;
    fn __pread64_chk(fd: c_int, place: *mut c_void, count: usize, offset: i64, room: usize) -> isize;
    fn __recv_chk(fd: c_int, place: *mut c_void, count: usize, room: usize, flags: c_int) -> isize;
    fn __recvfrom_chk(
        fd: c_int,
        place: *mut c_void,
        count: usize,
        room: usize,
        flags: c_int,
        peer: *mut libc::sockaddr,
        len: *mut u32,
    ) -> isize;
    fn __readlink_chk(name: *const c_char, place: *mut c_char, count: usize, room: usize) -> isize;
    fn __readlinkat_chk(
        at: c_int,
        name: *const c_char,
        place: *mut c_char,
        count: usize,
        room: usize,
    ) -> isize;
    fn __realpath_chk(name: *const c_char, place: *mut c_char, room: usize) -> *mut c_char;
    fn __poll_chk(list: *mut libc::pollfd, count: libc::nfds_t, millis: c_int, room: usize) -> c_int;
    fn __ppoll_chk(
        list: *mut libc::pollfd,
        count: libc::nfds_t,
        limit: *const libc::timespec,
        mask: *const libc::sigset_t,
        room: usize,
    ) -> c_int;
    fn __open_2(name: *const c_char, flags: c_int) -> c_int;
    fn __open64_2(name: *const c_char, flags: c_int) -> c_int;
    fn __openat_2(at: c_int, name: *const c_char, flags: c_int) -> c_int;
    fn __openat64_2(at: c_int, name: *const c_char, flags: c_int) -> c_int;
}

#[test]
fn checked_forms_answer_alike() {
    alike(CASES);
}

const CASES: &[Case] = &[("checked forms", |seen| unsafe {
    let [a, b] = pair(libc::SOCK_STREAM);
    let mut buffer = [0u8; 8];
    let place: *mut c_void = buffer.as_mut_ptr().cast();
    let late = later(move || assert_eq!(write(b, b"0123456789"), 10));
    seen.call("read", __read_chk(a, place, 4, 8));
    late.join().unwrap();
    seen.call("recv", __recv_chk(a, place, 2, 8, 0));
    seen.call("recvfrom", __recvfrom_chk(a, place, 8, 8, 0, null_mut(), null_mut()));
    seen.bytes(&buffer);
    let mut entry = libc::pollfd { fd: a, events: libc::POLLIN, revents: 0 };
    let late = later(move || assert_eq!(write(b, b"x"), 1));
    seen.call("poll", __poll_chk(&mut entry, 1, -1, 8));
    late.join().unwrap();
    seen.call("ppoll", __ppoll_chk(&mut entry, 1, null(), null(), 8));
    let file = file();
    write(file, b"abcdef");
    seen.call("pread", __pread_chk(file, place, 3, 1, 8));
    seen.call("pread64", __pread64_chk(file, place, 8, 4, 8));
    seen.bytes(&buffer);
    for name in [c"/", c"/nonexistent"] {
        let name = name.as_ptr();
        for fd in [__open_2(name, 0), __open64_2(name, 0), __openat_2(-1, name, 0), __openat64_2(-1, name, 0)]
        {
            seen.call("open", fd.min(0));
            if fd >= 0 {
                close(&[fd]);
            }
        }
    }
    let mut long = [0; libc::PATH_MAX as usize];
    let text = long.as_mut_ptr();
    seen.note(__readlink_chk(c"/proc/self/exe".as_ptr(), text, 4096, 4096) > 1);
    seen.note(__readlinkat_chk(-1, c"/proc/self/exe".as_ptr(), text, 3, 4096));
    seen.call("no link", __readlink_chk(c"/".as_ptr(), text, 4096, 4096));
    seen.note(std::ptr::eq(__realpath_chk(c"/tmp/..".as_ptr(), text, 4096), text));
    seen.note(long[..2].to_vec());
    close(&[a, b, file]);
})];

/// Each in a child, which it ends.
#[test]
fn a_buffer_that_is_too_small_ends_the_process() {
    const BAD: [fn(*mut u8); 4] = [
        |place| unsafe {
            __read_chk(99, place.cast(), 9, 8);
        },
        |place| unsafe {
            __readlink_chk(c"/".as_ptr(), place.cast(), 9, 8);
        },
        |place| unsafe {
            __realpath_chk(c"/".as_ptr(), place.cast(), 8);
        },
        |_| unsafe {
            __open_2(c"/tmp/x".as_ptr(), libc::O_CREAT);
        },
    ];
    for number in 0..BAD.len() {
        let name = "checked::a_buffer_that_is_too_small_ends_the_process";
        let which = |command: &mut std::process::Command| {
            command.env("WHICH", number.to_string());
        };
        let Some(output) = common::child_with(name, which) else {
            let number: usize = std::env::var("WHICH").unwrap().parse().unwrap();
            return BAD[number]([0; 8].as_mut_ptr());
        };
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("buffer overflow detected"), "{number}: {text}");
        let status = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(status, Some(libc::SIGABRT));
    }
}
