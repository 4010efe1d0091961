//! epoll, level-triggered, as little as the client and the raw server need.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub struct Epoll {
    instance: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Epoll {
    pub fn new() -> Self {
        // SAFETY: takes flags only.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(fd >= 0, "no epoll instance: {}", io::Error::last_os_error());
        // SAFETY: made just now, for this owner.
        let instance = unsafe { OwnedFd::from_raw_fd(fd) };
        Self { instance, events: vec![libc::epoll_event { events: 0, u64: 0 }; 128] }
    }

    /// Reports `fd` under `key` whenever it can be read.
    pub fn add(&self, fd: &impl AsRawFd, key: usize) {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: key as u64 };
        let (epoll, fd) = (self.instance.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the event lives through the call.
        let result = unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        assert_eq!(result, 0, "cannot watch a socket: {}", io::Error::last_os_error());
    }

    /// Waits for something to read; at most `limit` ms, or for ever with -1.
    pub fn wait(&mut self, limit: i32) -> impl Iterator<Item = usize> {
        let (events, most) = (self.events.as_mut_ptr(), self.events.len() as i32);
        // SAFETY: there is room for so many events.
        let count = unsafe { libc::epoll_wait(self.instance.as_raw_fd(), events, most, limit) };
        self.events[..count.max(0) as usize].iter().map(|event| event.u64 as usize)
    }
}
