//! A binary heap that a panicking comparison leaves as it was.
//!
//! Comparing is foreign code: it may panic, and it may wait, and be cancelled there. So each operation first
//! compares, and finds where values will go, and then moves them. `std::collections::BinaryHeap` moves as it
//! compares: a pop that panics drops what it has taken out.
//!
//! Invariant I1: no value is less than its parent, the value at `(index - 1) / 2`.
#![forbid(unsafe_code)]

use core::cmp::Ordering;

/// A value with its turn among equals.
#[derive(Debug)]
struct Ranked<T> {
    value: T,
    turn: u64,
}

impl<T: Ord> Ranked<T> {
    fn compare(&self, other: &Self) -> Ordering {
        self.value.cmp(&other.value).then(self.turn.cmp(&other.turn))
    }
}

/// Values in their order, and in the order in which they came among equals.
#[derive(Debug)]
pub(super) struct Heap<T> {
    ranked: Vec<Ranked<T>>,
    turn: u64,
}

impl<T> Heap<T> {
    pub(super) const fn new() -> Self {
        Self { ranked: Vec::new(), turn: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.ranked.len()
    }
}

impl<T: Ord> Heap<T> {
    /// Puts a value in. If a comparison panics, the value is dropped, and nothing has changed.
    pub(super) fn push(&mut self, value: T) {
        let ranked = Ranked { value, turn: self.turn };
        let to = self.place_above(self.ranked.len(), &ranked);
        self.turn += 1;
        self.ranked.push(ranked);
        // No foreign code from here on: the ancestors up to `to` move down by one.
        let mut at = self.ranked.len() - 1;
        while at != to {
            self.ranked.swap(at, parent(at));
            at = parent(at);
        }
    }

    /// Takes the smallest value out. If a comparison panics, nothing has changed.
    pub(super) fn pop(&mut self) -> Option<T> {
        let last = self.ranked.len().checked_sub(1)?;
        // The last value goes on the way of the smaller children, as far down as it belongs.
        let mut leaf = 0;
        while 2 * leaf + 1 < last {
            let (left, right) = (2 * leaf + 1, 2 * leaf + 2);
            let is_right = right < last && self.ranked[right].compare(&self.ranked[left]).is_lt();
            leaf = if is_right { right } else { left };
        }
        let mut at = leaf;
        while at > 0 && self.ranked[last].compare(&self.ranked[at]).is_lt() {
            at = parent(at);
        }
        // No foreign code from here on: those above move up by one, and the first comes last.
        self.ranked.swap(last, at);
        while at > 0 {
            at = parent(at);
            self.ranked.swap(last, at);
        }
        self.ranked.pop().map(|ranked| ranked.value)
    }

    /// Takes all values out, in their order. If a comparison panics, nothing has changed.
    pub(super) fn drain(&mut self) -> Vec<T> {
        let mut order: Vec<usize> = (0..self.ranked.len()).collect();
        order.sort_unstable_by(|a, b| self.ranked[*a].compare(&self.ranked[*b]));
        // No foreign code from here on.
        let mut values: Vec<Option<T>> = self.ranked.drain(..).map(|ranked| Some(ranked.value)).collect();
        order.into_iter().filter_map(|index| values[index].take()).collect()
    }

    /// Where a value belongs that is to come in at the end, `at`.
    fn place_above(&self, mut at: usize, ranked: &Ranked<T>) -> usize {
        while at > 0 && ranked.compare(&self.ranked[parent(at)]).is_lt() {
            at = parent(at);
        }
        at
    }
}

fn parent(index: usize) -> usize {
    (index - 1) / 2
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    thread_local!(static LEFT: Cell<u32> = const { Cell::new(u32::MAX) });

    /// Compares by the first number, as often as `LEFT` says.
    #[derive(Debug, PartialEq, Eq)]
    struct Counts(u32, usize);

    impl PartialOrd for Counts {
        fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }

    impl Ord for Counts {
        fn cmp(&self, other: &Self) -> Ordering {
            LEFT.set(LEFT.get().checked_sub(1).expect("no comparison is left"));
            self.0.cmp(&other.0)
        }
    }

    fn heap_of(numbers: &[u32]) -> Heap<Counts> {
        LEFT.set(u32::MAX);
        let mut heap = Heap::new();
        numbers.iter().enumerate().for_each(|(index, number)| heap.push(Counts(*number, index)));
        heap
    }

    fn numbers() -> Vec<u32> {
        (0..40u32).map(|n| n.wrapping_mul(2_654_435_761) % 16).collect()
    }

    fn sorted(numbers: &[u32]) -> Vec<Counts> {
        let mut sorted: Vec<_> = numbers.iter().enumerate().map(|(index, n)| (*n, index)).collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(n, index)| Counts(n, index)).collect()
    }

    #[test]
    fn values_come_out_by_size_and_then_by_age() {
        let numbers = numbers();
        for count in 0..=numbers.len() {
            let mut heap = heap_of(&numbers[..count]);
            let popped: Vec<_> = core::iter::from_fn(|| heap.pop()).collect();
            assert_eq!(popped, sorted(&numbers[..count]));
            assert_eq!(heap_of(&numbers[..count]).drain(), popped);
        }
    }

    #[test]
    fn a_comparison_that_panics_at_any_point_changes_nothing() {
        let numbers = numbers();
        let operations: [fn(&mut Heap<Counts>); 3] = [
            |heap| heap.push(Counts(3, 99)),
            |heap| assert!(heap.pop().is_some()),
            |heap| drop(heap.drain()),
        ];
        for operation in operations {
            for left in 0.. {
                let mut heap = heap_of(&numbers);
                LEFT.set(left);
                if catch_unwind(AssertUnwindSafe(|| operation(&mut heap))).is_ok() {
                    assert!(left > 0, "it compares");
                    break;
                }
                LEFT.set(u32::MAX);
                assert_eq!(core::iter::from_fn(|| heap.pop()).collect::<Vec<_>>(), sorted(&numbers));
            }
        }
    }
}
