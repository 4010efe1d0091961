//! The mutex with a value, and its guard.

use core::cell::UnsafeCell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use std::time::Instant;

use super::mapped::MappedMutexGuard;
use super::raw_mutex::{MutexState, RawMutex};

/// A value that one party at a time may touch: coroutines and plain threads alike.
///
/// A waiting coroutine leaves its worker to others; a plain thread sleeps in the kernel. There is no
/// poisoning: a guard that is dropped by a panic or a cancellation unlocks. 4 bytes beside the value.
///
/// # Examples
/// ```
/// use ropewalk::sync::Mutex;
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
/// ropewalk::scope(|s| {
///     for n in 1..=10 {
///         s.spawn(move || *TOTAL.lock() += n);
///     }
/// });
/// assert_eq!(*TOTAL.lock(), 55);
/// ```
#[derive(Default)]
pub struct Mutex<T: ?Sized> {
    raw: RawMutex,
    value: UnsafeCell<T>,
}

// SAFETY: one party at a time reaches the value, so sharing needs only `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: the mutex owns its value.
unsafe impl<T: ?Sized + Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    /// Makes a free mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), value: UnsafeCell::new(value) }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits for the lock. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// let name = ropewalk::sync::Mutex::new(String::from("rope"));
    /// name.lock().push_str("walk");
    /// assert_eq!(*name.lock(), "ropewalk");
    /// ```
    ///
    /// # Panics
    /// If this wait closes a cycle of owners who wait for each other, itself included. A caller that unwinds is not
    /// told, but another one on the cycle; if all unwind, the log is told, and they wait for ever.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.raw.acquire();
        MutexGuard { mutex: self, not_send: PhantomData }
    }

    /// Takes the lock if it is free. Never waits.
    ///
    /// # Examples
    /// ```
    /// let mutex = ropewalk::sync::Mutex::new(1);
    /// let guard = mutex.lock();
    /// assert!(mutex.try_lock().is_none());
    /// drop(guard);
    /// assert_eq!(mutex.try_lock().map(|value| *value), Some(1));
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_acquire().then(|| MutexGuard { mutex: self, not_send: PhantomData })
    }

    /// As [`lock`](Self::lock), but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// let mutex = ropewalk::sync::Mutex::new(());
    /// let _guard = mutex.lock();
    /// ropewalk::scope(|s| {
    ///     let late = s.spawn(|| mutex.lock_timeout(std::time::Duration::from_millis(1)).is_none());
    ///     assert!(late.join().unwrap());
    /// });
    /// ```
    pub fn lock_timeout(&self, limit: Duration) -> Option<MutexGuard<'_, T>> {
        self.raw.acquire_timeout(limit).then(|| MutexGuard { mutex: self, not_send: PhantomData })
    }

    /// As [`lock`](Self::lock), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let mut mutex = ropewalk::sync::Mutex::new(1);
    /// *mutex.lock_deadline(Instant::now()).unwrap() += 1;
    /// *mutex.get_mut() += 1; // borrowed alone, so there is nothing to lock
    /// assert_eq!(mutex.into_inner(), 3);
    /// ```
    pub fn lock_deadline(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        self.raw.acquire_deadline(deadline).then(|| MutexGuard { mutex: self, not_send: PhantomData })
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Looks at the word and the wait queue, for pictures.
    ///
    /// # Examples
    /// ```
    /// let mutex = ropewalk::sync::Mutex::new(());
    /// assert_eq!(mutex.state().owner, 0);
    /// let _guard = mutex.lock();
    /// assert!(mutex.state().owner > 0 && !mutex.state().contended);
    /// ```
    pub fn state(&self) -> MutexState {
        self.raw.state()
    }

    /// Tells whether anybody holds the lock now.
    pub fn is_locked(&self) -> bool {
        self.raw.is_held()
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Mutex");
        match self.try_lock() {
            Some(guard) => debug.field("value", &&*guard).finish(),
            None => debug.field("value", &format_args!("<locked>")).finish(),
        }
    }
}

/// The right to the value; gives it back when dropped. Stays with the party that locked.
///
/// Should it be dropped by another coroutine of the same worker (carried there by a hand-resumed coroutine or a
/// thread-local), it unlocks all the same; until then, the search for deadlocks takes the one that has locked for
/// the holder.
///
/// It does not move to another thread, and is shared only if the value may be:
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let mutex = ropewalk::sync::Mutex::new(0);
/// send(mutex.lock());
/// ```
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: &T) {}
/// let mutex = ropewalk::sync::Mutex::new(std::cell::Cell::new(0));
/// share(&mutex.lock());
/// ```
/// Nor does a mutex make a value fit for other threads:
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: &T) {}
/// share(&ropewalk::sync::Mutex::new(std::rc::Rc::new(0)));
/// ```
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: ?Sized> {
    mutex: &'a Mutex<T>,
    /// The word holds the locking party's id, so the guard stays on its thread.
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex it belongs to.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }

    /// Goes on with a part of the value: the guard of that keeps the mutex locked. If `f` panics, it is unlocked.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Mutex, MutexGuard};
    ///
    /// let pair = Mutex::new((1, "one"));
    /// let number = MutexGuard::map(pair.lock(), |pair| &mut pair.0);
    /// assert!(*number == 1 && pair.is_locked());
    /// ```
    pub fn map<U: ?Sized>(guard: Self, f: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let mutex = guard.mutex;
        // SAFETY: the lock is held, and the guard, which nobody uses any more, alone reaches the value.
        let part = f(unsafe { &mut *mutex.value.get() });
        core::mem::forget(guard);
        MappedMutexGuard::new(&mutex.raw, part)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while its party holds the lock.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.raw.unlock();
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
