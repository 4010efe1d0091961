//! Iteration over queues: as long as they are open, or over what is left.
#![forbid(unsafe_code)]

/// What an iterator asks a queue.
pub trait Source {
    /// What the queue carries.
    type Item;
    /// Waits for the next value; `None` if the queue is closed and drained.
    fn wait_next(&self) -> Option<Self::Item>;
    /// Takes the next value, if there is one.
    fn take_next(&self) -> Option<Self::Item>;
}

/// Takes values out of a queue, waiting for each, until it is closed and drained.
///
/// # Examples
/// ```
/// use ropewalk::queue::Queue;
///
/// let queue = Queue::unbounded();
/// ropewalk::scope(|s| {
///     s.spawn(|| {
///         (1..=3).for_each(|n| queue.put(n).unwrap());
///         queue.close();
///     });
///     let mut sum = 0;
///     for n in &queue {
///         sum += n;
///     }
///     assert_eq!(sum, 6);
/// });
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "an iterator does nothing until it is asked"]
pub struct Iter<'a, Q>(pub(super) &'a Q);

impl<Q: Source> Iterator for Iter<'_, Q> {
    type Item = Q::Item;

    fn next(&mut self) -> Option<Q::Item> {
        self.0.wait_next()
    }
}

/// The values that are left in a queue. Never waits: nobody else has the queue, so no more come.
///
/// # Examples
/// ```
/// let queue = ropewalk::queue::PriorityQueue::unbounded();
/// [3, 1, 2].into_iter().for_each(|n| queue.put(n).unwrap());
/// assert_eq!(queue.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
/// ```
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked"]
pub struct IntoIter<Q>(pub(super) Q);

impl<Q: Source> Iterator for IntoIter<Q> {
    type Item = Q::Item;

    fn next(&mut self) -> Option<Q::Item> {
        self.0.take_next()
    }
}

/// Gives a queue its iterators, and lets it be printed.
macro_rules! iterates {
    ($name:ident<T: $bound:ident $(+ $more:ident)?>) => {
        impl<T: $bound $(+ $more)?> $crate::queue::iter::Source for $name<T> {
            type Item = T;

            fn wait_next(&self) -> Option<T> {
                self.get().ok()
            }

            fn take_next(&self) -> Option<T> {
                self.try_get().ok()
            }
        }

        impl<'a, T: $bound $(+ $more)?> IntoIterator for &'a $name<T> {
            type Item = T;
            type IntoIter = $crate::queue::Iter<'a, $name<T>>;

            fn into_iter(self) -> Self::IntoIter {
                self.iter()
            }
        }

        impl<T: $bound $(+ $more)?> IntoIterator for $name<T> {
            type Item = T;
            type IntoIter = $crate::queue::IntoIter<$name<T>>;

            fn into_iter(self) -> Self::IntoIter {
                $crate::queue::IntoIter(self)
            }
        }

        impl<T: $bound $(+ $more)?> ::core::fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).field("closed", &self.is_closed()).finish_non_exhaustive()
            }
        }
    };
}
pub(super) use iterates;
