//! Where a queue keeps its values: the ring, or something behind a short lock.
#![forbid(unsafe_code)]

use std::collections::{BinaryHeap, VecDeque};

use super::core::PutFailed;
use crate::base::lock::Lock;
use crate::base::ring::{PushError, Ring};
use crate::sync::Mutex;

/// A store of values that never waits.
pub(crate) trait Buffer<T> {
    /// Stores a value, or gives it back if there is no room or the store is closed.
    fn push(&self, value: T) -> Result<(), PutFailed<T>>;
    /// Takes the next value.
    fn pop(&self) -> Option<T>;
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

/// First in, first out: the ring if bounded.
#[derive(Debug)]
pub(crate) enum Fifo<T> {
    Bounded(Box<Ring<T>>),
    Unbounded(Lock<Store<VecDeque<T>>>),
}

impl<T> Fifo<T> {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        match capacity {
            Some(capacity) => Self::Bounded(Box::new(Ring::new(capacity))),
            None => Self::Unbounded(Lock::new(Store { values: VecDeque::new(), closed: false })),
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
            Self::Unbounded(store) => {
                let mut store = store.lock();
                if store.closed {
                    return Err(PutFailed::Closed(value));
                }
                store.values.push_back(value);
                Ok(())
            }
        }
    }

    #[inline]
    fn pop(&self) -> Option<T> {
        match self {
            Self::Bounded(ring) => ring.pop(),
            Self::Unbounded(store) => store.lock().values.pop_front(),
        }
    }

    fn close(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.close(),
            Self::Unbounded(store) => !core::mem::replace(&mut store.lock().closed, true),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_closed(),
            Self::Unbounded(store) => store.lock().closed,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Bounded(ring) => ring.len(),
            Self::Unbounded(store) => store.lock().values.len(),
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        match self {
            Self::Bounded(ring) => ring.is_empty(),
            Self::Unbounded(store) => store.lock().values.is_empty(),
        }
    }

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

/// A value with its turn among equals.
#[derive(Debug)]
struct Ranked<T> {
    value: T,
    turn: u64,
}

impl<T: Ord> Ord for Ranked<T> {
    /// The heap takes the greatest out first: the smallest value, and the earliest among equals.
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        other.value.cmp(&self.value).then(other.turn.cmp(&self.turn))
    }
}

impl<T: Ord> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Ord> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T: Ord> Eq for Ranked<T> {}

/// The smallest first; first in, first out among equals.
///
/// Behind the crate's mutex, not the short lock: comparing is user code.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    store: Mutex<Store<Heap<T>>>,
    capacity: Option<usize>,
}

#[derive(Debug)]
struct Heap<T> {
    ranked: BinaryHeap<Ranked<T>>,
    turn: u64,
}

impl<T: Ord> Ordered<T> {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        let values = Heap { ranked: BinaryHeap::new(), turn: 0 };
        Self { store: Mutex::new(Store { values, closed: false }), capacity }
    }
}

impl<T: Ord> Buffer<T> for Ordered<T> {
    fn push(&self, value: T) -> Result<(), PutFailed<T>> {
        let mut store = self.store.lock();
        if store.closed {
            return Err(PutFailed::Closed(value));
        }
        let heap = &mut store.values;
        if self.capacity.is_some_and(|capacity| heap.ranked.len() >= capacity) {
            return Err(PutFailed::Full(value));
        }
        heap.turn += 1;
        heap.ranked.push(Ranked { value, turn: heap.turn });
        Ok(())
    }

    fn pop(&self) -> Option<T> {
        self.store.lock().values.ranked.pop().map(|ranked| ranked.value)
    }

    fn close(&self) -> bool {
        !core::mem::replace(&mut self.store.lock().closed, true)
    }

    fn is_closed(&self) -> bool {
        self.store.lock().closed
    }

    fn len(&self) -> usize {
        self.store.lock().values.ranked.len()
    }

    fn capacity(&self) -> Option<usize> {
        self.capacity
    }
}
