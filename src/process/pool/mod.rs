//! A pool of processes, and the verbs that it shares with a pool of threads.
//!
//! Promises: whatever a worker was doing when it died, only the task in its hands is lost, its waiter is
//! told, and the pool stays at its size.
//!
//! Reading order: `ring` (the tasks in shared memory) and `post` (who has which, and who sleeps), `outbox` (their
//! results), `worker` (the child), `core` (the parent: tasks) and `results`, `manage` (deaths, starts, timeouts), `task`
//! (a result) and `error`, `build`, `verbs`, `maps`, `lazy`, `generic`.

mod build;
mod core;
mod error;
mod generic;
mod lazy;
mod manage;
mod maps;
mod outbox;
mod post;
mod results;
mod ring;
mod task;
mod verbs;
mod worker;

pub use build::PoolBuilder;
pub use error::{SubmitError, TaskError};
pub use generic::{Pending, Pool as AnyPool, Portable};
pub use lazy::{Imap, ImapUnordered};
pub use task::{AsyncResult, RanOn};
pub use verbs::{Pool, WorkerInfo};
