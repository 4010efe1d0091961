//! The readers-writer lock with a value, and its guards.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use std::time::Instant;

use super::raw_rw_lock::RawRwLock;
use crate::runtime::far;

/// A value with many readers or one writer at a time. Neither side starves: see `raw_rw_lock`.
///
/// A reader that reads again while a writer waits would wait for itself: do not nest.
///
/// # Examples
/// ```
/// use ropewalk::sync::RwLock;
///
/// let lock = RwLock::new(5);
/// assert_eq!(*lock.read() + *lock.read(), 10);
/// *lock.write() += 1;
/// assert_eq!(lock.into_inner(), 6);
/// ```
pub struct RwLock<T: ?Sized> {
    raw: RawRwLock,
    value: UnsafeCell<T>,
}

// SAFETY: readers share the value, writers have it alone.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}
// SAFETY: the lock owns its value.
unsafe impl<T: ?Sized + Send> Send for RwLock<T> {}

impl<T> RwLock<T> {
    /// Makes a free lock around `value`.
    pub const fn new(value: T) -> Self {
        Self { raw: RawRwLock::new(), value: UnsafeCell::new(value) }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    fn reader(&self) -> ReadGuard<'_, T> {
        ReadGuard { lock: self, not_send: PhantomData }
    }

    fn writer(&self) -> WriteGuard<'_, T> {
        WriteGuard { lock: self, not_send: PhantomData }
    }

    /// Waits until no writer is inside or before us. A cancellation point if it has to wait.
    pub fn read(&self) -> ReadGuard<'_, T> {
        self.raw.read(None);
        self.reader()
    }

    /// Comes in if no writer is inside or waits. Never waits.
    ///
    /// # Examples
    /// ```
    /// let lock = ropewalk::sync::RwLock::new(1);
    /// let reader = lock.read();
    /// assert!(lock.try_read().is_some() && lock.try_write().is_none());
    /// drop(reader);
    /// assert!(lock.try_write().is_some());
    /// ```
    pub fn try_read(&self) -> Option<ReadGuard<'_, T>> {
        self.raw.try_read().then(|| self.reader())
    }

    /// As [`read`](Self::read), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let lock = ropewalk::sync::RwLock::new(7);
    /// let writer = lock.write();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
    /// drop(writer);
    /// assert_eq!(*lock.read_deadline(Instant::now()).unwrap(), 7);
    /// ```
    pub fn read_timeout(&self, limit: Duration) -> Option<ReadGuard<'_, T>> {
        self.read_deadline(far::after(limit))
    }

    /// As [`read`](Self::read), but waits no longer than until `deadline`.
    pub fn read_deadline(&self, deadline: Instant) -> Option<ReadGuard<'_, T>> {
        self.raw.read(Some(deadline)).then(|| self.reader())
    }

    /// Waits until nobody is inside or before us. A cancellation point if it has to wait.
    pub fn write(&self) -> WriteGuard<'_, T> {
        self.raw.write(None);
        self.writer()
    }

    /// Comes in if nobody is inside. Never waits.
    pub fn try_write(&self) -> Option<WriteGuard<'_, T>> {
        self.raw.try_write().then(|| self.writer())
    }

    /// As [`write`](Self::write), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// let lock = ropewalk::sync::RwLock::new(1);
    /// let _reader = lock.read();
    /// assert!(lock.write_timeout(std::time::Duration::from_millis(1)).is_none());
    /// ```
    pub fn write_timeout(&self, limit: Duration) -> Option<WriteGuard<'_, T>> {
        self.write_deadline(far::after(limit))
    }

    /// As [`write`](Self::write), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let mut lock = ropewalk::sync::RwLock::new(7);
    /// *lock.write_deadline(Instant::now()).unwrap() += 1;
    /// *lock.get_mut() += 1; // borrowed alone, so there is nothing to lock
    /// assert_eq!(lock.into_inner(), 9);
    /// ```
    pub fn write_deadline(&self, deadline: Instant) -> Option<WriteGuard<'_, T>> {
        self.raw.write(Some(deadline)).then(|| self.writer())
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("RwLock");
        match self.try_read() {
            Some(guard) => debug.field("value", &&*guard).finish(),
            None => debug.field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The right to read; leaves when dropped.
///
/// Readers on several threads share the value, so it must be `Sync`; guards stay on their thread:
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: &T) {}
/// share(&ropewalk::sync::RwLock::new(std::cell::Cell::new(0)));
/// ```
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let lock = ropewalk::sync::RwLock::new(0);
/// send(lock.read());
/// ```
#[must_use = "the reader leaves when the guard is dropped"]
pub struct ReadGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for ReadGuard<'_, T> {}

impl<T: ?Sized> Deref for ReadGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a reader is inside, nobody has `&mut T`.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for ReadGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.leave_read();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The right to write; leaves when dropped.
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let lock = ropewalk::sync::RwLock::new(0);
/// send(lock.write());
/// ```
#[must_use = "the writer leaves when the guard is dropped"]
pub struct WriteGuard<'a, T: ?Sized> {
    lock: &'a RwLock<T>,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for WriteGuard<'_, T> {}

impl<'a, T: ?Sized> WriteGuard<'a, T> {
    /// Goes on as a reader, without letting another writer in between; readers that wait before the next writer
    /// come in as well. Never waits.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{RwLock, WriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write();
    /// *writer += 1;
    /// let reader = WriteGuard::downgrade(writer);
    /// assert_eq!((*reader, lock.try_read().map(|value| *value)), (2, Some(2)));
    /// assert!(lock.try_write().is_none());
    /// ```
    pub fn downgrade(guard: Self) -> ReadGuard<'a, T> {
        let lock = guard.lock;
        core::mem::forget(guard);
        lock.raw.downgrade();
        lock.reader()
    }
}

impl<T: ?Sized> Deref for WriteGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: while a writer is inside, it is alone.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for WriteGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.raw.leave_write();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
