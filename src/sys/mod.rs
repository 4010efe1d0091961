//! One function for each system call: typed arguments, `io::Result`, no loops, no policy.

pub(crate) mod futex;
