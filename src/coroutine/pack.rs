//! Values in the word that travels with a switch, or behind it.

use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr;

use super::switch::Word;

/// Puts a value into a word, or its address.
#[inline(always)]
pub(super) fn pack<T>(value: &ManuallyDrop<T>) -> Word {
    let mut word = Word::uninit();
    if size_of::<T>() <= size_of::<Word>() {
        let bytes = word.as_mut_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: the word has room for all bytes of the value; both are there.
        unsafe { bytes.copy_from_nonoverlapping(ptr::from_ref(value).cast(), size_of::<T>()) };
    } else {
        word.write(ptr::from_ref(value).cast_mut().cast());
    }
    word
}

/// Moves a value out of the word that [`pack`] has made of it.
///
/// # Safety
/// * `pack` made it of a `T` that is still where it was, and that nobody uses afterwards.
#[inline(always)]
pub(super) unsafe fn unpack<T>(word: Word) -> T {
    if size_of::<T>() <= size_of::<Word>() {
        // SAFETY: the word's first bytes are those of a `T`.
        unsafe { word.as_ptr().cast::<T>().read_unaligned() }
    } else {
        // SAFETY: `pack` has written an address.
        let place = unsafe { word.assume_init() };
        // SAFETY: the caller's duty.
        unsafe { place.cast::<T>().read() }
    }
}
