//! Reservations of address space, cut into slots of one size; shared by all threads.
//!
//! Free slots are kept by number and address outside of the stacks, because a slot that goes back here
//! gives its pages to the kernel. Arenas are never unmapped: the table below is read by a signal handler.

use core::fmt;
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::io;

use super::{advice, shortage};
use crate::base::lock::Lock;
use crate::sys::memory;

/// Stacks are powers of two, from 32 KiB (or two pages, if those are more) to 1 GiB. A panic on one of 16 KiB has no
/// room for its backtrace.
const SMALLEST: u32 = 15;
const LARGEST: u32 = 30;
/// Bytes of a guard at least. Code without stack probes, such as the C library's, has frames of up to 33 KiB, which
/// would step over a guard of one page onto the stack below.
const GUARD: usize = 64 << 10;
pub(super) const CLASSES: usize = (LARGEST - SMALLEST + 1) as usize;
/// Bytes of the first reservation of a size, doubled with each further one up to the last.
const FIRST_ARENA: usize = 64 << 20;
const LAST_ARENA: usize = 8 << 30;
/// Arenas begin at the address range of a page of page tables, so that a guard mostly shares it with its stack.
pub(super) const ALIGNMENT: usize = 2 << 20;
const MOST_ARENAS: usize = 4096;
/// Slot numbers stay below this; bit 29 marks threads in the words that hold an owner.
const MOST_SLOTS: u32 = 1 << 29;

/// Why there is no stack.
#[derive(Debug)]
pub(crate) enum StackError {
    /// The size asked for cannot be.
    Size(usize),
    /// The kernel gives no address space, or no guard.
    Kernel { what: &'static str, error: io::Error },
    /// Every slot number is in use.
    Numbers,
}

impl fmt::Display for StackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(
                f,
                "a stack of {size} bytes cannot be; give {} KiB to {} MiB",
                1 << (smallest(page_size()) - 10),
                1 << (LARGEST - 20)
            ),
            Self::Kernel { what, error } => write!(
                f,
                "{what}: {error}; {} stacks are in use; raise the limit on mappings (sysctl vm.max_map_count) \
                 or on address space (ulimit -v), or ask for smaller stacks",
                stacks_in_use()
            ),
            Self::Numbers => write!(f, "{MOST_SLOTS} stacks exist; there are no numbers for more"),
        }
    }
}

impl core::error::Error for StackError {}

impl From<StackError> for io::Error {
    fn from(error: StackError) -> Self {
        let kind = match error {
            StackError::Size(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::OutOfMemory,
        };
        Self::new(kind, error.to_string())
    }
}

/// A slot without a stack on it: guarded, unless it is `bare`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// The lowest usable byte. The guard lies below it.
    pub(super) bottom: *mut u8,
    /// Bytes above the guard.
    pub(super) size: usize,
    pub(super) number: u32,
}

// SAFETY: the right to a piece of memory, which any thread may have.
unsafe impl Send for Slot {}

impl Slot {
    /// The class it belongs to.
    pub(super) fn class(&self) -> usize {
        (self.size.trailing_zeros() - SMALLEST) as usize
    }
}

#[derive(Debug)]
struct Class {
    free: Vec<Slot>,
    /// Slots whose guard the kernel has refused, to be tried again.
    bare: Vec<Slot>,
    /// The part of the newest arena that was never used.
    fresh: *mut u8,
    fresh_slots: usize,
    fresh_number: u32,
    next_arena: usize,
}

// SAFETY: the pointer is the right to unused memory.
unsafe impl Send for Class {}

static POOL: [Lock<Class>; CLASSES] = [const {
    Lock::new(Class {
        free: Vec::new(),
        bare: Vec::new(),
        fresh: core::ptr::null_mut(),
        fresh_slots: 0,
        fresh_number: 0,
        next_arena: FIRST_ARENA,
    })
}; CLASSES];

/// One reservation, as the signal handler finds it.
struct Range {
    base: AtomicPtr<u8>,
    len: AtomicUsize,
    slot_shift: AtomicU8,
}

static RANGES: [Range; MOST_ARENAS] = [const {
    Range {
        base: AtomicPtr::new(core::ptr::null_mut()),
        len: AtomicUsize::new(0),
        slot_shift: AtomicU8::new(0),
    }
}; MOST_ARENAS];
static RANGES_USED: AtomicUsize = AtomicUsize::new(0);
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(1);
/// Slots out of the pool: in use, or in a cache.
static OUT: AtomicUsize = AtomicUsize::new(0);

/// How many stacks are out of the pool: in use, or kept by a worker for the next coroutine.
pub(crate) fn stacks_in_use() -> usize {
    // Relaxed: a figure; exact when nothing runs.
    OUT.load(Ordering::Relaxed)
}

/// Bytes of a page.
#[inline]
pub(crate) fn page_size() -> usize {
    static PAGE: AtomicUsize = AtomicUsize::new(0);
    // Relaxed: every writer writes the same.
    match PAGE.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: sysconf reads a constant.
            let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
            let page = usize::try_from(page).unwrap_or(4096);
            PAGE.store(page, Ordering::Relaxed);
            page
        }
        page => page,
    }
}

/// Bytes of the guard below each stack: whole pages.
#[inline]
pub(crate) fn guard_size() -> usize {
    GUARD.max(page_size())
}

/// The class that holds stacks of `size` bytes, if they can be.
pub(crate) fn check_size(size: usize) -> Result<usize, StackError> {
    if size == 0 || size > 1 << LARGEST {
        return Err(StackError::Size(size));
    }
    let shift = size.next_power_of_two().trailing_zeros().max(smallest(page_size()));
    Ok((shift - SMALLEST) as usize)
}

/// The smallest stack, as a power of two: the header's page, and another.
fn smallest(page: usize) -> u32 {
    SMALLEST.max((2 * page).trailing_zeros())
}

/// Takes one slot of a class, or of a larger one if there is no other.
pub(super) fn take(class: usize) -> Result<Slot, StackError> {
    let mut one = Vec::with_capacity(1);
    match take_many(class, 1, &mut one) {
        Ok(()) => Ok(one.pop().expect("a slot, or an error")),
        Err(error) => shortage::overcome(class).ok_or(error),
    }
}

/// Takes a free slot of at least a class, without asking the kernel.
pub(super) fn take_free(class: usize) -> Option<Slot> {
    let slot = POOL[class..].iter().find_map(|pool| pool.lock().free.pop())?;
    // Relaxed: a figure.
    OUT.fetch_add(1, Ordering::Relaxed);
    Some(slot)
}

/// Takes at least one slot of a class, and at most `most`: all used before, or all new.
pub(super) fn take_many(class: usize, most: usize, into: &mut Vec<Slot>) -> Result<(), StackError> {
    let mut pool = POOL[class].lock();
    let from = into.len();
    let used = pool.free.len().saturating_sub(most)..;
    into.extend(pool.free.drain(used));
    if into.len() == from {
        pool.cut(class, most, into)?;
        // The kernel is asked outside of the lock.
        drop(pool);
        if let Err((done, error)) = advice::guard(&into[from..]) {
            POOL[class].lock().bare.extend(into.drain(from + done..));
            if done == 0 {
                return Err(StackError::Kernel { what: "no guard for a stack", error });
            }
        }
    }
    // Relaxed: a figure.
    OUT.fetch_add(into.len() - from, Ordering::Relaxed);
    Ok(())
}

/// Takes slots of a class back, and gives their pages to the kernel.
pub(super) fn give(slots: &[Slot]) {
    let Some(first) = slots.first() else { return };
    advice::discard(slots, 0);
    POOL[first.class()].lock().free.extend_from_slice(slots);
    // Relaxed: a figure.
    OUT.fetch_sub(slots.len(), Ordering::Relaxed);
}

impl Class {
    /// Cuts at least one slot off the newest arena, and at most `most`. They have no guard yet.
    fn cut(&mut self, class: usize, most: usize, into: &mut Vec<Slot>) -> Result<(), StackError> {
        if !self.bare.is_empty() {
            let from = self.bare.len().saturating_sub(most);
            into.extend(self.bare.drain(from..));
            return Ok(());
        }
        let size = 1usize << (SMALLEST as usize + class);
        let stride = guard_size() + size;
        if self.fresh_slots == 0 {
            reserve(self, size)?;
        }
        for _ in 0..most.min(self.fresh_slots) {
            let bottom = self.fresh.wrapping_add(guard_size());
            into.push(Slot { bottom, size, number: self.fresh_number });
            self.fresh = self.fresh.wrapping_add(stride);
            self.fresh_slots -= 1;
            self.fresh_number += 1;
        }
        Ok(())
    }
}

/// Reserves the next arena of a class; a smaller one if the address space is short.
fn reserve(pool: &mut Class, size: usize) -> Result<(), StackError> {
    let stride = guard_size() + size;
    let mut len = pool.next_arena.max(stride);
    let base = loop {
        // More than is used, so that an aligned part of it can be: address space costs nothing.
        match memory::reserve(len + ALIGNMENT) {
            Ok(base) => break base,
            Err(_) if len / 2 >= stride => len /= 2,
            Err(error) => return Err(StackError::Kernel { what: "no address space for a stack", error }),
        }
    };
    let slots = len / stride;
    let number = u32::try_from(slots).ok().and_then(next_numbers);
    // Relaxed: an index of this reservation alone.
    let index = RANGES_USED.fetch_add(1, Ordering::Relaxed);
    let (Some(number), Some(range)) = (number, RANGES.get(index)) else {
        // SAFETY: reserved above, and unused.
        unsafe { memory::release(base, len + ALIGNMENT) };
        return Err(StackError::Numbers);
    };
    let base = base.map_addr(|address| address.next_multiple_of(ALIGNMENT));
    // SAFETY: reserved above.
    unsafe { memory::refuse_huge_pages(base, len) };
    // What is left over at the end belongs to no slot.
    range.len.store(slots * stride, Ordering::Relaxed);
    range.slot_shift.store(size.trailing_zeros() as u8, Ordering::Relaxed);
    // Release pairs with the Acquire in `find`: the two above are seen with it.
    range.base.store(base, Ordering::Release);
    (pool.fresh, pool.fresh_slots, pool.fresh_number) = (base, slots, number);
    pool.next_arena = (len * 2).min(LAST_ARENA);
    Ok(())
}

/// The first of `count` numbers that no slot has had; `None` if there are not so many.
pub(super) fn next_numbers(count: u32) -> Option<u32> {
    let take = |next: u32| next.checked_add(count).filter(|next| *next < MOST_SLOTS);
    // Relaxed: only the uniqueness of the numbers matters.
    NEXT_NUMBER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()
}

/// The slot in which, or in whose guard, `address` lies: its lowest usable byte and its size. For the signal handler: no lock, no allocation.
pub(crate) fn find(address: usize) -> Option<(*mut u8, usize)> {
    // Relaxed: an entry that is not written yet has a null base.
    let used = RANGES_USED.load(Ordering::Relaxed).min(MOST_ARENAS);
    RANGES[..used].iter().find_map(|range| {
        // Acquire pairs with the Release in `reserve`.
        let base = range.base.load(Ordering::Acquire);
        let offset = address.checked_sub(base.addr())?;
        // Relaxed: ordered by the Acquire above.
        if base.is_null() || offset >= range.len.load(Ordering::Relaxed) {
            return None;
        }
        let size = 1usize << range.slot_shift.load(Ordering::Relaxed);
        let slot = offset / (guard_size() + size) * (guard_size() + size);
        Some((base.wrapping_add(slot + guard_size()), size))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_stack_has_room_beside_its_header_and_a_guard_whole_pages_whatever_a_page_is() {
        for page in [4096, 16 << 10, 64 << 10] {
            let stack = 1usize << smallest(page);
            assert!(stack >= 32 << 10 && stack >= 2 * page, "a stack of {stack} bytes, a page of {page}");
            assert!(GUARD.max(page).is_multiple_of(page), "a page of {page}");
        }
        assert_eq!(1usize << smallest(4096), 32 << 10);
    }

    #[test]
    fn a_slot_is_found_by_each_address_in_it_and_in_its_guard() {
        for class in [0, 3, 6] {
            let mut slots = Vec::new();
            take_many(class, 3, &mut slots).expect("slots");
            for slot in &slots {
                let (first, last) = (slot.bottom.addr() - guard_size(), slot.bottom.addr() + slot.size - 1);
                for address in [first, slot.bottom.addr() - 1, slot.bottom.addr(), last] {
                    assert_eq!(find(address), Some((slot.bottom, slot.size)));
                }
                assert_ne!(find(first - 1), Some((slot.bottom, slot.size)));
                assert_ne!(find(last + 1), Some((slot.bottom, slot.size)));
            }
            give(&slots);
        }
    }
}
