//! Where a queue keeps its values: the ring, the list of blocks, or something behind a lock.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::core::PutFailed;
use super::heap::Heap;
use crate::base::list::List;
use crate::base::lock::Lock;
use crate::base::ring::{PushError, Ring};
use crate::runtime::shield::Shield;
use crate::sync::{Mutex, MutexGuard};

/// A store of values that never waits.
///
/// Where `push`, `pop` and `drain` run foreign code, which may unwind, they have then changed nothing.
///
/// `is_empty`, `is_full` and `is_closed` are asked under a short lock, so they are loads, and SeqCst, as
/// are the exchanges (or stores) by which `push`, `pop` and `close` change what they say: see `gate`.
pub(crate) trait Buffer<T> {
    /// Stores a value, or gives it back if there is no room or the store is closed.
    fn push(&self, value: T) -> Result<(), PutFailed<T>>;
    /// Takes the next value.
    fn pop(&self) -> Option<T>;
    /// Takes all that is there.
    fn drain(&self) -> Vec<T> {
        core::iter::from_fn(|| self.pop()).collect()
    }
    /// Lets no more values in; true for the first caller.
    fn close(&self) -> bool;
    fn is_closed(&self) -> bool;
    /// How many values are there.
    fn len(&self) -> usize;
    /// How many fit; `None` without bound.
    fn capacity(&self) -> Option<usize>;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn is_full(&self) -> bool {
        self.capacity().is_some_and(|capacity| self.len() >= capacity)
    }
}

/// Behind the short lock: values in some order, and whether it is closed.
#[derive(Debug, Default)]
pub(crate) struct Store<C> {
    values: C,
    closed: bool,
}

/// First in, first out: the ring if bounded, otherwise the list of blocks.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a queue is allocated once, and the ring is worth it")]
pub(crate) enum Fifo<T> {
    Bounded(Ring<T>),
    Unbounded(Box<List<T>>),
}

impl<T> Fifo<T> {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        match capacity {
            Some(capacity) => Self::Bounded(Ring::new(capacity)),
            None => Self::Unbounded(Box::default()),
        }
    }
}

impl<T> Buffer<T> for Fifo<T> {
    #[inline]
    fn push(&self, value: T) -> Result<(), PutFailed<T>> {
        match self {
            Self::Bounded(ring) => ring.push(value).map_err(|error| match error {
                PushError::Full(value) => PutFailed::Full(value),
                PushError::Closed(value) => PutFailed::Closed(value),
            }),
            Self::Unbounded(list) => list.push(value).map_err(PutFailed::Closed),
        }
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        match self {
            Self::Bounded(ring) => ring.pop(),
            Self::Unbounded(list) => list.pop(),
        }
    }

    fn close(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.close(),
            Self::Unbounded(list) => list.close(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_closed(),
            Self::Unbounded(list) => list.is_closed(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bounded(ring) => ring.len(),
            Self::Unbounded(list) => list.len(),
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_empty(),
            Self::Unbounded(list) => list.is_empty(),
        }
    }

    #[inline]
    fn is_full(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_full(),
            Self::Unbounded(_) => false,
        }
    }

    #[inline]
    fn capacity(&self) -> Option<usize> {
        match self {
            Self::Bounded(ring) => Some(ring.capacity()),
            Self::Unbounded(_) => None,
        }
    }
}

/// Last in, first out.
#[derive(Debug)]
pub(crate) struct Lifo<T> {
    store: Lock<Store<Vec<T>>>,
    capacity: Option<usize>,
}

impl<T> Lifo<T> {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        Self { store: Lock::new(Store { values: Vec::new(), closed: false }), capacity }
    }
}

impl<T> Buffer<T> for Lifo<T> {
    fn push(&self, value: T) -> Result<(), PutFailed<T>> {
        let mut store = self.store.lock();
        if store.closed {
            return Err(PutFailed::Closed(value));
        }
        if self.capacity.is_some_and(|capacity| store.values.len() >= capacity) {
            return Err(PutFailed::Full(value));
        }
        store.values.push(value);
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        self.store.lock().values.pop()
    }

    fn close(&self) -> bool {
        !core::mem::replace(&mut self.store.lock().closed, true)
    }

    fn is_closed(&self) -> bool {
        self.store.lock().closed
    }

    fn len(&self) -> usize {
        self.store.lock().values.len()
    }

    fn capacity(&self) -> Option<usize> {
        self.capacity
    }
}

/// The smallest first; first in, first out among equals.
///
/// Behind the crate's mutex, not the short lock: comparing is user code. Length and end are kept beside it,
/// because they are asked for where nobody may wait.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    store: Mutex<Heap<T>>,
    /// Written with the store locked.
    len: AtomicUsize,
    closed: AtomicBool,
    capacity: Option<usize>,
}

impl<T: Ord> Ordered<T> {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        Self {
            store: Mutex::new(Heap::new()),
            len: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            capacity,
        }
    }

    /// Not a cancellation point: whoever has the lock compares values, and is done soon.
    fn locked(&self) -> MutexGuard<'_, Heap<T>> {
        let _shield = Shield::new();
        self.store.lock()
    }

    /// Does something to the heap, and keeps its length beside it even if a comparison panics.
    fn change<R>(&self, f: impl FnOnce(&mut Heap<T>) -> R) -> R {
        struct Count<'a, T>(MutexGuard<'a, Heap<T>>, &'a AtomicUsize);
        impl<T> Drop for Count<'_, T> {
            fn drop(&mut self) {
                self.1.store(self.0.len(), Ordering::SeqCst);
            }
        }
        f(&mut Count(self.locked(), &self.len).0)
    }
}

impl<T: Ord> Buffer<T> for Ordered<T> {
    fn push(&self, value: T) -> Result<(), PutFailed<T>> {
        self.change(|heap| {
            if self.is_closed() {
                return Err(PutFailed::Closed(value));
            }
            if self.capacity.is_some_and(|capacity| heap.len() >= capacity) {
                return Err(PutFailed::Full(value));
            }
            heap.push(value);
            Ok(())
        })
    }

    fn pop(&self) -> Option<T> {
        self.change(Heap::pop)
    }

    fn drain(&self) -> Vec<T> {
        self.change(Heap::drain)
    }

    fn close(&self) -> bool {
        // With the store locked, so that no push is in the middle.
        self.change(|_| !self.closed.swap(true, Ordering::SeqCst))
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    fn capacity(&self) -> Option<usize> {
        self.capacity
    }
}
