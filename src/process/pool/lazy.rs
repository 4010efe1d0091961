//! Maps that take items as values are asked for.
#![forbid(unsafe_code)]

use core::fmt;
use std::collections::VecDeque;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{SubmitError, TaskError};
use super::task::{AsyncResult, Finished};
use super::verbs::Pool;
use crate::channel::{self, Receiver, Sender};
use crate::process::call::Call;

/// Twice the workers: each has a task while the next one waits.
fn window(pool: &Pool) -> usize {
    pool.size() * 2
}

/// Values in the order of the items; see [`Pool::imap`].
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(2)?;
/// let squares = pool.imap(|n: u64| n * n, 1..); // without end: values are made as they are asked for
/// assert!(squares.take(3).map(Result::unwrap).eq([1, 4, 9]));
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct Imap<'a, I, A, R> {
    pool: &'a Pool,
    f: fn(A) -> R,
    items: I,
    window: VecDeque<Result<AsyncResult<R>, SubmitError>>,
}

impl<'a, I, A, R> Imap<'a, I, A, R> {
    pub(super) fn new(pool: &'a Pool, f: fn(A) -> R, items: I) -> Self {
        Self { pool, f, items, window: VecDeque::new() }
    }
}

impl<I, A, R> Iterator for Imap<'_, I, A, R>
where
    I: Iterator<Item = A>,
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.window.len() < window(self.pool) {
            let Some(item) = self.items.next() else { break };
            self.window.push_back(self.pool.apply_async(self.f, item));
        }
        Some(self.window.pop_front()?.map_err(TaskError::from).and_then(AsyncResult::get))
    }
}

impl<I, A, R> fmt::Debug for Imap<'_, I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("pool", &self.pool.name()).finish_non_exhaustive()
    }
}

/// Values as they are done; see [`Pool::imap_unordered`].
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(2)?;
/// let squares = pool.imap_unordered(|n: u64| n * n, 1..=3);
/// assert_eq!(squares.map(Result::unwrap).sum::<u64>(), 14);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct ImapUnordered<'a, I, A, R> {
    pool: &'a Pool,
    f: fn(A) -> R,
    items: I,
    running: usize,
    results: (Sender<Finished>, Receiver<Finished>),
}

impl<'a, I, A, R> ImapUnordered<'a, I, A, R> {
    pub(super) fn new(pool: &'a Pool, f: fn(A) -> R, items: I) -> Self {
        Self { pool, f, items, running: 0, results: channel::unbounded() }
    }
}

impl<I, A, R> Iterator for ImapUnordered<'_, I, A, R>
where
    I: Iterator<Item = A>,
    A: Serialize + DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.running < window(self.pool) {
            let Some(item) = self.items.next() else { break };
            let sender = self.results.0.clone();
            let end = move |finished| {
                // The iterator may be gone; then nobody wants it.
                let _ = sender.send(finished);
            };
            let call = Call::new(self.f).map_err(SubmitError::from);
            if let Err(error) = call.and_then(|call| self.pool.submit_quick(call, &item, end)) {
                return Some(Err(error.into()));
            }
            self.running += 1;
        }
        if self.running == 0 {
            return None;
        }
        self.running -= 1;
        self.results.1.recv().ok().map(Finished::value)
    }
}

impl<I, A, R> fmt::Debug for ImapUnordered<'_, I, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").field("running", &self.running).finish_non_exhaustive()
    }
}
