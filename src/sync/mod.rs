//! The futex, and the whole family of locks on it.
//!
//! Coroutines and plain threads mix freely on every one: a waiting coroutine leaves its worker to
//! others, a waiting thread sleeps in the kernel. There is no poisoning; guards unlock when they are
//! dropped by a panic or a cancellation.
//!
//! Reading order: `futex`, `raw_mutex` (the word and who waits), `mutex`; the others are variations.
//!
//! # Examples
//! ```
//! use ropewalk::sync::{Mutex, WaitGroup};
//! use std::sync::Arc;
//!
//! let shared = Arc::new((Mutex::new(0), WaitGroup::new()));
//! shared.1.add(8);
//! for n in 0..8 {
//!     let shared = Arc::clone(&shared);
//!     let work = move || { *shared.0.lock() += n; shared.1.done() };
//!     if n % 2 == 0 { drop(ropewalk::spawn(work)) } else { drop(std::thread::spawn(work)) }
//! }
//! shared.1.wait();
//! assert_eq!(*shared.0.lock(), 28);
//! ```

mod barrier;
mod condvar;
mod deadlock;
mod event;
pub mod futex;
mod lazy;
mod mapped;
mod mutex;
mod once;
mod once_cell;
mod raw_mutex;
mod raw_rw_lock;
mod reentrant;
mod rw_lock;
mod semaphore;
mod wait_group;

pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use condvar::Condvar;
pub use event::Event;
pub use lazy::Lazy;
pub use mapped::MappedMutexGuard;
pub use mutex::{Mutex, MutexGuard};
pub use once::Once;
pub use once_cell::OnceCell;
pub use raw_mutex::{MutexState, NotOwner, RawMutex};
pub use reentrant::{ReentrantGuard, ReentrantMutex};
pub use rw_lock::{ReadGuard, RwLock, WriteGuard};
pub use semaphore::{Permit, Semaphore, TooManyReleases};
pub use wait_group::WaitGroup;
