//! Stacks that a worker keeps for its next coroutines: last in, first out, no lock.
//!
//! ```text
//! kept   [ flat … │ not needed lately … │ in use on and off … ]  ◀─ get, put
//!        0        flat                  lowest               len
//! ```
//!
//! A stack that comes back may have been deep, and nobody can tell: a probe of its pages is a system call
//! each. So those are made flat, to their top page, that were not needed for a while: the ones below the
//! lowest mark since the last look, every `LOOK` stacks put back; and all of them when the worker has
//! rested (see `idle`). Hot stacks keep their pages, cold ones cost one page, and a vector of them one
//! system call.
#![forbid(unsafe_code)]

use super::advice::{self, MOST as VECTOR};
use super::arena::{self, ALIGNMENT, CLASSES, Slot, page_size};
use super::{Stack, StackError, check_size, shortage};

/// Kept at most, of each size; half of them go back to the arena when there are more.
const MOST: usize = 1024;
/// Stacks put back between two looks: at 0.2 µs for each cold one, under a nanosecond a stack.
const LOOK: usize = 4096;

#[derive(Debug)]
pub(crate) struct StackCache {
    shelves: [Shelf; CLASSES],
    cached: usize,
    /// The last shortage that it has given its stacks back for.
    answered: u32,
}

/// The stacks of one size.
#[derive(Debug)]
struct Shelf {
    kept: Vec<Stack>,
    /// Guarded slots that nobody has touched: no memory but their share of page tables.
    fresh: Vec<Slot>,
    /// How many to take from the arena when there are none.
    batch: usize,
    /// So many of `kept`, from the first on, have but their top page, if they were not needed since.
    flat: usize,
    /// The fewest that were kept since the last look.
    lowest: usize,
    /// Stacks to be put back before the next look.
    until_look: usize,
}

impl Shelf {
    const EMPTY: Self =
        Self { kept: Vec::new(), fresh: Vec::new(), batch: 0, flat: 0, lowest: 0, until_look: LOOK };

    /// Makes the first `count` stacks flat.
    fn flatten(&mut self, count: usize) {
        let flat = self.flat.min(self.lowest);
        for chunk in self.kept[flat.min(count)..count].chunks(VECTOR) {
            let mut slots = Vec::with_capacity(VECTOR);
            slots.extend(chunk.iter().map(Stack::slot));
            advice::discard(&slots, page_size());
        }
        self.flat = count;
        self.lowest = self.kept.len();
    }

    fn is_flat(&self) -> bool {
        self.flat.min(self.lowest) == self.kept.len()
    }

    #[cold]
    fn look(&mut self) {
        self.until_look = LOOK;
        self.flatten(self.lowest);
    }

    /// Takes a slot that is new to this worker.
    fn get_new(&mut self, class: usize) -> Result<Stack, StackError> {
        if self.fresh.is_empty() {
            // At once, so that no coroutine that ends has to allocate; pages of it are touched as they are used.
            self.kept.reserve(MOST + 1);
            let batch = if shortage::is_strict() { 1 } else { self.batch.max(1) };
            arena::take_many(class, batch, &mut self.fresh)?;
            let size = self.fresh[0].size;
            // At first as many as share a page of page tables, then as many as one call takes.
            self.batch = (self.batch * 8).clamp((ALIGNMENT / size).clamp(1, VECTOR), VECTOR);
        }
        Ok(Stack::from_slot(self.fresh.pop().expect("taken just now")))
    }

    /// Gives the oldest, which are the coldest, back to the arena.
    #[cold]
    fn shrink(&mut self, count: usize) {
        let slots: Vec<_> = self.kept.drain(..count).map(Stack::into_slot).collect();
        arena::give(&slots);
        self.flat = self.flat.saturating_sub(count);
        self.lowest = self.lowest.saturating_sub(count);
    }
}

impl StackCache {
    pub(crate) fn new() -> Self {
        Self { shelves: [const { Shelf::EMPTY }; CLASSES], cached: 0, answered: shortage::asked() }
    }

    /// Takes a stack of at least `size` bytes.
    #[inline]
    pub(crate) fn get(&mut self, size: usize) -> Result<Stack, StackError> {
        let class = check_size(size)?;
        let shelf = &mut self.shelves[class];
        let Some(stack) = shelf.kept.pop() else {
            return shelf.get_new(class).or_else(|error| self.get_from_others(class, error));
        };
        shelf.lowest = shelf.lowest.min(shelf.kept.len());
        self.cached -= 1;
        Ok(stack)
    }

    /// The kernel has no more: takes what other caches keep, or this one for other sizes.
    #[cold]
    fn get_from_others(&mut self, class: usize, error: StackError) -> Result<Stack, StackError> {
        self.clear();
        shortage::overcome(class).map(Stack::from_slot).ok_or(error)
    }

    /// Tells whether somebody needs what it keeps.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        self.answered != shortage::asked()
    }

    /// Gives all back, because somebody needs it.
    #[cold]
    pub(crate) fn answer(&mut self) {
        self.answered = shortage::asked();
        self.clear();
    }

    /// Keeps a stack that nobody runs on.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        if shortage::is_strict() {
            shortage::count();
            return drop(stack);
        }
        let shelf = &mut self.shelves[stack.class()];
        shelf.kept.push(stack);
        self.cached += 1;
        shelf.until_look -= 1;
        if shelf.until_look == 0 {
            shelf.look();
        }
        if shelf.kept.len() > MOST {
            shelf.shrink(MOST / 2);
            self.cached -= MOST / 2;
        }
    }

    /// How many it keeps.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Tells whether every stack has but its top page.
    pub(crate) fn is_flat(&self) -> bool {
        self.shelves.iter().all(Shelf::is_flat)
    }

    /// Gives the kernel all memory below the top pages.
    pub(crate) fn flatten(&mut self) {
        self.shelves.iter_mut().for_each(|shelf| shelf.flatten(shelf.kept.len()));
    }

    /// Gives all back.
    pub(crate) fn clear(&mut self) {
        for shelf in &mut self.shelves {
            shelf.shrink(shelf.kept.len());
            arena::give(&core::mem::take(&mut shelf.fresh));
        }
        self.cached = 0;
    }
}
