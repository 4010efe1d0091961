//! One stack in use: a slot of an arena, known by the header at its top.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use super::arena::{self, Slot};
use super::{StackError, check_size};

/// Colours, and bytes between them.
const COLOURS: usize = 16;
const COLOUR_STEP: usize = 64;

/// At the very top of a slot in use. The overflow report reads it, from a signal handler.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Header {
    /// Bytes of the slot, without its guard.
    size: usize,
    /// Number of the slot, unique in the process.
    pub(crate) number: u32,
    colour: u32,
    /// The coroutine on it.
    pub(crate) id: u64,
    /// Its name; null without one.
    pub(crate) name: *const u8,
    pub(crate) name_len: usize,
    /// Where the link of its coroutine is, if that is resumed by hand; otherwise null.
    pub(super) link: *const *const (),
    /// Shields on this stack, if so; see `nest`.
    pub(super) shields: u32,
}

/// A stack: the exclusive right to a slot. Dropping it gives the slot back.
pub(crate) struct Stack(NonNull<Header>);

// SAFETY: the right to a piece of memory, which any thread may have.
unsafe impl Send for Stack {}

impl Stack {
    /// Takes a slot of at least `size` bytes.
    pub(crate) fn allocate(size: usize) -> Result<Self, StackError> {
        let class = check_size(size)?;
        Ok(Self::from_slot(arena::take(class)?))
    }

    /// Puts a header on a free slot.
    pub(super) fn from_slot(slot: Slot) -> Self {
        let header = Self::header_of(slot.bottom, slot.size);
        let colour = slot.number % COLOURS as u32;
        let (size, number) = (slot.size, slot.number);
        let (name, link) = (core::ptr::null(), core::ptr::null());
        let fresh = Header { size, number, colour, id: 0, name, name_len: 0, link, shields: 0 };
        // SAFETY: the slot is owned, and its top page is writable.
        unsafe { header.write(fresh) };
        // SAFETY: it lies inside a mapping, so it is not null.
        Self(unsafe { NonNull::new_unchecked(header) })
    }

    /// Where the header of a slot lies.
    pub(crate) fn header_of(bottom: *mut u8, size: usize) -> *mut Header {
        bottom.wrapping_add(size).cast::<Header>().wrapping_sub(1)
    }

    fn header(&self) -> &Header {
        // SAFETY: written in `from_slot`; changed by `label` alone, which takes no reference.
        unsafe { self.0.as_ref() }
    }

    /// The slot, without the right to it.
    pub(super) fn slot(&self) -> Slot {
        let header = self.header();
        let bottom = self.0.as_ptr().wrapping_add(1).cast::<u8>().wrapping_sub(header.size);
        Slot { bottom, size: header.size, number: header.number }
    }

    /// Gives the stack up, for its slot.
    pub(super) fn into_slot(self) -> Slot {
        ManuallyDrop::new(self).slot()
    }

    /// The first byte above the usable part; 64-byte aligned.
    #[inline]
    pub(crate) fn top(&self) -> *mut u8 {
        let colour = self.header().colour as usize;
        self.0.as_ptr().cast::<u8>().wrapping_sub(colour * COLOUR_STEP)
    }

    /// The lowest usable byte, just above the guard.
    pub(crate) fn bottom(&self) -> *mut u8 {
        self.slot().bottom
    }

    /// Bytes of the slot, without its guard.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.header().size
    }

    /// The class of its size.
    #[inline]
    pub(super) fn class(&self) -> usize {
        self.slot().class()
    }

    /// The number of the slot: unique among living stacks, 1 .. 2^29.
    #[inline]
    pub(crate) fn party(&self) -> u32 {
        self.header().number
    }

    /// Says who runs on the stack, for the overflow report. The name must live as long as they do.
    #[inline]
    pub(crate) fn label(&self, id: u64, name: Option<&str>) {
        let header = self.0.as_ptr();
        // SAFETY: the header is owned; plain stores that only this thread's signal handler reads.
        unsafe { (*header).id = id };
        if let Some(name) = name {
            // SAFETY: as above.
            unsafe { (*header).name = name.as_ptr() };
            // SAFETY: as above.
            unsafe { (*header).name_len = name.len() };
        } else {
            // SAFETY: as above.
            unsafe { (*header).name = core::ptr::null() };
        }
    }
}

impl Stack {
    /// Says where the link of the coroutine on the stack is, which is resumed by hand: one word, and while it
    /// runs an address on its resumer's stack.
    ///
    /// # Safety
    /// * It stays there as long as the coroutine lives.
    pub(crate) unsafe fn nest(&self, link: *const *const ()) {
        // SAFETY: the header is owned, and nobody looks at it before the coroutine runs.
        unsafe { (*self.0.as_ptr()).link = link };
    }

    /// Takes a new number for the slot, because the old one is still in use. `None` if there is none; then the
    /// slot is lost.
    #[cold]
    pub(crate) fn renumber(self) -> Option<Self> {
        match arena::next_numbers(1) {
            Some(number) => {
                // SAFETY: the header is owned, and nobody runs on the stack.
                unsafe { (*self.0.as_ptr()).number = number };
                Some(self)
            }
            None => {
                core::mem::forget(self);
                None
            }
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        arena::give(&[self.slot()]);
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack").field("number", &self.party()).field("size", &self.size()).finish()
    }
}
