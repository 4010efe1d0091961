//! Plain old data: types whose values are their bytes.

/// Types that may be read from memory which other processes write: any bytes are a value.
///
/// Integers, floats, and arrays of such types are. For a type of one's own:
///
/// ```
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// #[repr(C)]
/// struct Point { x: f64, y: f64 }
///
/// // SAFETY: two f64 without padding; any bytes are a value; no addresses, no interior mutability.
/// unsafe impl ropewalk::shm::Pod for Point {}
///
/// let place = ropewalk::shm::Value::new(Point { x: 1.0, y: 2.0 })?;
/// assert_eq!(place.load().y, 2.0);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Safety
/// * Any bytes are a value of the type (so not `bool`, `char`, references, most enums).
/// * It has no padding, nor other bytes that are not initialised, and at least one byte.
/// * It holds no address or descriptor (another process has others there) and no interior mutability.
/// * Its alignment is at most 64.
pub unsafe trait Pod: Copy + Send + Sync + 'static {}

macro_rules! plain {
    ($($number:ty),*) => {$(
        // SAFETY: a number: any bytes are a value, none is padding, none is an address.
        unsafe impl Pod for $number {}
    )*};
}
plain!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);

// SAFETY: elements follow each other without padding; `BYTES` refuses the empty ones.
unsafe impl<P: Pod, const N: usize> Pod for [P; N] {}

/// The size of a value, which is not zero.
pub(crate) const fn size<P: Pod>() -> usize {
    const {
        assert!(size_of::<P>() > 0, "a value without bytes cannot be shared");
        assert!(align_of::<P>() <= 64, "a value in shared memory is aligned to 64 at most");
    }
    size_of::<P>()
}

/// The bytes of values.
pub(crate) fn bytes<P: Pod>(values: &[P]) -> &[u8] {
    // SAFETY: a Pod has no padding, so all of them are initialised; the lifetime is the borrow's.
    unsafe { core::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of values, to be written over.
pub(crate) fn bytes_mut<P: Pod>(values: &mut [P]) -> &mut [u8] {
    let len = size_of_val(values);
    // SAFETY: as in `bytes`, and any bytes are a value.
    unsafe { core::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), len) }
}

/// Adds `count` values to a vector, whose bytes `fill` writes.
///
/// # Safety
/// * `fill` writes all the bytes at the address that it is given.
pub(crate) unsafe fn extend<P: Pod>(values: &mut Vec<P>, count: usize, fill: impl FnOnce(*mut u8)) {
    values.reserve(count);
    fill(values.spare_capacity_mut().as_mut_ptr().cast());
    // SAFETY: reserved above, and filled: the caller's duty.
    unsafe { values.set_len(values.len() + count) };
}

/// A value of zero bytes.
pub(crate) fn zeroed<P: Pod>() -> P {
    // SAFETY: any bytes are a value.
    unsafe { core::mem::zeroed() }
}
