//! Stackful coroutines, the scheduler under them, and everything that waits: built by hand.
//!
//! Reading order: [`coroutine`] (stacks, registers, the switch), then `runtime` (who runs when),
//! then [`sync`] (the futex and its family), [`queue`] and [`channel`] (rings), [`thread`] (pool),
//! [`process`], [`time`], [`net`], and last `monkey`, which makes foreign code wait like this crate's.
//!
//! # Examples
//! ```
//! use ropewalk::channel;
//!
//! let (sender, receiver) = channel::bounded(8);
//! for n in 0..4u64 {
//!     let sender = sender.clone();
//!     ropewalk::spawn(move || sender.send(n * n).unwrap());
//! }
//! drop(sender);
//! assert_eq!(receiver.iter().sum::<u64>(), 14); // a plain thread, and it may wait as well
//! ```

// Under `cfg(loom)` only the words that are model-checked are used.
#![cfg_attr(loom, allow(dead_code))]

#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod sys;

#[cfg(not(loom))]
pub mod channel;
#[cfg(not(loom))]
pub mod coroutine;
#[cfg(not(loom))]
mod io;
#[cfg(all(not(loom), feature = "monkey", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod monkey;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
pub mod queue;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod shm;
#[cfg(not(loom))]
pub mod sync;
#[cfg(not(loom))]
pub mod thread;
#[cfg(not(loom))]
pub mod time;

#[cfg(not(loom))]
#[doc(inline)]
pub use coroutine::{
    Builder, JoinError, JoinHandle, block_on, current, is_coroutine, join_all, park, park_timeout, scope,
    shield, sleep, spawn, timeout, yield_now,
};
#[cfg(not(loom))]
pub use process::pool::{AnyPool as Pool, Pending};
#[cfg(not(loom))]
#[doc(inline)]
pub use runtime::Runtime;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
