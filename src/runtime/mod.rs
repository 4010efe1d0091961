//! The scheduler: who runs when, who waits for what, and on which worker.
//!
//! Reading order: `spawn` (a closure becomes a task), `worker` (the loop that runs tasks), `start`
//! (the first turn), `park` (the one door for waiting), `idle` (how a worker sleeps).
//!
//! # Examples
//! ```
//! let runtime = ropewalk::Runtime::builder().name("own").workers(2).build()?;
//! let sum: u64 = runtime.run(|| {
//!     let parts: Vec<_> = (1..=4u64).map(|n| ropewalk::spawn(move || n * n)).collect();
//!     ropewalk::join_all(parts).into_iter().map(Result::unwrap).sum()
//! });
//! assert_eq!((sum, runtime.metrics().total.spawned), (30, 5));
//! # Ok::<(), std::io::Error>(())
//! ```

mod ahead;
mod backtrace;
mod births;
mod block_on;
mod builder;
pub(crate) mod cancel;
mod children;
mod clock;
mod core;
mod current;
mod exiting;
mod extra;
pub(crate) mod far;
mod fresh;
mod global;
#[cfg(feature = "monkey")]
pub(crate) mod guest;
mod idle;
mod inbox;
mod injector;
mod join;
mod join_all;
mod local;
pub(crate) mod lock_waits;
mod metrics;
mod monitor;
pub(crate) mod multi_wait;
mod nursery;
pub(crate) mod orphan;
mod panic_hook;
pub(crate) mod park;
pub(crate) mod party;
mod permit;
mod reactor;
mod refused;
mod remote;
mod report;
mod sample;
mod scope;
pub(crate) mod shield;
pub(crate) mod slipped;
pub(crate) mod source;
mod spawn;
mod start;
mod started;
mod task;
mod timeout;
mod timers;
#[cfg(feature = "monkey")]
pub(crate) mod told;
mod unwinding;
mod wait_list;
pub(crate) mod wait_queue;
pub(crate) mod who;
mod worker;

pub use crate::base::notice::set_stderr_warnings;
pub use block_on::block_on;
pub use builder::{Runtime, RuntimeBuilder};
pub(crate) use current::current_number;
pub use current::{
    Handle, current, is_coroutine, park, park_deadline, park_timeout, shield, sleep, sleep_until, yield_now,
};
#[cfg(feature = "monkey")]
pub(crate) use current::{Parked, give_turn, note_parked, parked, turns, worker_index};
pub use global::{global, set_global};
pub use join::JoinError;
pub use join_all::join_all;
pub use local::LocalKey;
pub use metrics::{Metrics, WorkerMetrics};
pub use nursery::{Nursery, NurseryJoinHandle, nursery};
pub(crate) use panic_hook::name_coroutines;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, Canceller, JoinHandle, spawn};
pub use timeout::{Elapsed, timeout};
