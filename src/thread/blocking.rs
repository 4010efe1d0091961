//! The process's own pool for calls that block.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

use crate::base::{fork, own_rights};

use super::task::AsyncResult;
use super::thread_pool::ThreadPool;

/// Threads of the pool behind [`spawn_blocking`], at most.
const BLOCKING_THREADS: usize = 512;

/// Processes, each forked from the one before, of which each uses the pool.
const MOST_FORKS: usize = 64;

/// Runs `f`, which may block its thread, on a pool of the process: up to 512 threads, started when
/// needed and ended after 10 s without work. Never waits.
///
/// `f` must give back what it changes of its thread (user, namespaces): the thread serves others afterwards. A caller
/// that has changed such things for its own thread by libc's functions gets a thread that has the same, for this call
/// alone.
///
/// # Panics
/// If no thread at all can be started.
///
/// # Examples
/// ```
/// let handle = ropewalk::spawn(|| {
///     // A call that would block the worker.
///     ropewalk::thread::spawn_blocking(|| std::fs::metadata("/").is_ok()).get().unwrap()
/// });
/// assert!(handle.join().unwrap());
/// ```
pub fn spawn_blocking<T, F>(f: F) -> AsyncResult<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if own_rights::get() != 0 {
        // A thread that is started here has these rights for ever, so it serves nobody else.
        let pool = ThreadPool::builder(1).name("blocking").finishes().build();
        return pool.apply_async(f).unwrap_or_else(|error| panic!("{error}"));
    }
    // A child that is forked has none of its parent's threads.
    static POOLS: [OnceLock<ThreadPool>; MOST_FORKS] = [const { OnceLock::new() }; MOST_FORKS];
    let generation = fork::generation() as usize;
    let pool = POOLS.get(generation - 1).expect("a line of forks is not that long");
    let pool = pool.get_or_init(|| ThreadPool::builder(BLOCKING_THREADS).name("blocking").build());
    pool.apply_async(f).unwrap_or_else(|error| panic!("{error}"))
}
