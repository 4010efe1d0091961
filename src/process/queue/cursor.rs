//! A place in the ring and a number of messages, in one word: one store moves both.
//!
//! `place << 24 | messages`, the place in units of 8 bytes. Both wrap; a ring is shorter than half of the
//! range of places, and holds fewer messages than half of the range of numbers, so distances are exact.
#![forbid(unsafe_code)]

/// Bytes of a unit, to which records are padded.
pub(super) const UNIT: usize = 8;
const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const PLACES: u64 = (1 << (64 - COUNT_BITS)) - 1;
/// The most messages that a ring may hold.
pub(super) const MOST_MESSAGES: usize = 1 << (COUNT_BITS - 1);
/// The most bytes of a ring.
pub(super) const MOST_BYTES: usize = 1 << 36;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) u64);

impl Cursor {
    fn place(self) -> u64 {
        self.0 >> COUNT_BITS
    }

    /// The offset in a ring of `len` bytes, a power of two.
    #[inline]
    pub(super) fn offset(self, len: usize) -> usize {
        (self.place() as usize * UNIT) & (len - 1)
    }

    /// One message of that many units further.
    #[inline]
    pub(super) fn after(self, units: u64) -> Self {
        let place = (self.place() + units) & PLACES;
        Self(place << COUNT_BITS | self.0.wrapping_add(1) & COUNT)
    }

    /// Units from `earlier` to here.
    #[inline]
    pub(super) fn units_since(self, earlier: Self) -> u64 {
        self.place().wrapping_sub(earlier.place()) & PLACES
    }

    /// Messages from `earlier` to here.
    #[inline]
    pub(super) fn messages_since(self, earlier: Self) -> u64 {
        self.0.wrapping_sub(earlier.0) & COUNT
    }

    /// The number of all messages up to here, of which `known` is a recent value.
    pub(super) fn total(self, known: u64) -> u64 {
        known.wrapping_add(self.0.wrapping_sub(known) & COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_exact_across_both_wraps() {
        let start = Cursor(PLACES << COUNT_BITS | COUNT);
        let end = start.after(3).after(1);
        assert_eq!((end.units_since(start), end.messages_since(start)), (4, 2));
        assert_eq!(end.offset(32), (PLACES as usize + 4) * UNIT % 32);
        assert_eq!(end.total(COUNT), COUNT + 2);
        assert_eq!(end.total(COUNT + 2), COUNT + 2);
        assert_eq!(start.messages_since(start), 0);
    }
}
