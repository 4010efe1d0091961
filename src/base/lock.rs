//! A short lock for the crate's own tables: spin a little, then give turns to the kernel.
//!
//! It never parks a coroutine: what it guards is held for tens of nanoseconds, never across a
//! switch and never while user code runs.
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `FREE` 0 | nobody holds it | a locker, to `HELD` |
//! | `MARKED` 2 | the same, and the last holder left a mark | a locker, to `HELD` |
//! | `HELD` 1 | held | the holder, to `FREE` or `MARKED` |
//!
//! Only the holder leaves `HELD`, so unlocking is a store. That is why nobody sleeps in the kernel until
//! woken: the one whose holder has lost its processor gives its own away, and at last naps for a while.
//!
//! Rejected: the three-state futex mutex. Its unlock is an atomic exchange, which costs as much as all that
//! is done under the lock.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use super::backoff::Backoff;
use crate::sys;

const FREE: u32 = 0;
const HELD: u32 = 1;
const MARKED: u32 = 2;
/// A nap of a locker that has waited for too long.
const NAP: Duration = Duration::from_micros(100);

/// The lock without a value. Its holder leaves a mark, or none, for those who only look.
#[derive(Debug)]
pub(crate) struct LockWord(AtomicU32);

impl LockWord {
    /// Makes a free one, without a mark.
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(FREE))
    }

    /// Waits for the lock.
    #[inline]
    pub(crate) fn lock(&self) {
        // Relaxed: a guess, the exchange decides.
        let word = self.0.load(Ordering::Relaxed);
        // Acquire pairs with the Release in `unlock`. SeqCst: partner of `is_quiet`.
        if word == HELD || self.0.compare_exchange(word, HELD, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            self.lock_slow();
        }
    }

    #[cold]
    fn lock_slow(&self) {
        let mut backoff = Backoff::new();
        loop {
            // Relaxed: as in `lock`.
            let word = self.0.load(Ordering::Relaxed);
            // SeqCst: as in `lock`.
            if word != HELD
                && self.0.compare_exchange(word, HELD, Ordering::SeqCst, Ordering::Relaxed).is_ok()
            {
                return;
            }
            if !backoff.snooze() {
                // Nobody wakes it; it is the time that counts.
                sys::futex::wait(&self.0, HELD, Some(NAP));
            }
        }
    }

    /// Gives the lock back. Called by the holder.
    #[inline]
    pub(crate) fn unlock(&self, mark: bool) {
        // Release pairs with the Acquire of the next locker.
        self.0.store(if mark { MARKED } else { FREE }, Ordering::Release);
    }

    /// Tells whether nobody holds the lock, and the last holder left no mark.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        // SeqCst: whoever changes something and then sees quiet, both SeqCst, is seen by every later
        // holder that looks at the change, SeqCst as well.
        self.0.load(Ordering::SeqCst) == FREE
    }
}

/// A value behind a short lock.
pub(crate) struct Lock<T> {
    word: LockWord,
    value: UnsafeCell<T>,
}

// SAFETY: the word lets one thread at a time reach the value, so sharing needs only `T: Send`.
unsafe impl<T: Send> Sync for Lock<T> {}
// SAFETY: the lock owns its value.
unsafe impl<T: Send> Send for Lock<T> {}

// As for any mutex that a panic of its holder leaves whole: no user's code runs under it.
impl<T> UnwindSafe for Lock<T> {}
impl<T> RefUnwindSafe for Lock<T> {}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Lock<T> {
    /// Makes a free lock around `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self { word: LockWord::new(), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.word.lock();
        Guard { lock: self }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

/// Holds the lock until dropped.
pub(crate) struct Guard<'a, T> {
    lock: &'a Lock<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the word says that this thread holds the lock.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.word.unlock(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_increment_is_lost_between_threads() {
        const EACH: u64 = if cfg!(miri) { 50 } else { 10_000 };
        let counter = Lock::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..EACH).for_each(|_| *counter.lock() += 1));
            }
        });
        assert_eq!(*counter.lock(), 4 * EACH);
    }
}
