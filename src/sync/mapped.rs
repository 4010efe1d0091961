//! A guard of a part of a mutex's value.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::raw_mutex::RawMutex;

/// The right to a part of a mutex's value, made by [`MutexGuard::map`](super::MutexGuard::map); unlocks the
/// mutex when dropped.
///
/// # Examples
/// ```
/// use ropewalk::sync::{MappedMutexGuard, Mutex, MutexGuard};
///
/// fn name(person: &Mutex<(String, u32)>) -> MappedMutexGuard<'_, String> {
///     MutexGuard::map(person.lock(), |person| &mut person.0)
/// }
/// let person = Mutex::new((String::from("Ada"), 36));
/// name(&person).push('!');
/// assert_eq!(person.lock().0, "Ada!");
/// ```
/// It stays on its thread, as the whole guard does, and is shared only if the part may be:
/// ```compile_fail,E0277
/// use ropewalk::sync::{Mutex, MutexGuard};
/// fn send<T: Send>(_: T) {}
/// let mutex = Mutex::new((0, 0));
/// send(MutexGuard::map(mutex.lock(), |pair| &mut pair.0));
/// ```
/// ```compile_fail,E0277
/// use ropewalk::sync::{Mutex, MutexGuard};
/// fn share<T: Sync>(_: &T) {}
/// let mutex = Mutex::new(std::cell::Cell::new(0));
/// share(&MutexGuard::map(mutex.lock(), |cell| cell));
/// ```
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MappedMutexGuard<'a, T: ?Sized> {
    raw: &'a RawMutex,
    /// A part of the mutex's value, which the lock makes this guard's alone.
    part: NonNull<T>,
    /// As if it had the reference itself. The pointer keeps it on its thread, whose party's id the word holds.
    part_of: PhantomData<&'a mut T>,
}

// SAFETY: a shared guard gives out `&T` only; unlocking needs the guard itself.
unsafe impl<T: ?Sized + Sync> Sync for MappedMutexGuard<'_, T> {}

impl<'a, T: ?Sized> MappedMutexGuard<'a, T> {
    /// A guard of `part`, for the holder of the lock, who no longer unlocks it.
    pub(super) fn new(raw: &'a RawMutex, part: &'a mut T) -> Self {
        Self { raw, part: NonNull::from(part), part_of: PhantomData }
    }

    /// Goes on with a part of the part. If `f` panics, the mutex is unlocked.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{MappedMutexGuard, Mutex, MutexGuard};
    ///
    /// let mutex = Mutex::new((1, [2, 3]));
    /// let array = MutexGuard::map(mutex.lock(), |pair| &mut pair.1);
    /// assert_eq!(*MappedMutexGuard::map(array, |array| &mut array[1]), 3);
    /// assert!(!mutex.is_locked());
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let (raw, mut part) = (guard.raw, guard.part);
        // SAFETY: the lock is held, and this guard, which nobody uses any more, alone reaches the part.
        let part = f(unsafe { part.as_mut() });
        core::mem::forget(guard);
        MappedMutexGuard::new(raw, part)
    }
}

impl<T: ?Sized> Deref for MappedMutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its party holds the lock.
        unsafe { self.part.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for MappedMutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { self.part.as_mut() }
    }
}

impl<T: ?Sized> Drop for MappedMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MappedMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
