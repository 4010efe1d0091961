//! Locks and meeting points between processes, threads and coroutines, in any mix.
//!
//! Each is an object in shared memory with a handle in each process: a clone, or a handle that has travelled
//! in an argument or a message, is the same lock. A waiting coroutine leaves its worker to others.
//!
//! Whoever is killed hinders nobody: a mutex is handed on and says so, permits of a semaphore that were held
//! by guards come back, a barrier breaks, and whoever was about to be woken by the dead one looks again.
//!
//! Reading order: `shm::object`, `shm::lock`, `handle`, `mutex`; the others are variations.

mod barrier;
mod condvar;
#[cfg(test)]
mod crash;
mod event;
mod handle;
mod mutex;
mod semaphore;

pub use barrier::Barrier;
pub use condvar::Condvar;
pub use event::Event;
pub use mutex::{Mutex, MutexGuard, OwnerDied, TryLockError};
pub use semaphore::{Permit, Semaphore};
