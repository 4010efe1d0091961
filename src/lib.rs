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

// On any other system, this is to be the only error: each module below is left out there.
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("ropewalk supports Linux on x86-64 and on aarch64 (glibc or musl), and nothing else");

#[doc(hidden)]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod base;
#[doc(hidden)]
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod sys;

#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod channel;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod coroutine;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod guide;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod io;
#[cfg(all(
    not(loom),
    feature = "monkey",
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub mod monkey;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod net;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod process;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod queue;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod runtime;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod shm;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod sync;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod thread;
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod time;

#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[doc(inline)]
pub use coroutine::{
    Builder, JoinError, JoinHandle, block_on, current, is_coroutine, join_all, nursery, park, park_timeout,
    scope, shield, sleep, spawn, timeout, yield_now,
};
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub use process::pool::{AnyPool as Pool, Pending};
#[cfg(all(not(loom), target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#[doc(inline)]
pub use runtime::Runtime;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
