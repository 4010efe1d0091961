//! Who a process is: a number that no other process of this boot has.
//!
//! Its pid and the moment it was started. A pid comes round again after thousands of processes, never
//! within the clock tick in which the kernel counts starts.
#![forbid(unsafe_code)]

use core::num::NonZeroU64;
use std::fs;
use std::io;

use crate::base::plain::plainly;
use crate::sys::process;

/// Bits of the moment of start, in clock ticks since boot: 348 years at 100 a second.
const START_BITS: u32 = 40;
/// Bits of a pid (the kernel's limit is 2^22).
const PID_BITS: u32 = 22;

/// A process, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity(NonZeroU64);

impl Identity {
    /// The calling process.
    pub(crate) fn own() -> io::Result<Self> {
        Self::of(std::process::id())?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "/proc does not show this process: mount it")
        })
    }

    /// The process that has `pid` now; `None` if there is none. One that has ended counts until it is reaped.
    pub(crate) fn of(pid: u32) -> io::Result<Option<Self>> {
        Ok(Self::look(pid)?.map(|(identity, _)| identity))
    }

    /// The process that has `pid` now, and whether its last thread has ended.
    fn look(pid: u32) -> io::Result<Option<(Self, bool)>> {
        // Plainly: `watch` asks with its table locked. The kernel makes the text as it is read.
        let text = match plainly(|| fs::read_to_string(format!("/proc/{pid}/stat"))) {
            Ok(text) => text,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The name, in brackets, may hold anything; the 22nd field is the 20th after it.
        let field = |number| text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(number));
        let start = field(19).and_then(|start| start.parse().ok());
        let misread = || io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat has no time of start");
        // A zombie with threads left is a process whose first thread has ended before the others.
        let has_ended = matches!(field(0), Some("Z" | "X")) && matches!(field(17), Some("0" | "1"));
        Ok(Self::from_parts(pid, start.ok_or_else(misread)?).map(|identity| (identity, has_ended)))
    }

    fn from_parts(pid: u32, start: u64) -> Option<Self> {
        let start = start & ((1 << START_BITS) - 1);
        NonZeroU64::new(u64::from(pid & ((1 << PID_BITS) - 1)) << START_BITS | start).map(Self)
    }

    /// From a word in shared memory; `None` for zero, or for what no process is.
    pub(crate) fn from_raw(raw: u64) -> Option<Self> {
        NonZeroU64::new(raw).filter(|raw| raw.get() >> (START_BITS + PID_BITS) == 0).map(Self)
    }

    /// As a word, below 2^62.
    pub(crate) fn raw(self) -> u64 {
        self.0.get()
    }

    pub(crate) fn pid(self) -> u32 {
        (self.0.get() >> START_BITS) as u32
    }

    /// Tells whether the process has ended: its last thread runs no more instructions, reaped or not.
    pub(crate) fn is_gone(self) -> bool {
        // What cannot be told is not death: neither an error, nor a /proc that hides processes of other users.
        match Self::look(self.pid()) {
            Ok(Some((now, has_ended))) => now != self || has_ended,
            Ok(None) => !process::exists(self.pid()),
            // No descriptor may be left to read /proc with. The end of a child is told without one; whichever child
            // has the pid, this process is no more.
            Err(_) => process::is_ended_child(self.pid()),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_an_ended_one_is_gone() {
        let own = Identity::own().unwrap();
        assert_eq!(Some(own), Identity::from_raw(own.raw()));
        assert_eq!(own.pid(), std::process::id());
        assert!(!own.is_gone());
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let identity = Identity::of(child.id()).unwrap().unwrap();
        let pidfd = process::pidfd_open(child.id()).unwrap();
        let ended = crate::sys::poll::want(std::os::fd::AsFd::as_fd(&pidfd), libc::POLLIN);
        assert!(crate::sys::poll::wait(&mut [ended], None).unwrap());
        assert_eq!(Identity::of(child.id()).unwrap(), Some(identity), "a zombie keeps its pid");
        assert!(identity.is_gone(), "a zombie runs no more");
        child.wait().unwrap();
        assert!(identity.is_gone());
        assert_eq!(Identity::from_raw(0), None);
        assert_eq!(Identity::from_raw(u64::MAX), None);
    }
}
