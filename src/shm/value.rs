//! One plain value in shared memory.
#![forbid(unsafe_code)]

use core::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::array::Array;
use super::pod::Pod;

/// A plain value that several processes see.
///
/// A clone is another handle of the same memory; a handle travels to other processes in arguments and
/// messages. Reads and writes never wait. Those of a value of 1, 2, 4 or 8 bytes are atomic; a larger one may
/// be seen mixed from two writes: see `process::Mutex`.
///
/// # Examples
/// ```
/// use ropewalk::shm::Value;
///
/// let hits = Value::new(0u64)?;
/// let again = hits.clone();
/// hits.update(|n| n + 1);
/// assert_eq!(again.load(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Value<P>(Array<P>);

impl<P> Clone for Value<P> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<P: Pod> Value<P> {
    /// Makes a place in shared memory for `value`.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(value: P) -> io::Result<Self> {
        let place = Array::new(1)?;
        place.store(0, value);
        Ok(Self(place))
    }

    /// Maps the value that a descriptor is of.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Self> {
        let place = Array::open(file)?;
        if place.len() != 1 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the descriptor is not of one value"));
        }
        Ok(Self(place))
    }

    /// The descriptor, to be sent to another process.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.0.file()
    }

    /// Reads it.
    pub fn load(&self) -> P {
        self.0.load(0)
    }

    /// Writes it.
    pub fn store(&self, value: P) {
        self.0.store(0, value);
    }

    /// Replaces it by what `f` makes of it, in one step, and gives the value before. `f` runs again if another
    /// party was quicker. For values of 1, 2, 4 or 8 bytes; others are refused at compile time.
    ///
    /// # Panics
    /// If `f` does.
    pub fn update(&self, f: impl FnMut(P) -> P) -> P {
        self.0.update(0, f)
    }
}

impl<P: Pod + fmt::Debug> fmt::Debug for Value<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Value").field(&self.load()).finish()
    }
}
