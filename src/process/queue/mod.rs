//! A queue between processes, threads and coroutines, in any mix: a ring of bytes in shared memory.
//!
//! What holds although any process may be killed at any instruction:
//! * a message that was put is got once, in order, or is lost with the process that was getting it;
//! * one that was not put whole is never seen, and its place is free;
//! * nobody waits for what a dead process would have done; `len` is right;
//! * messages in the hands of a dead process count as done for `join`.
//!
//! Two short locks, one for each side, whose holders may die (`shm::lock`); each side moves one word, and
//! waits for one event. Messages are serialised before the lock is taken, and decoded after it is free.
//!
//! Reading order: `cursor`, `body` (memory, invariants, repair), `record`, `core`, `put`, `get`, `wires`
//! (handles in messages), `handle`, `typed`, `slices`, `in_place`.
//!
//! # Examples
//! ```
//! use ropewalk::process::{Process, Queue};
//!
//! let words = Queue::bounded(8)?;
//! let speak = |words: Queue<String>| words.put("from another process".to_owned()).unwrap();
//! let child = Process::spawn(speak, words.clone())?;
//! assert_eq!(words.get()?, "from another process");
//! child.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod core;
#[cfg(test)]
mod crash;
mod cursor;
mod error;
mod get;
mod handle;
mod in_place;
mod put;
mod record;
mod slices;
mod typed;
mod wires;

pub use error::{GetError, PutError};
pub use handle::Queue;
pub use in_place::{Message, Reserved};
