//! Processes, with the verbs of threads and coroutines.
//!
//! What crosses a process border is encoded with serde; handles in it take their descriptors along.
//!
//! Reading order: `io::passing` (descriptors beside bytes), `codec`, `fd`.

pub(crate) mod codec;
mod fd;

pub use codec::{DecodeError, EncodeError};
pub use fd::Fd;
