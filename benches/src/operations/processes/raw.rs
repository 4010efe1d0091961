//! What the kernel gives by itself: a fork, two pipes.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;

use crate::harness::kernel;

/// A child that was forked.
pub struct Forked(libc::pid_t);

/// Runs `f` in a copy of this process, which has one thread yet.
pub fn fork(f: impl FnOnce()) -> Forked {
    // SAFETY: measuring processes of these contenders have a single thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "cannot fork: {}", io::Error::last_os_error());
    if child == 0 {
        f();
        kernel::exit_now();
    }
    Forked(child)
}

impl Forked {
    pub fn join(self) {
        let mut status = 0;
        // SAFETY: the status is a place for the kernel to write to.
        let joined = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        assert!(joined == self.0 && status == 0, "the child ends with {status}");
    }
}

/// Messages of a fixed length through a pipe, with room for as many bytes as the kernel allows to everybody.
pub fn pipe() -> (File, File) {
    let (reader, writer): (PipeReader, PipeWriter) = io::pipe().expect("a pipe");
    let (reader, writer): (OwnedFd, OwnedFd) = (reader.into(), writer.into());
    // SAFETY: takes a number; refused, the pipe stays as it is.
    unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&writer), libc::F_SETPIPE_SZ, 1 << 20) };
    (reader.into(), writer.into())
}

/// Writes `count` messages.
pub fn write_all(writer: &mut File, message: &[u8], count: u64) {
    (0..count).for_each(|_| writer.write_all(message).expect("the other reads"));
}

/// Reads one message.
pub fn read(reader: &mut File, message: &mut [u8]) {
    reader.read_exact(message).expect("the other writes");
}
