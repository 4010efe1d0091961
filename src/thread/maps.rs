//! One function on many items.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::imap::{Imap, ImapUnordered};
use super::task::{AsyncResult, TaskError};
use super::thread_pool::ThreadPool;
use crate::channel;

impl ThreadPool {
    /// Runs `f` on every item, and gives the values in the order of the items.
    ///
    /// # Errors
    /// The first error in that order; the other tasks run all the same.
    pub fn map<I, T, F>(&self, f: F, items: I) -> Result<Vec<T>, TaskError>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let f = Arc::new(f);
        let submit = |item| {
            let f = Arc::clone(&f);
            self.apply_async(move || f(item))
        };
        let results = items.into_iter().map(submit).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<_> = results.into_iter().map(AsyncResult::get).collect();
        values.into_iter().collect()
    }

    /// As [`map`](Self::map), in tasks of `chunk` items: for items that are little work each.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// let doubled = pool.map_chunked(|n: u32| n * 2, 0..1000, 100).unwrap();
    /// assert!(doubled.into_iter().eq((0..1000).map(|n| n * 2)));
    /// ```
    ///
    /// # Errors
    /// The first error in that order; it fails a whole chunk, and the other chunks run all the same.
    ///
    /// # Panics
    /// For chunks of 0 items.
    pub fn map_chunked<I, T, F>(&self, f: F, items: I, chunk: usize) -> Result<Vec<T>, TaskError>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        assert!(chunk > 0, "pool '{}': chunks of 0 items would never come to an end", self.name());
        let mut items = items.into_iter();
        let chunks = core::iter::from_fn(|| {
            let chunk: Vec<I::Item> = items.by_ref().take(chunk).collect();
            (!chunk.is_empty()).then_some(chunk)
        });
        let chunks: Vec<_> = chunks.collect();
        let values = self.map(move |chunk| chunk.into_iter().map(&f).collect::<Vec<T>>(), chunks)?;
        Ok(values.into_iter().flatten().collect())
    }

    /// As [`map`](Self::map), and tells `progress` after each item how many are done, and of how many. It is
    /// called here, on the caller's thread, items in whatever order they are done.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// let mut seen = Vec::new();
    /// let values = pool.map_progress(|n: u32| n * n, 1..4, |done, of| seen.push((done, of))).unwrap();
    /// assert_eq!((values, seen), (vec![1, 4, 9], vec![(1, 3), (2, 3), (3, 3)]));
    /// ```
    ///
    /// # Errors
    /// As for `map`, when all items are done.
    pub fn map_progress<I, T, F>(
        &self,
        f: F,
        items: I,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Vec<T>, TaskError>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let (f, (sender, results)) = (Arc::new(f), channel::unbounded());
        let mut total = 0;
        for item in items {
            let (f, sender, index) = (Arc::clone(&f), sender.clone(), total);
            total += 1;
            // The caller may have been cancelled; then nobody wants it.
            self.apply_callback(move || f(item), move |result| drop(sender.send((index, result))))?;
        }
        drop(sender);
        let mut values: Vec<Option<Result<T, TaskError>>> = (0..total).map(|_| None).collect();
        for done in 1..=total {
            // A thread of the pool runs tasks instead of waiting for itself.
            while self.0.is_own_thread() && results.is_empty() && self.0.run_one() {}
            let Ok((index, result)) = results.recv() else { break };
            values[index] = Some(result);
            progress(done, total);
        }
        values.into_iter().flatten().collect()
    }

    /// As [`map`](Self::map), for a function of two arguments.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// assert_eq!(pool.starmap(|a: u32, b: u32| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
    /// assert_eq!(pool.starapply(|a: u32, b: u32| a + b, (5, 6)).unwrap(), 11);
    /// ```
    ///
    /// # Errors
    /// As for `map`.
    pub fn starmap<A, B, T, F>(
        &self,
        f: F,
        items: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Vec<T>, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        F: Fn(A, B) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        self.map(move |(a, b)| f(a, b), items)
    }

    /// Runs `f` with two arguments on a thread of the pool, and waits for its value.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub fn starapply<A, B, T, F>(&self, f: F, arguments: (A, B)) -> Result<T, TaskError>
    where
        A: Send + 'static,
        B: Send + 'static,
        F: FnOnce(A, B) -> T + Send + 'static,
        T: Send + 'static,
    {
        self.apply(move || f(arguments.0, arguments.1))
    }

    /// As [`map`](Self::map), lazily: items are taken as values are asked for, some ahead.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// // An endless supply: only as many items are taken as values are asked for, and some ahead.
    /// let squares = pool.imap(|n: u64| n * n, 0..).map(Result::unwrap);
    /// assert_eq!(squares.take(4).collect::<Vec<_>>(), [0, 1, 4, 9]);
    /// ```
    pub fn imap<I, T, F>(&self, f: F, items: I) -> Imap<'_, I::IntoIter, T, F>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        Imap::new(self, f, items.into_iter())
    }

    /// As [`imap`](Self::imap), but gives values as they are done.
    ///
    /// # Examples
    /// ```
    /// let pool = ropewalk::thread::ThreadPool::new(2);
    /// let sum: u32 = pool.imap_unordered(|n| n + 1, 0..4).map(Result::unwrap).sum();
    /// assert_eq!(sum, 10);
    /// ```
    pub fn imap_unordered<I, T, F>(&self, f: F, items: I) -> ImapUnordered<'_, I::IntoIter, T, F>
    where
        I: IntoIterator,
        I::Item: Send + 'static,
        F: Fn(I::Item) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        ImapUnordered::new(self, f, items.into_iter())
    }
}
