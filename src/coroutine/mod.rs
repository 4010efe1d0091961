//! Coroutines: by hand, with registers and stacks of their own; and scheduled, as a mirror of
//! [`std::thread`].
//!
//! Reading order: `switch` (a dozen instructions), `stack`, `strand` (the two together), `typed` (a
//! coroutine by hand); then [`runtime`](crate::runtime).
//!
//! # Examples
//! ```
//! use ropewalk::coroutine::{self, Coroutine, State};
//!
//! // By hand: it runs when it is resumed, and no longer than to its next value.
//! let mut double = Coroutine::<u32, u32>::new(|out, mut n| loop { n = out.suspend(n * 2) });
//! assert!(matches!(double.resume(21), State::Yielded(42)));
//! // Scheduled: it runs by itself, and whoever waits lets others run.
//! let child = coroutine::spawn(|| 6 * 7);
//! assert_eq!(child.join().unwrap(), 42);
//! ```

mod body;
mod build;
pub(crate) mod id;
pub(crate) mod lingering;
pub(crate) mod overflow;
mod pack;
pub(crate) mod stack;
mod state;
pub(crate) mod strand;
pub(crate) mod switch;
mod typed;
pub(crate) mod unwind;

pub use build::{CoroutineBuilder, Fresh};
pub use state::{Snapshot, State};
#[cfg(target_arch = "x86_64")]
pub use switch::Assembly;
pub use switch::{Boost, DefaultSwitch, SavedRegisters, Switch};
pub use typed::{Coroutine, Suspender};

// The scheduled half is the runtime's; it is offered here because users look for it here.
#[doc(inline)]
pub use crate::runtime::{
    Builder, Canceller, Elapsed, Handle, JoinError, JoinHandle, LocalKey, Nursery, NurseryJoinHandle, Scope,
    ScopedJoinHandle, block_on, current, is_coroutine, join_all, nursery, park, park_deadline, park_timeout,
    scope, shield, sleep, sleep_until, spawn, timeout, yield_now,
};
