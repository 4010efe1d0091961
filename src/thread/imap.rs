//! Values of a pool as they are asked for: lazily, some tasks ahead.
#![forbid(unsafe_code)]

use core::fmt;
use std::collections::VecDeque;
use std::sync::Arc;

use super::task::{AsyncResult, SubmitError, TaskError};
use super::thread_pool::ThreadPool;
use crate::channel::{self, Receiver, Sender};

/// Values in the order of the items; see [`ThreadPool::imap`].
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(2);
/// let squares = pool.imap(|n: u64| n * n, 1..); // without end: values are made as they are asked for
/// assert!(squares.take(3).map(Result::unwrap).eq([1, 4, 9]));
/// ```
pub struct Imap<'a, I, T, F> {
    pool: &'a ThreadPool,
    f: Arc<F>,
    items: I,
    window: VecDeque<Result<AsyncResult<T>, SubmitError>>,
}

impl<'a, I, T, F> Imap<'a, I, T, F> {
    pub(super) fn new(pool: &'a ThreadPool, f: F, items: I) -> Self {
        Self { pool, f: Arc::new(f), items, window: VecDeque::new() }
    }
}

impl<I, T, F> Iterator for Imap<'_, I, T, F>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.window.len() < self.pool.window() {
            let Some(item) = self.items.next() else { break };
            let f = Arc::clone(&self.f);
            self.window.push_back(self.pool.apply_async(move || f(item)));
        }
        Some(self.window.pop_front()?.map_err(TaskError::from).and_then(AsyncResult::get))
    }
}

impl<I, T, F> fmt::Debug for Imap<'_, I, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("pool", &self.pool.name()).finish_non_exhaustive()
    }
}

type Ends<V> = (Sender<V>, Receiver<V>);

/// Values as they are done; see [`ThreadPool::imap_unordered`].
///
/// # Examples
/// ```
/// let pool = ropewalk::thread::ThreadPool::new(2);
/// let squares = pool.imap_unordered(|n: u64| n * n, 1..=3);
/// assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 14);
/// ```
pub struct ImapUnordered<'a, I, T, F> {
    pool: &'a ThreadPool,
    f: Arc<F>,
    items: I,
    running: usize,
    results: Ends<Result<T, TaskError>>,
}

impl<'a, I, T, F> ImapUnordered<'a, I, T, F> {
    pub(super) fn new(pool: &'a ThreadPool, f: F, items: I) -> Self {
        Self { pool, f: Arc::new(f), items, running: 0, results: channel::unbounded() }
    }
}

impl<I, T, F> Iterator for ImapUnordered<'_, I, T, F>
where
    I: Iterator,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> T + Send + Sync + 'static,
    T: Send + 'static,
{
    type Item = Result<T, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.running < self.pool.window() {
            let Some(item) = self.items.next() else { break };
            let (f, sender) = (Arc::clone(&self.f), self.results.0.clone());
            self.running += 1;
            // The iterator may be gone; then nobody wants it.
            let submitted =
                self.pool.apply_callback(move || f(item), move |result| drop(sender.send(result)));
            if let Err(error) = submitted {
                self.running -= 1;
                return Some(Err(error.into()));
            }
        }
        if self.running == 0 {
            return None;
        }
        self.running -= 1;
        let (core, results) = (&self.pool.0, &self.results.1);
        // A thread of the pool runs tasks instead of waiting for itself.
        while core.is_own_thread() && results.is_empty() && core.run_one() {}
        results.recv().ok()
    }
}

impl<I, T, F> fmt::Debug for ImapUnordered<'_, I, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").field("running", &self.running).finish_non_exhaustive()
    }
}
