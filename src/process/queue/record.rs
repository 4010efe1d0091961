//! Records in the ring: reading and writing their bytes.
//!
//! Bytes are copied without atomics: what lies outside `head..tail` belongs to the holder of the putters'
//! lock, what lies inside to the holder of the getters' lock (Q1), in one process at a time.

use core::ptr::{self, NonNull};

use super::body::Body;
use super::cursor::Cursor;
pub(super) use super::cursor::UNIT;
use crate::shm::object::Object;
use crate::shm::pod::{self, Pod};

/// Records that hold an encoded value.
pub(super) const ENCODED: u32 = 1;
/// Records that hold plain data.
pub(super) const PLAIN: u32 = 2;
/// Records that hold an encoded value with handles, and at the end the number of their descriptors.
pub(super) const WITH_HANDLES: u32 = 3;

/// The header of a record, as it lies in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes that follow.
    pub(super) len: usize,
    /// What they are: one of the above.
    pub(super) kind: u32,
}

/// The units of a record of `len` bytes, header included.
#[inline]
pub(super) fn units(len: usize) -> u64 {
    1 + len.div_ceil(UNIT) as u64
}

/// Writes a record at the tail.
///
/// # Safety
/// * The caller holds the putters' lock, and has seen that the record fits between tail and head.
#[inline]
pub(super) unsafe fn write(object: &Object<Body>, tail: Cursor, kind: u32, bytes: &[u8]) {
    // SAFETY: the caller's duties.
    unsafe { write_header(object, tail, kind, bytes.len()) };
    let payload = payload(object, tail, bytes.len()).as_ptr();
    // SAFETY: the caller's memory; a slice of safe code does not lie in it.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), payload, bytes.len()) };
}

/// Writes the header of a record at the tail.
///
/// # Safety
/// * As for [`write`].
#[inline]
pub(super) unsafe fn write_header(object: &Object<Body>, tail: Cursor, kind: u32, len: usize) {
    let place = object.ring(tail.offset(object.ring_len()), UNIT).cast::<u64>();
    // SAFETY: mapped, aligned to a unit, and the caller's.
    unsafe { place.as_ptr().write(u64::from(kind) << 32 | len as u64) };
}

/// Where the `len` bytes of the record at a place lie, in one piece, aligned to a unit.
#[inline]
pub(super) fn payload(object: &Object<Body>, at: Cursor, len: usize) -> NonNull<u8> {
    object.ring(at.offset(object.ring_len()) + UNIT, len)
}

/// Reads the header of the record at the head; `None` if it reaches beyond the `used` units before the tail.
///
/// # Safety
/// * The caller holds the getters' lock, and has seen that there is a record.
#[inline]
pub(super) unsafe fn header(object: &Object<Body>, head: Cursor, used: u64) -> Option<Header> {
    let place = object.ring(head.offset(object.ring_len()), UNIT).cast::<u64>();
    // SAFETY: mapped, aligned to a unit, and the caller's.
    let word = unsafe { place.as_ptr().read() };
    let header = Header { len: (word & u64::from(u32::MAX)) as usize, kind: (word >> 32) as u32 };
    let fits = used.saturating_mul(UNIT as u64) <= object.ring_len() as u64 && units(header.len) <= used;
    fits.then_some(header)
}

/// Copies the bytes of the record at the head behind what is in `into`; its header was just read. False, and
/// nothing is copied, if they are not whole values.
///
/// # Safety
/// * The caller holds the getters' lock, and `header` is what [`header`] has said.
#[inline]
pub(super) unsafe fn read<P: Pod>(
    object: &Object<Body>,
    head: Cursor,
    header: Header,
    into: &mut Vec<P>,
) -> bool {
    if !header.len.is_multiple_of(pod::size::<P>()) {
        return false;
    }
    let payload = payload(object, head, header.len).as_ptr();
    let copy = |to: *mut u8| {
        // SAFETY: the record is the caller's, `to` has room for it, and the vector lies elsewhere.
        unsafe { ptr::copy_nonoverlapping(payload, to, header.len) };
    };
    // SAFETY: the copy writes all the bytes.
    unsafe { pod::extend(into, header.len / pod::size::<P>(), copy) };
    true
}
