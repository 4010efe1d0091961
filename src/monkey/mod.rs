//! Replaced libc functions: ordinary blocking code waits like a coroutine when it runs on one.
//!
//! The functions below carry libc's names, so everything linked into the program calls them: std, other
//! crates, C code. Until [`patch_all`], and outside of coroutines always, they are the system call and
//! nothing else: one load, one branch that is not taken, one instruction. On a coroutine they try the call
//! without waiting, and where it would block they park the coroutine and let its worker run others.
//!
//! Where they do nothing but pass on: on plain threads, in signal handlers, in a child that was forked after a
//! runtime had started, and in what the runtime itself calls (it makes its system calls without libc). A cancellation or a
//! [`timeout`](crate::timeout) reaches a coroutine in a replaced call as `ECANCELED`, never as an unwinding
//! through foreign frames; the next wait of this crate's own delivers it.
//!
//! What differs from libc: `pthread_cancel` does not end a replaced call, on any thread; a signal whose handler
//! runs on the worker does not end a parked call with `EINTR`, because there is no telling which of the worker's
//! calls it was sent to; closing a descriptor ends the calls that wait on it with `EBADF`; `vfork` is `fork`.
//!
//! A lock of C's is waited for inside of libc, and keeps the worker; only a normal mutex that another coroutine of the
//! worker holds is not (`c_lock`). [`report_blocking`] tells of the others. What else is not replaced, and why, is in the
//! README.
//!
//! Reading order: `gate` (when a call waits like a coroutine), `hook` (what a replaced function looks like),
//! `symbols` (all of them, and what they counted), `patch`, `self_test`; then `slot` (what is known of a
//! descriptor), `wait`, and a file for each family of calls. `slipped` is how to find what comes by none of them.
//!
//! # Examples
//! ```
//! use ropewalk::monkey;
//! use std::time::{Duration, Instant};
//!
//! monkey::patch_all()?;
//! let began = Instant::now();
//! ropewalk::join_all((0..100).map(|_| ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(50)))));
//! assert!(began.elapsed() < Duration::from_secs(2), "one after the other: five seconds");
//! # Ok::<(), monkey::PatchError>(())
//! ```

mod accept;
mod ask;
mod between;
mod by_name;
mod c_lock;
mod cached_name;
mod child;
mod connect;
mod descriptor;
mod devices;
mod epoll;
mod errno;
mod file;
mod file_system;
mod files;
mod fortified;
mod from_handler;
mod futex;
mod futex_op;
mod gate;
mod hook;
mod inner;
mod kind;
mod lent;
mod loader;
mod made;
mod message;
mod message_call;
mod message_part;
mod message_queue;
mod names;
mod offload;
mod old_names;
mod parker;
mod patch;
mod poll;
mod position;
mod ready;
mod real;
mod record_lock;
mod rights;
mod self_test;
mod shared_listener;
mod signal;
mod slipped;
mod slot;
mod spawn;
mod status;
mod stream;
mod symbols;
mod syscall;
mod thread;
mod thread_state;
mod time;
mod tried_again;
mod turn;
mod vectors;
mod wait;

pub use patch::{Patch, PatchError, patch, patch_all};
pub use self_test::{SelfTest, self_test};
pub use slipped::{Slipped, report_blocking, slipped};
pub use status::{SymbolStatus, status};
