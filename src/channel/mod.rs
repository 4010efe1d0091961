//! Channels: a drop-in for `crossbeam-channel`, for coroutines and plain threads.
//!
//! Reading order: `base::ring`, `queue::gate`, `queue::core`, then `zero` (capacity zero), `ends`.

mod case;
mod ends;
mod error;
mod flavour;
mod iter;
mod macros;
mod select;
mod zero;

pub use crate::{select, select_biased};
pub use ends::{Receiver, Sender, after, at, bounded, never, tick, unbounded};
pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError, SendTimeoutError,
    TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use select::{Select, SelectedOperation};
