//! Kernel threads: a pool of them, for what must not run on a coroutine's worker.
//!
//! Reading order: `task` (a result), `pool` (queue and threads), `thread_pool` (the verbs).

mod borrow;
mod pool;
mod task;
mod thread_pool;

#[cfg(feature = "monkey")]
pub(crate) use borrow::borrow_blocking;
pub use pool::WhenFull;
pub use task::{AsyncResult, RanOn, SubmitError, TaskError};
pub use thread_pool::{Imap, ImapUnordered, NotClosed, ThreadPool, ThreadPoolBuilder, spawn_blocking};

use crate::sys::thread::id as kernel_thread;
