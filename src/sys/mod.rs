//! One function for each system call: typed arguments, `io::Result`, no loops, no policy.

#[cfg(not(loom))]
pub(crate) mod blocked;
pub(crate) mod epoll;
pub(crate) mod futex;
pub(crate) mod image;
pub(crate) mod memory;
pub(crate) mod message;
#[cfg(all(not(loom), target_arch = "x86_64", target_pointer_width = "64"))]
pub(crate) mod objects;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod shared;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod thread;
pub(crate) mod thread_exit;
pub(crate) mod valgrind;
