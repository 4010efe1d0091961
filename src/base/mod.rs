//! Data structures and shared words without policy: what every other layer stands on.
//!
//! Promises nothing to users of the crate; hidden from the documentation and open only to the
//! model-checking tests. Under `cfg(loom)` this is all that is compiled, on loom's atomics.

pub mod atomic;
pub(crate) mod backoff;
#[doc(hidden)]
// Their reader is `runtime::backtrace`, where there is one.
#[cfg(all(not(loom), target_arch = "x86_64", target_pointer_width = "64"))]
mod bytes;
#[cfg(all(not(loom), target_arch = "x86_64", target_pointer_width = "64"))]
pub(crate) mod cfi;
#[doc(hidden)]
pub mod deque;
#[doc(hidden)]
pub mod event_word;
#[cfg(not(loom))]
pub(crate) mod fork;
#[doc(hidden)]
pub mod list;
#[cfg(not(loom))]
pub(crate) mod lock;
#[cfg(not(loom))]
pub(crate) mod notice;
#[cfg(not(loom))]
pub(crate) mod own_rights;
#[doc(hidden)]
pub mod owner_word;
#[doc(hidden)]
pub mod parker_word;
#[cfg(not(loom))]
pub(crate) mod plain;
#[doc(hidden)]
pub mod ring;
#[doc(hidden)]
pub mod robust_word;
#[doc(hidden)]
pub mod ticket;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod wheel;
