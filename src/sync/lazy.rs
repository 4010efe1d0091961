//! A value made on first use: a `OnceCell`, and the function that fills it.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Deref;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::time::Duration;
use std::time::Instant;

use super::once_cell::OnceCell;
use crate::runtime::far;

/// A value made on first use.
///
/// # Examples
/// ```
/// use ropewalk::sync::Lazy;
///
/// static TABLE: Lazy<Vec<u32>> = Lazy::new(|| (0..4).map(|n| n * n).collect());
/// assert_eq!(TABLE[3], 9);
/// ```
pub struct Lazy<T, F = fn() -> T> {
    cell: OnceCell<T>,
    init: super::Mutex<Option<F>>,
}

// As std's `LazyLock`.
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for Lazy<T, F> {}
impl<T: UnwindSafe + RefUnwindSafe, F: UnwindSafe> RefUnwindSafe for Lazy<T, F> {}

impl<T, F: FnOnce() -> T> Lazy<T, F> {
    /// Makes a value that `init` will make on first use.
    pub const fn new(init: F) -> Self {
        Self { cell: OnceCell::new(), init: super::Mutex::new(Some(init)) }
    }

    /// The value, made now if it is the first use; waits if another is making it.
    ///
    /// # Panics
    /// If `init` does, and on every use after that.
    pub fn force(this: &Self) -> &T {
        this.cell.get_or_init(|| this.make())
    }

    /// As [`force`](Self::force), but `None` if another is making it now. Waits for nobody; the init function
    /// itself may.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::{Event, Lazy};
    /// use std::time::Duration;
    ///
    /// let (begun, go_on) = (Event::new(), Event::new());
    /// let lazy = Lazy::new(|| { begun.set(); go_on.wait(); 7 });
    /// ropewalk::scope(|s| {
    ///     s.spawn(|| Lazy::force(&lazy));
    ///     begun.wait();
    ///     assert_eq!(Lazy::try_force(&lazy), None);
    ///     assert_eq!(Lazy::force_timeout(&lazy, Duration::from_millis(1)), None);
    ///     go_on.set();
    ///     assert_eq!(Lazy::force_timeout(&lazy, Duration::from_secs(60)), Some(&7));
    /// });
    /// ```
    ///
    /// # Panics
    /// As for `force`.
    pub fn try_force(this: &Self) -> Option<&T> {
        this.cell.try_get_or_init(|| this.make())
    }

    /// As [`force`](Self::force), but waits for another no longer than `limit`. `None` if that came first.
    ///
    /// # Panics
    /// As for `force`.
    pub fn force_timeout(this: &Self, limit: Duration) -> Option<&T> {
        Self::force_deadline(this, far::after(limit))
    }

    /// As [`force`](Self::force), but waits for another no longer than until `deadline`. `None` if that came first.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::sync::Lazy;
    /// use std::time::Instant;
    ///
    /// let lazy = Lazy::new(|| 7);
    /// assert_eq!(Lazy::force_deadline(&lazy, Instant::now()), Some(&7)); // nobody else makes it
    /// ```
    ///
    /// # Panics
    /// As for `force`.
    pub fn force_deadline(this: &Self, deadline: Instant) -> Option<&T> {
        this.cell.get_or_init_deadline(deadline, || this.make())
    }

    fn make(&self) -> T {
        let init = self.init.lock().take();
        init.expect("the init function of a Lazy has panicked before")()
    }
}

impl<T, F: FnOnce() -> T> Deref for Lazy<T, F> {
    type Target = T;
    fn deref(&self) -> &T {
        Self::force(self)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for Lazy<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lazy").field(&self.cell.get()).finish()
    }
}
