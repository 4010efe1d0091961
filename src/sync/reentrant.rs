//! A mutex that its holder may lock again.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use core::panic::Location;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::raw_mutex::RawMutex;
use crate::runtime::{current_number, far};

/// A mutex whose holder may lock it again; the value is shared, so put a `Cell` or `RefCell` inside.
///
/// # Examples
/// ```
/// use ropewalk::sync::ReentrantMutex;
/// use std::cell::Cell;
///
/// let depth = ReentrantMutex::new(Cell::new(0));
/// let outer = depth.lock();
/// let inner = depth.lock();
/// inner.set(outer.get() + 2);
/// assert_eq!(outer.get(), 2);
/// ```
pub struct ReentrantMutex<T: ?Sized> {
    raw: RawMutex,
    /// Number of the holder, never used twice: a guard that outlives its coroutine (carried by a
    /// hand-resumed one) must not let a later coroutine in.
    holder: AtomicU64,
    /// Written by the holder only.
    depth: Cell<usize>,
    value: T,
}

// SAFETY: one party at a time reaches the value and `depth`, so sharing needs only `T: Send`.
unsafe impl<T: ?Sized + Send> Sync for ReentrantMutex<T> {}

impl<T> ReentrantMutex<T> {
    /// Makes a free mutex around `value`.
    pub const fn new(value: T) -> Self {
        Self { raw: RawMutex::new(), holder: AtomicU64::new(0), depth: Cell::new(0), value }
    }

    /// Gives the value back.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T: ?Sized> ReentrantMutex<T> {
    /// Waits for the lock, unless the caller has it. A cancellation point if it has to wait.
    ///
    /// # Panics
    /// If this wait closes a cycle of owners who wait for each other.
    #[track_caller]
    pub fn lock(&self) -> ReentrantGuard<'_, T> {
        let at = Location::caller();
        self.enter(|raw| {
            raw.acquire_at(at);
            true
        })
        .unwrap_or_else(|| unreachable!("a wait without a deadline ends with the lock"))
    }

    /// Takes the lock if it is free, or the caller's. Never waits.
    ///
    /// # Examples
    /// ```
    /// let mutex = ropewalk::sync::ReentrantMutex::new(());
    /// let _own = mutex.lock();
    /// assert!(mutex.try_lock().is_some());
    /// ropewalk::scope(|s| assert!(s.spawn(|| mutex.try_lock().is_none()).join().unwrap()));
    /// ```
    pub fn try_lock(&self) -> Option<ReentrantGuard<'_, T>> {
        self.enter(RawMutex::try_acquire)
    }

    /// As [`lock`](Self::lock), but waits no longer than `limit`.
    pub fn lock_timeout(&self, limit: Duration) -> Option<ReentrantGuard<'_, T>> {
        self.lock_deadline(far::after(limit))
    }

    /// As [`lock`](Self::lock), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut mutex = ropewalk::sync::ReentrantMutex::new(7);
    /// let first = mutex.lock_deadline(Instant::now()).unwrap();
    /// let second = mutex.lock_timeout(Duration::ZERO).unwrap(); // its own holder's
    /// assert_eq!(*first + *second, 14);
    /// drop((first, second));
    /// *mutex.get_mut() += 1;
    /// assert_eq!(mutex.into_inner(), 8);
    /// ```
    pub fn lock_deadline(&self, deadline: Instant) -> Option<ReentrantGuard<'_, T>> {
        self.enter(|raw| raw.acquire_deadline(deadline))
    }

    fn enter(&self, acquire: impl FnOnce(&RawMutex) -> bool) -> Option<ReentrantGuard<'_, T>> {
        let own = current_number();
        // Relaxed: only the caller's own store can match.
        if self.holder.load(Ordering::Relaxed) != own {
            if !acquire(&self.raw) {
                return None;
            }
            // Relaxed: as above.
            self.holder.store(own, Ordering::Relaxed);
        }
        // A leaked guard counts for ever, so this can be reached, in some centuries.
        self.depth.set(self.depth.get().checked_add(1).expect("a reentrant mutex is locked too deeply"));
        Some(ReentrantGuard { mutex: self, not_send: PhantomData })
    }

    /// The value, which nobody else can reach.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: ?Sized> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantMutex").field("raw", &self.raw).finish_non_exhaustive()
    }
}

/// One of the holder's rights to the value; the last one unlocks.
///
/// ```compile_fail,E0277
/// fn send<T: Send>(_: T) {}
/// let mutex = ropewalk::sync::ReentrantMutex::new(0);
/// send(mutex.lock());
/// ```
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: &T) {}
/// let mutex = ropewalk::sync::ReentrantMutex::new(std::cell::Cell::new(0));
/// share(&mutex.lock());
/// ```
#[must_use = "the lock is given back when the last guard is dropped"]
pub struct ReentrantGuard<'a, T: ?Sized> {
    mutex: &'a ReentrantMutex<T>,
    not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for ReentrantGuard<'_, T> {}

impl<T: ?Sized> Deref for ReentrantGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.mutex.value
    }
}

impl<T: ?Sized> Drop for ReentrantGuard<'_, T> {
    fn drop(&mut self) {
        let left = self.mutex.depth.get() - 1;
        self.mutex.depth.set(left);
        if left == 0 {
            // Relaxed: as in `enter`.
            self.mutex.holder.store(0, Ordering::Relaxed);
            self.mutex.raw.unlock();
        }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
