//! Processes, with the verbs of threads and coroutines.
//!
//! A child is this very program, forked from a template with one thread (or started anew); it runs one
//! function and never `main`. What crosses the border is encoded with serde; handles in it take their
//! descriptors along. A process that dies, in whatever way and whenever, is reported to whoever waits for
//! it, and takes nobody along but its own children.
//!
//! Values are encoded element by element, which for megabytes in a `Vec<u8>` takes time, above all in a build without
//! optimisation. Bytes in bulk travel at the speed of a copy if serde is told that they are bytes (`serde_bytes`), as
//! slices (`Queue<[u8]>`), or not at all: see [`shm`](crate::shm).
//!
//! Reading order: `io::passing` (descriptors beside bytes), `codec`, `channel` (whole messages), `program`
//! (code as a number), `call`; then a start: `start`, `request` and `first` (the parent), `divert`, `serve` and `inherited` (the
//! child), `keeper` (the thread they hang on); then `handle`, `stdio`, `builder`, `warm`, `pipe` and
//! `pool`. What processes share: `shm`, then `queue` and `sync`; and `wait` for the first of them all.
//!
//! # Examples
//! ```
//! use ropewalk::process::{Pool, Process};
//!
//! let child = Process::spawn(|word: String| word.len(), "rope".to_owned())?;
//! assert_eq!(child.join().unwrap(), 4);
//! let pool = Pool::new(2)?;
//! assert_eq!(pool.map(|n: u64| n * n, 1..=3).unwrap(), [1, 4, 9]);
//! # Ok::<(), ropewalk::process::SpawnError>(())
//! ```

mod builder;
mod call;
mod channel;
pub(crate) mod codec;
mod divert;
mod error;
mod exec;
mod fd;
mod first;
mod handle;
mod inherited;
mod keeper;
mod pipe;
pub(crate) mod pool;
mod program;
pub mod queue;
mod registry;
mod request;
mod rights;
mod serve;
mod start;
mod stdio;
mod sync;
#[cfg(test)]
mod testing;
mod wait;
mod warm;

pub use builder::{Builder, Resource, StartMethod};
pub use codec::{DecodeError, EncodeError};
pub use error::{ProcessError, SpawnError};
pub use fd::Fd;
pub use handle::Process;
pub use pipe::{Pipe, RecvError, SendError, pipe};
pub use pool::{
    AsyncResult, Imap, ImapUnordered, Pending, Pool, PoolBuilder, Portable, RanOn, SubmitError, TaskError,
    WorkerInfo,
};
#[doc(inline)]
pub use queue::Queue;
pub use registry::{ChildInfo, Current, children, current};
pub use start::prepare;
pub use stdio::Stdio;
pub use sync::{Barrier, Condvar, Event, Mutex, MutexGuard, OwnerDied, Permit, Semaphore, TryLockError};
pub use wait::{Case, wait_any, wait_any_deadline, wait_any_timeout};
pub use warm::Warm;
