//! Channels: a drop-in for `crossbeam-channel`, for coroutines and plain threads.
//!
//! Reading order: `base::ring`, `base::list`, `queue::gate` (how one side waits), `queue::core`; then `zero`
//! (capacity zero), `flavour` (which of them a channel is), `ends`, `make`; then `case` (one operation of a
//! select), `select`, `selected`, `macros` (the grammar of `select!`).
//!
//! # Examples
//! ```
//! use ropewalk::channel::{after, bounded, select};
//! use std::time::Duration;
//!
//! let (sender, receiver) = bounded(0);
//! ropewalk::spawn(move || sender.send("a word"));
//! let heard = select! {
//!     recv(receiver) -> word => word.unwrap(),
//!     recv(after(Duration::from_secs(60))) -> _ => "nothing",
//! };
//! assert_eq!(heard, "a word");
//! ```

mod case;
mod ends;
mod error;
mod flavour;
mod iter;
mod macros;
mod make;
mod select;
mod selected;
mod zero;

pub use crate::{select, select_biased};
pub use ends::{Receiver, Sender};
pub use error::{
    ReadyTimeoutError, RecvError, RecvTimeoutError, SelectTimeoutError, SendError, SendTimeoutError,
    TryReadyError, TryRecvError, TrySelectError, TrySendError,
};
pub use iter::{IntoIter, Iter, TryIter};
pub use make::{after, at, bounded, never, tick, unbounded};
pub use select::Select;
pub use selected::SelectedOperation;
