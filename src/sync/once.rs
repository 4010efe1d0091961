//! Things done once: `Once`, `OnceCell`, `Lazy`.
//!
//! | state | meaning | who leaves it |
//! |---|---|---|
//! | `NEW` | not done | the first caller, to `RUNNING` |
//! | `RUNNING` | somebody is doing it | that one, to `DONE`, or to `NEW` if it unwinds |
//! | `DONE` | done | nobody |

use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ops::Deref;
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::time::Instant;

use super::futex;
use crate::runtime::{far, party};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;

/// Something to be done once. If it panics, the next caller does it.
///
/// # Examples
/// ```
/// use ropewalk::sync::Once;
///
/// static SETUP: Once = Once::new();
/// let mut times = 0;
/// SETUP.call_once(|| times += 1);
/// SETUP.call_once(|| times += 1);
/// assert_eq!(times, 1);
/// ```
#[derive(Default)]
pub struct Once {
    state: AtomicU32,
    /// Who is doing it.
    runner: AtomicU32,
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish()
    }
}

/// Tells the others how it has ended.
struct Running<'a>(&'a Once, u32);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Relaxed: read by the runner itself.
        self.0.runner.store(0, Ordering::Relaxed);
        // SeqCst: Release for what was done, and the futex's own comparison.
        self.0.state.store(self.1, Ordering::SeqCst);
        futex::wake(&self.0.state, usize::MAX);
    }
}

impl Once {
    /// Makes one that is not done.
    pub const fn new() -> Self {
        Self { state: AtomicU32::new(NEW), runner: AtomicU32::new(0) }
    }

    /// Tells whether it is done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        // Acquire pairs with the Release of the end.
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Does it, or waits until another has done it. A cancellation point if it has to wait.
    ///
    /// # Panics
    /// If `f` does, and if `f` calls this on the same `Once`.
    pub fn call_once(&self, f: impl FnOnce()) {
        let ran: Result<(), core::convert::Infallible> = self.try_call_once("Once", || {
            f();
            Ok(())
        });
        let Ok(()) = ran;
    }

    /// Waits until somebody has done it. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// static LOADED: ropewalk::sync::Once = ropewalk::sync::Once::new();
    /// let waiter = ropewalk::spawn(|| LOADED.wait());
    /// LOADED.call_once(|| ());
    /// waiter.join().unwrap();
    /// assert!(LOADED.is_completed());
    /// ```
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        loop {
            // Acquire pairs with the Release of the end.
            let state = self.state.load(Ordering::Acquire);
            if state == DONE {
                return true;
            }
            // A run that fails wakes everybody, and the next one may not.
            if futex::wait(&self.state, state, deadline) == futex::Waited::TimedOut {
                return self.is_completed();
            }
        }
    }

    fn try_call_once<E>(&self, what: &str, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        while !self.is_completed() {
            // Acquire: a run before that failed may have left something behind.
            match self.state.compare_exchange(NEW, RUNNING, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    self.runner.store(party::current_id(), Ordering::Relaxed);
                    let mut running = Running(self, NEW);
                    f()?;
                    running.1 = DONE;
                    return Ok(());
                }
                Err(RUNNING) => {
                    // Relaxed: only the caller's own store can match.
                    let own = self.runner.load(Ordering::Relaxed) == party::current_id();
                    assert!(!own, "a {what} was used again from within its own init: it would wait for ever");
                    futex::wait(&self.state, RUNNING, None);
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

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
        self.once.try_call_once("OnceCell or Lazy", || {
            let value = init()?;
            // SAFETY: RUNNING: nobody else touches the value.
            unsafe { &mut *self.value.get() }.write(value);
            Ok(())
        })?;
        Ok(self.get().expect("a completed cell has a value"))
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
        this.cell.get_or_init(|| {
            let init = this.init.lock().take();
            init.expect("the init function of a Lazy has panicked before")()
        })
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
