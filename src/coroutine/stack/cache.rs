//! Stacks that a worker keeps for its next coroutines: last in, first out, no lock.
#![forbid(unsafe_code)]

use super::arena::{self, CLASSES, SMALLEST};
use super::{Stack, StackError, check_size};

/// Kept at most, of each size; half of them go back to the arena when there are more.
const MOST: usize = 1024;

#[derive(Debug)]
pub(crate) struct StackCache {
    kept: [Vec<Stack>; CLASSES],
    cached: usize,
}

impl StackCache {
    pub(crate) fn new() -> Self {
        Self { kept: [const { Vec::new() }; CLASSES], cached: 0 }
    }

    /// Takes a stack of at least `size` bytes.
    #[inline]
    pub(crate) fn get(&mut self, size: usize) -> Result<Stack, StackError> {
        let class = check_size(size)?;
        if let Some(stack) = self.kept[class].pop() {
            self.cached -= 1;
            return Ok(stack);
        }
        arena::take(class).map(Stack::from_slot)
    }

    /// Keeps a stack that nobody runs on.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        let class = (stack.size().trailing_zeros() - SMALLEST) as usize;
        self.kept[class].push(stack);
        self.cached += 1;
        if self.kept[class].len() > MOST {
            self.shrink(class);
        }
    }

    #[cold]
    fn shrink(&mut self, class: usize) {
        // The oldest, which are the coldest.
        self.kept[class].drain(..MOST / 2).for_each(drop);
        self.cached -= MOST / 2;
    }

    /// How many it keeps.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self) {
        self.kept.iter_mut().for_each(Vec::clear);
        self.cached = 0;
    }
}
