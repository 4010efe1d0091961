//! Kernel threads: a pool of them, for what must not run on a coroutine's worker.
//!
//! Reading order: `outcome` (where a task's end is put) and `verbs` (what can be done with it), for both kinds of pool;
//! `task` (a result), `pool` (queue and threads), `thread_pool` (the verbs), `maps`, `imap`, `blocking` (a pool that
//! everybody has); `borrow` runs a closure of the caller's there.
//!
//! # Examples
//! ```
//! use ropewalk::thread::{ThreadPool, spawn_blocking};
//!
//! let pool = ThreadPool::new(2);
//! assert_eq!(pool.map(|word: &str| word.len(), ["rope", "walk", "er"]).unwrap(), [4, 4, 2]);
//! let text = spawn_blocking(|| std::fs::read_to_string("/proc/self/comm")); // its worker goes on
//! assert!(!text.get().unwrap().unwrap().is_empty());
//! ```

mod blocking;
mod borrow;
mod imap;
mod maps;
pub(crate) mod outcome;
mod pool;
pub(crate) mod task;
mod thread_pool;
pub(crate) mod verbs;

pub use blocking::spawn_blocking;
#[cfg(feature = "monkey")]
pub(crate) use borrow::borrow_blocking;
pub use imap::{Imap, ImapUnordered};
pub use pool::WhenFull;
pub use task::{AsyncResult, RanOn, SubmitError, TaskError};
pub use thread_pool::{NotClosed, ThreadPool, ThreadPoolBuilder};

use crate::sys::thread::id as kernel_thread;
