//! Memory that several processes see, and what they need to share it: words to wait for, locks that outlive
//! their holders, and notice of deaths.
//!
//! Whoever has a handle of such an object can give it to another process of the same program (`process`),
//! in arguments and in messages. There are no names: the memory is gone with its last user.
//!
//! What is promised about other processes: they run this crate and reach the memory through it. One that
//! writes to the memory by other means (it would need the descriptor, and unsafe code or another program) can
//! spoil values, and make waits last, but what is read from shared memory is never used as a length, an
//! index or an address before it was checked.
//!
//! Reading order: `region`, `base::event_word`, `event`, `listener` (coroutines), `identity`, `forked`, `watch` (deaths),
//! `object` (members), `base::robust_word`, `lock`.
//!
//! # Examples
//! ```
//! use ropewalk::process::Process;
//! use ropewalk::shm::Value;
//!
//! let count = Value::new(0u32)?;
//! let add = |count: Value<u32>| { count.update(|n| n + 1); };
//! let children: Vec<_> = (0..3).map(|_| Process::spawn(add, count.clone())).collect::<Result<_, _>>()?;
//! children.into_iter().for_each(|child| child.join().unwrap());
//! assert_eq!(count.load(), 3);
//! # Ok::<(), std::io::Error>(())
//! ```

mod array;
pub(crate) mod event;
mod forked;
pub(crate) mod identity;
mod listener;
pub(crate) mod lock;
pub(crate) mod object;
pub(crate) mod pod;
pub(crate) mod region;
pub(crate) mod travel;
mod value;
mod watch;

pub use array::Array;
pub use pod::Pod;
pub use region::Region;
pub use value::Value;
