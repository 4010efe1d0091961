//! A pool of processes, and the verbs that it shares with a pool of threads.
//!
//! Promises: whatever a worker was doing when it died, only the task in its hands is lost, its waiter is
//! told, and the pool stays at its size.
//!
//! Reading order: `ring` (the tasks in shared memory) and `post` (who has which, and who sleeps), `outbox` (their
//! results), `worker` (the child), `core` (the parent: tasks) and `results`, `manage` (deaths, starts, timeouts), `task` (a result), `build`, `verbs`, `lazy`,
//! `generic`.

mod build;
mod core;
mod generic;
mod lazy;
mod manage;
mod outbox;
mod post;
mod results;
mod ring;
mod task;
mod verbs;
mod worker;

pub use build::PoolBuilder;
pub use generic::{Pending, Pool as AnyPool, Portable};
pub use lazy::{Imap, ImapUnordered};
pub use task::{AsyncResult, RanOn, SubmitError, TaskError};
pub use verbs::{Pool, WorkerInfo};
