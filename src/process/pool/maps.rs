//! One function on many items.
#![forbid(unsafe_code)]

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{SubmitError, TaskError};
use super::lazy::{Imap, ImapUnordered};
use super::task::AsyncResult;
use super::verbs::Pool;
use crate::channel;
use crate::process::call::Call;

impl Pool {
    /// Runs `f` on every item, and gives the values in the order of the items. Items go to the workers in
    /// chunks, four for each worker.
    ///
    /// # Errors
    /// The first error in that order; it fails a whole chunk, and the other chunks run all the same.
    pub fn map<A, R>(&self, f: fn(A) -> R, items: impl IntoIterator<Item = A>) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items: Vec<A> = items.into_iter().collect();
        let chunk = self.chunk(items.len());
        self.map_chunked(f, items, chunk)
    }

    /// As [`map`](Self::map), with chunks of `chunk` items. With 1, a death loses one item only.
    ///
    /// # Errors
    /// As for `map`.
    ///
    /// # Panics
    /// For chunks of 0 items.
    pub fn map_chunked<A, R>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        chunk: usize,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let call = Call::each(f).map_err(SubmitError::from)?;
        self.in_chunks(call, items.into_iter().collect(), chunk)
    }

    /// As [`map`](Self::map), for a function of two arguments.
    ///
    /// # Errors
    /// As for `map`.
    pub fn starmap<A, B, R>(
        &self,
        f: fn(A, B) -> R,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items: Vec<(A, B)> = items.into_iter().collect();
        let chunk = self.chunk(items.len());
        self.in_chunks(Call::star_each(f).map_err(SubmitError::from)?, items, chunk)
    }

    /// Runs `f` with two arguments in a worker, and waits for its value.
    ///
    /// # Errors
    /// [`TaskError`] if there is no value.
    pub fn starapply<A, B, R>(&self, f: fn(A, B) -> R, arguments: (A, B)) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned,
        B: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit(Call::star(f).map_err(SubmitError::from)?, &arguments)?.get()
    }

    /// As [`map`](Self::map), and tells `progress` after each chunk how many items are done, and of how many. It is
    /// called here, on the caller's thread, chunks in whatever order they are done.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::process::Pool::new(2)?;
    /// let mut last = (0, 0);
    /// let values = pool.map_progress(|n: u32| n * n, 0..100, |done, of| last = (done, of)).unwrap();
    /// assert_eq!((values[99], last), (99 * 99, (100, 100)));
    /// # Ok::<(), ropewalk::process::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// As for `map`, when all chunks are done.
    pub fn map_progress<A, R>(
        &self,
        f: fn(A) -> R,
        items: impl IntoIterator<Item = A>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<R>, TaskError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let items: Vec<A> = items.into_iter().collect();
        let call = Call::each(f).map_err(SubmitError::from)?;
        let chunks: Vec<&[A]> = items.chunks(self.chunk(items.len())).collect();
        let (sender, results) = channel::unbounded();
        for (index, chunk) in chunks.iter().enumerate() {
            let sender = sender.clone();
            // The caller may have been cancelled; then nobody wants it.
            self.submit_quick(call, *chunk, move |finished| drop(sender.send((index, finished))))?;
        }
        drop(sender);
        let mut values: Vec<Option<Result<Vec<R>, TaskError>>> = chunks.iter().map(|_| None).collect();
        let mut done = 0;
        for (index, finished) in results {
            values[index] = Some(finished.value());
            done += chunks[index].len();
            progress(done, items.len());
        }
        together(values.into_iter().flatten(), items.len())
    }

    /// The items of a chunk: four chunks for each worker.
    fn chunk(&self, items: usize) -> usize {
        items.div_ceil(4 * self.size()).max(1)
    }

    fn in_chunks<A, R>(&self, call: Call, items: Vec<A>, chunk: usize) -> Result<Vec<R>, TaskError>
    where
        A: Serialize,
        R: DeserializeOwned,
    {
        assert!(chunk > 0, "pool '{}': chunks of 0 items would never come to an end", self.name());
        let submit = |chunk: &[A]| self.submit::<[A], Vec<R>>(call, chunk);
        let chunks = items.chunks(chunk).map(submit).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<_> = chunks.into_iter().map(AsyncResult::get).collect();
        together(values, items.len())
    }

    /// As [`map`](Self::map), lazily and one by one: items are taken as values are asked for, some ahead.
    pub fn imap<A, R, I>(&self, f: fn(A) -> R, items: I) -> Imap<'_, I::IntoIter, A, R>
    where
        I: IntoIterator<Item = A>,
    {
        Imap::new(self, f, items.into_iter())
    }

    /// As [`imap`](Self::imap), but gives values as they are done.
    pub fn imap_unordered<A, R, I>(&self, f: fn(A) -> R, items: I) -> ImapUnordered<'_, I::IntoIter, A, R>
    where
        I: IntoIterator<Item = A>,
    {
        ImapUnordered::new(self, f, items.into_iter())
    }
}

/// The values of all chunks, or the first error.
fn together<R>(
    chunks: impl IntoIterator<Item = Result<Vec<R>, TaskError>>,
    count: usize,
) -> Result<Vec<R>, TaskError> {
    let mut all = Vec::with_capacity(count);
    for chunk in chunks {
        all.extend(chunk?);
    }
    Ok(all)
}
