//! Plain values in shared memory, read and written by anybody at any moment.
//!
//! ```text
//! | magic u64 | size of a value u64 | count u64 | … to 64 | values |
//! ```
//!
//! Every access is atomic as far as the machine goes: a value of 1, 2, 4 or 8 bytes is never seen half
//! written; a larger one may be seen mixed from two writes (`process::Mutex` prevents that).

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::pod::{self, Pod};
use super::region::Region;

const MAGIC: u64 = u64::from_le_bytes(*b"ropearr1");
const VALUES_AT: usize = 64;

/// A fixed number of plain values that several processes see.
///
/// A clone is another handle of the same memory; a handle travels to other processes in arguments and
/// messages. Reads and writes never wait. Those of values of 1, 2, 4 or 8 bytes are atomic, in an order that
/// all agree on; larger values may be seen mixed from two writes.
///
/// # Examples
/// ```
/// use ropewalk::shm::Array;
///
/// let squares = Array::<u32>::new(10)?;
/// (0..10).for_each(|n| squares.store(n, (n * n) as u32));
/// assert_eq!(squares.load(7), 49);
/// assert_eq!(squares.update(7, |n| n + 1), 49);
/// assert_eq!(squares.to_vec()[6..8], [36, 50]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Array<P> {
    region: Arc<Region>,
    len: usize,
    values: PhantomData<P>,
}

impl<P> Clone for Array<P> {
    fn clone(&self) -> Self {
        Self { region: Arc::clone(&self.region), len: self.len, values: PhantomData }
    }
}

impl<P: Pod> Array<P> {
    /// Makes `len` values of zero bytes.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(pod::size::<P>()).and_then(|bytes| bytes.checked_add(VALUES_AT));
        let region = Region::new(bytes.ok_or(io::ErrorKind::FileTooLarge)?)?;
        for (index, word) in [MAGIC, pod::size::<P>() as u64, len as u64].into_iter().enumerate() {
            region.write(index * size_of::<u64>(), &word.to_ne_bytes());
        }
        Ok(Self { region: Arc::new(region), len, values: PhantomData })
    }

    /// Maps the array that a descriptor is of.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Self> {
        let region = Region::from_file(file, 0)?;
        let word = |index: usize| {
            let mut bytes = [0; size_of::<u64>()];
            region.read(index * size_of::<u64>(), &mut bytes);
            u64::from_ne_bytes(bytes)
        };
        let len = usize::try_from(word(2)).ok().filter(|len| {
            let bytes = len.checked_mul(pod::size::<P>()).and_then(|bytes| bytes.checked_add(VALUES_AT));
            bytes.is_some_and(|bytes| bytes <= region.len())
        });
        match len {
            Some(len) if (word(0), word(1)) == (MAGIC, pod::size::<P>() as u64) => {
                Ok(Self { region: Arc::new(region), len, values: PhantomData })
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the descriptor is not of such an array")),
        }
    }

    /// The descriptor, to be sent to another process.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.region.file()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn at(&self, index: usize) -> usize {
        assert!(index < self.len, "value {index} of an array of {}", self.len);
        VALUES_AT + index * pod::size::<P>()
    }

    /// Tells whether one access reaches a whole value.
    const fn is_word() -> bool {
        matches!(size_of::<P>(), 1 | 2 | 4 | 8)
    }

    /// Reads a value.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn load(&self, index: usize) -> P {
        let at = self.at(index);
        let mut value = [pod::zeroed::<P>()];
        let bytes = pod::bytes_mut(&mut value);
        if Self::is_word() {
            let word = Word::new(&self.region, at, bytes.len()).load();
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        } else {
            self.region.read(at, bytes);
        }
        value[0]
    }

    /// Writes a value.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn store(&self, index: usize, value: P) {
        let (at, value) = (self.at(index), [value]);
        let bytes = pod::bytes(&value);
        if Self::is_word() {
            Word::new(&self.region, at, bytes.len()).store(to_word(bytes));
        } else {
            self.region.write(at, bytes);
        }
    }

    /// Replaces a value by what `f` makes of it, in one step, and gives the value before. `f` runs again if
    /// another party was quicker. For values of 1, 2, 4 or 8 bytes; others are refused at compile time.
    ///
    /// # Panics
    /// If there are not so many, or if `f` does.
    pub fn update(&self, index: usize, mut f: impl FnMut(P) -> P) -> P {
        const { assert!(Self::is_word(), "only values of 1, 2, 4 or 8 bytes are updated in one step") };
        let word = Word::new(&self.region, self.at(index), size_of::<P>());
        let mut seen = word.load();
        loop {
            let mut before = [pod::zeroed::<P>()];
            pod::bytes_mut(&mut before).copy_from_slice(&seen.to_le_bytes()[..size_of::<P>()]);
            let next = [f(before[0])];
            match word.exchange(seen, to_word(pod::bytes(&next))) {
                Ok(()) => return before[0],
                Err(other) => seen = other,
            }
        }
    }

    /// Reads all values, one after another.
    pub fn to_vec(&self) -> Vec<P> {
        (0..self.len).map(|index| self.load(index)).collect()
    }
}

impl<P> fmt::Debug for Array<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Array").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Up to eight bytes as a number, the first the lowest.
fn to_word(bytes: &[u8]) -> u64 {
    let mut word = [0; size_of::<u64>()];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// One word of a region. Its number holds the bytes in the order of memory, the first the lowest.
enum Word<'a> {
    One(&'a AtomicU8),
    Two(&'a AtomicU16),
    Four(&'a AtomicU32),
    Eight(&'a AtomicU64),
}

impl<'a> Word<'a> {
    fn new(region: &'a Region, at: usize, size: usize) -> Self {
        let place = region.at(at, size).as_ptr();
        assert!(place.addr().is_multiple_of(size), "a word of shared memory is aligned to its size");
        match size {
            // SAFETY: mapped as long as the region, and all who race for it use atomics (R3 in `region`).
            1 => Self::One(unsafe { AtomicU8::from_ptr(place) }),
            // SAFETY: as above; aligned.
            2 => Self::Two(unsafe { AtomicU16::from_ptr(place.cast()) }),
            // SAFETY: as above; aligned.
            4 => Self::Four(unsafe { AtomicU32::from_ptr(place.cast()) }),
            // SAFETY: as above; aligned.
            8 => Self::Eight(unsafe { AtomicU64::from_ptr(place.cast()) }),
            _ => unreachable!("asked for words only"),
        }
    }

    // SeqCst throughout: users get one order of all accesses to words.

    fn load(&self) -> u64 {
        match self {
            Self::One(word) => word.load(Ordering::SeqCst).into(),
            Self::Two(word) => u16::from_le(word.load(Ordering::SeqCst)).into(),
            Self::Four(word) => u32::from_le(word.load(Ordering::SeqCst)).into(),
            Self::Eight(word) => u64::from_le(word.load(Ordering::SeqCst)),
        }
    }

    fn store(&self, value: u64) {
        match self {
            Self::One(word) => word.store(value as u8, Ordering::SeqCst),
            Self::Two(word) => word.store((value as u16).to_le(), Ordering::SeqCst),
            Self::Four(word) => word.store((value as u32).to_le(), Ordering::SeqCst),
            Self::Eight(word) => word.store(value.to_le(), Ordering::SeqCst),
        }
    }

    fn exchange(&self, from: u64, to: u64) -> Result<(), u64> {
        const BOTH: Ordering = Ordering::SeqCst;
        match self {
            Self::One(word) => {
                word.compare_exchange(from as u8, to as u8, BOTH, BOTH).map(drop).map_err(u64::from)
            }
            Self::Two(word) => {
                let (from, to) = ((from as u16).to_le(), (to as u16).to_le());
                word.compare_exchange(from, to, BOTH, BOTH).map(drop).map_err(|now| u16::from_le(now).into())
            }
            Self::Four(word) => {
                let (from, to) = ((from as u32).to_le(), (to as u32).to_le());
                word.compare_exchange(from, to, BOTH, BOTH).map(drop).map_err(|now| u32::from_le(now).into())
            }
            Self::Eight(word) => {
                let (from, to) = (from.to_le(), to.to_le());
                word.compare_exchange(from, to, BOTH, BOTH).map(drop).map_err(u64::from_le)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_every_size_come_back() {
        let bytes = Array::<u8>::new(3).unwrap();
        bytes.store(1, 200);
        assert_eq!(bytes.to_vec(), [0, 200, 0]);
        let shorts = Array::<i16>::new(2).unwrap();
        shorts.store(1, -2);
        assert_eq!(shorts.update(1, |n| n * 3), -2);
        assert_eq!(shorts.to_vec(), [0, -6]);
        let odd = Array::<[u8; 3]>::new(2).unwrap();
        odd.store(1, [1, 2, 3]);
        assert_eq!(odd.to_vec(), [[0; 3], [1, 2, 3]]);
        let floats = Array::<f64>::new(1).unwrap();
        floats.update(0, |n| n + 0.5);
        assert_eq!(floats.load(0).to_bits(), 0.5f64.to_bits());
        let pairs = Array::<[u64; 2]>::new(2).unwrap();
        pairs.store(0, [7, 8]);
        assert_eq!(pairs.load(0), [7, 8]);
    }

    #[test]
    fn no_update_is_lost_between_threads_and_mappings() {
        let count = Array::<u32>::new(2).unwrap();
        let again = Array::<u32>::open(count.file().try_clone_to_owned().unwrap()).unwrap();
        std::thread::scope(|scope| {
            for handle in [&count, &again] {
                scope.spawn(|| (0..10_000).for_each(|_| assert!(handle.update(1, |n| n + 1) < 20_000)));
            }
        });
        assert_eq!(count.load(1), 20_000);
        assert!(Array::<u64>::open(count.file().try_clone_to_owned().unwrap()).is_err());
    }
}
