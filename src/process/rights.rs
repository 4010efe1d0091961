//! The rights that a process has as a whole: children that are forked from a template are to have no others.
//!
//! A change of users or groups by libc, of the root directory, and a filter for all threads (`SECCOMP_FILTER_FLAG_TSYNC`)
//! reach the thread that starts processes as well, so a template that is started after the change has it too.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::base::plain::plainly;
use crate::sys::process::{self, Credentials};

/// What a template must have in common with the process that forks children from it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rights {
    credentials: Credentials,
    /// Device and number of the root directory.
    root: Option<(u64, u64)>,
    /// How many system call filters the process has, as the kernel writes it.
    filters: String,
}

impl Rights {
    /// Those of the calling process now.
    pub(super) fn now() -> Self {
        plainly(|| Self {
            credentials: process::credentials(),
            root: fs::metadata("/").ok().map(|root| (root.dev(), root.ino())),
            // Without a filter there is nothing to read.
            filters: if process::is_filtered() { filters() } else { String::new() },
        })
    }
}

/// The line of the status that counts filters (Linux 5.9). Filters are never taken off.
fn filters() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("Seccomp_filters:"));
    line.unwrap_or("filtered").to_owned()
}
