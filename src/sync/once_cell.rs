//! A value that is written once: a `Once`, and room for what it makes.

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::time::Duration;
use std::time::Instant;

use super::once::{Once, Patience};
use crate::runtime::far;

/// A value that is written once.
///
/// # Examples
/// ```
/// use ropewalk::sync::OnceCell;
///
/// static NAME: OnceCell<String> = OnceCell::new();
/// assert_eq!(NAME.get_or_init(|| "rope".to_owned()), "rope");
/// assert_eq!(NAME.set("walk".to_owned()), Err("walk".to_owned()));
/// ```
/// A value that threads may not share is not made so:
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: &T) {}
/// share(&ropewalk::sync::OnceCell::<std::cell::Cell<u8>>::new());
/// ```
pub struct OnceCell<T> {
    once: Once,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one party, and read by all after that; dropped by the owner.
unsafe impl<T: Send + Sync> Sync for OnceCell<T> {}
// SAFETY: the cell owns its value.
unsafe impl<T: Send> Send for OnceCell<T> {}

// As std's `OnceLock`: a value is there whole, or not at all.
impl<T: UnwindSafe> UnwindSafe for OnceCell<T> {}
impl<T: UnwindSafe + RefUnwindSafe> RefUnwindSafe for OnceCell<T> {}

impl<T> OnceCell<T> {
    /// Makes an empty cell.
    pub const fn new() -> Self {
        Self { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The value, if it is there. Never waits.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: a completed `once` means that nobody writes the value any more.
        let value = unsafe { &*self.value.get() };
        // SAFETY: and that it is written.
        Some(unsafe { value.assume_init_ref() })
    }

    /// The value, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: as in `get`.
        self.once.is_completed().then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// The value, once somebody has written it. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::OnceCell;
    ///
    /// static ANSWER: OnceCell<u32> = OnceCell::new();
    /// let waiter = ropewalk::spawn(|| *ANSWER.wait());
    /// ANSWER.set(42).unwrap();
    /// assert_eq!(waiter.join().unwrap(), 42);
    /// ```
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().unwrap_or_else(|| unreachable!("a completed cell has a value"))
    }

    /// As [`wait`](Self::wait), but waits no longer than `limit`.
    pub fn wait_timeout(&self, limit: Duration) -> Option<&T> {
        self.once.wait_timeout(limit);
        self.get()
    }

    /// As [`wait`](Self::wait), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let mut cell = ropewalk::sync::OnceCell::new();
    /// assert_eq!(cell.wait_deadline(Instant::now()), None);
    /// cell.set(7).unwrap();
    /// assert_eq!(cell.wait_deadline(Instant::now()), Some(&7));
    /// *cell.get_mut().unwrap() += 1;
    /// assert_eq!((cell.take(), cell.into_inner()), (Some(8), None));
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> Option<&T> {
        self.once.wait_deadline(deadline);
        self.get()
    }

    /// Writes the value.
    ///
    /// # Errors
    /// The value, if there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        let _ = self.get_or_try_init(|| value.take().ok_or(()));
        value.map_or(Ok(()), Err)
    }

    /// The value, made by `init` if it is not there; waits if another is making it.
    ///
    /// # Panics
    /// If `init` does, and if `init` uses the same cell.
    pub fn get_or_init(&self, init: impl FnOnce() -> T) -> &T {
        let result: Result<&T, core::convert::Infallible> = self.get_or_try_init(|| Ok(init()));
        let Ok(value) = result;
        value
    }

    /// The value, made by `init` if it is not there; `None` if another is making it now. Waits for nobody; `init`
    /// itself may.
    ///
    /// # Examples
    /// ```
    /// let cell = ropewalk::sync::OnceCell::new();
    /// let made = cell.try_get_or_init(|| match cell.try_get_or_init(|| 1) {
    ///     Some(_) => unreachable!("it is being made"),
    ///     None => 2,
    /// });
    /// assert_eq!(made, Some(&2));
    /// ```
    ///
    /// # Panics
    /// If `init` does.
    pub fn try_get_or_init(&self, init: impl FnOnce() -> T) -> Option<&T> {
        self.make(Patience::None, init)
    }

    /// As [`get_or_init`](Self::get_or_init), but waits for another no longer than `limit`. `None` if that came
    /// first; how long `init` may take is its own affair.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Event, OnceCell};
    /// use std::time::Duration;
    ///
    /// let (cell, begun, go_on) = (OnceCell::new(), Event::new(), Event::new());
    /// ropewalk::scope(|s| {
    ///     s.spawn(|| cell.get_or_init(|| { begun.set(); go_on.wait(); 7 }));
    ///     begun.wait();
    ///     assert_eq!(cell.get_or_init_timeout(Duration::from_millis(1), || 8), None);
    ///     go_on.set();
    ///     assert_eq!(cell.get_or_init_timeout(Duration::from_secs(60), || 8), Some(&7));
    /// });
    /// ```
    ///
    /// # Panics
    /// If `init` does, and if `init` uses the same cell.
    pub fn get_or_init_timeout(&self, limit: Duration, init: impl FnOnce() -> T) -> Option<&T> {
        self.get_or_init_deadline(far::after(limit), init)
    }

    /// As [`get_or_init`](Self::get_or_init), but waits for another no longer than until `deadline`. `None` if that
    /// came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let cell = ropewalk::sync::OnceCell::new();
    /// assert_eq!(cell.get_or_init_deadline(Instant::now(), || 7), Some(&7)); // nobody else makes it
    /// ```
    ///
    /// # Panics
    /// If `init` does, and if `init` uses the same cell.
    pub fn get_or_init_deadline(&self, deadline: Instant, init: impl FnOnce() -> T) -> Option<&T> {
        self.make(Patience::Until(deadline), init)
    }

    fn make(&self, patience: Patience, init: impl FnOnce() -> T) -> Option<&T> {
        let result: Result<Option<&T>, core::convert::Infallible> = self.try_make(patience, || Ok(init()));
        let Ok(value) = result;
        value
    }

    /// As [`get_or_init`](Self::get_or_init), but `init` may fail; the next caller tries again.
    ///
    /// # Examples
    /// ```
    /// let port = ropewalk::sync::OnceCell::new();
    /// assert!(port.get_or_try_init(|| "a port".parse::<u16>()).is_err());
    /// assert_eq!(port.get_or_try_init(|| "80".parse::<u16>()), Ok(&80));
    /// assert_eq!(port.get(), Some(&80));
    /// ```
    ///
    /// # Errors
    /// What `init` gives.
    ///
    /// # Panics
    /// If `init` does, and if `init` uses the same cell.
    pub fn get_or_try_init<E>(&self, init: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        let value = self.try_make(Patience::ForEver, init)?;
        Ok(value.expect("whoever waits for ever gets a value"))
    }

    fn try_make<E>(&self, patience: Patience, init: impl FnOnce() -> Result<T, E>) -> Result<Option<&T>, E> {
        self.once.run("OnceCell or Lazy", patience, || {
            let value = init()?;
            // SAFETY: RUNNING: nobody else touches the value.
            unsafe { &mut *self.value.get() }.write(value);
            Ok(())
        })?;
        Ok(self.get())
    }

    /// Takes the value out; the cell is empty again.
    pub fn take(&mut self) -> Option<T> {
        let full = self.once.is_completed();
        self.once = Once::new();
        // SAFETY: it was written, and the new `once` says that it is gone.
        full.then(|| unsafe { self.value.get_mut().assume_init_read() })
    }

    /// Gives the value back.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }
}

impl<T> Drop for OnceCell<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnceCell").field(&self.get()).finish()
    }
}
