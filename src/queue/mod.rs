//! Queues with the verbs of Python's `queue`: put, get, task_done, join.
//!
//! Coroutines and plain threads mix freely on both sides. Values keep their order; a wait that is
//! cancelled or times out takes no value with it. Errors give the value back.
//!
//! Reading order: `base::ring` (bounded), `base::list` (without bound), `buffer` (what the three orders have in
//! common), `gate` (how one side waits), `takers` (how the other hands it a value), `core` (both sides together),
//! `tasks` (the verbs), `iter`, `error`.
//!
//! # Examples
//! ```
//! use ropewalk::queue::Queue;
//!
//! let (work, results) = (Queue::bounded(4), Queue::unbounded());
//! ropewalk::scope(|s| {
//!     for _ in 0..2 {
//!         s.spawn(|| work.iter().for_each(|n: u64| {
//!             results.put(n * n).unwrap();
//!             work.task_done();
//!         }));
//!     }
//!     (1..=10).for_each(|n| work.put(n).unwrap());
//!     work.join(); // all are done
//!     work.close();
//! });
//! assert_eq!(results.into_iter().sum::<u64>(), 385);
//! ```

pub(crate) mod buffer;
pub(crate) mod core;
mod error;
pub(crate) mod gate;
mod heap;
mod iter;
mod takers;
mod tasks;

pub use error::{Closed, GetError, PutError};
pub use iter::{IntoIter, Iter};

use buffer::{Fifo, Lifo, Ordered};
use std::panic::{RefUnwindSafe, UnwindSafe};

tasks::queue! {
    /// First in, first out. Bounded, on a ring allocated once; or unbounded.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::queue::Queue;
    ///
    /// let queue = Queue::bounded(2);
    /// ropewalk::scope(|s| {
    ///     s.spawn(|| {
    ///         (1..=10).for_each(|n| queue.put(n).unwrap());
    ///         queue.close();
    ///     });
    ///     assert_eq!(queue.iter().sum::<i32>(), 55);
    /// });
    /// ```
    Queue<T: Send>, Fifo<T>, |capacity| Fifo::new(capacity)
}

tasks::queue! {
    /// Last in, first out.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::queue::LifoQueue::unbounded();
    /// (1..=3).for_each(|n| queue.put(n).unwrap());
    /// queue.close();
    /// assert_eq!(queue.iter().collect::<Vec<_>>(), [3, 2, 1]);
    /// ```
    LifoQueue<T: Send>, Lifo<T>, |capacity| Lifo::new(capacity)
}

tasks::queue! {
    /// The smallest first; first in, first out among equals.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::queue::PriorityQueue::unbounded();
    /// [3, 1, 2].into_iter().for_each(|n| queue.put(n).unwrap());
    /// queue.close();
    /// assert_eq!(queue.iter().collect::<Vec<_>>(), [1, 2, 3]);
    /// ```
    PriorityQueue<T: Send + Ord>, Ordered<T>, |capacity| Ordered::new(capacity)
}

// Values are moved whole or not at all, so a panic leaves no queue in between.
impl<T> UnwindSafe for Queue<T> {}
impl<T> RefUnwindSafe for Queue<T> {}
impl<T> UnwindSafe for LifoQueue<T> {}
impl<T> RefUnwindSafe for LifoQueue<T> {}
impl<T> UnwindSafe for PriorityQueue<T> {}
impl<T> RefUnwindSafe for PriorityQueue<T> {}

impl<T: Send> Queue<T> {
    /// The slots of the ring that the next `get` and the next `put` will use, for pictures; `None` without
    /// bound.
    ///
    /// # Examples
    /// ```
    /// let queue = ropewalk::queue::Queue::bounded(4);
    /// (1..=3).for_each(|n| queue.put(n).unwrap());
    /// queue.get().unwrap();
    /// assert_eq!(queue.ring_ends(), Some((1, 3)));
    /// ```
    pub fn ring_ends(&self) -> Option<(usize, usize)> {
        match &self.core.buffer {
            Fifo::Bounded(ring) => Some(ring.ends()),
            Fifo::Unbounded(_) => None,
        }
    }
}
