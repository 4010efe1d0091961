//! The mutex between processes, with its value in shared memory.
//!
//! The word, its states, and why nobody hangs: `base::robust_word`, `shm::lock`.

use core::cell::UnsafeCell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::handle::{Place, handle};
use crate::base::event_word::EventWord;
use crate::base::robust_word::RobustWord;
use crate::runtime::far;
use crate::shm::lock::Held;
use crate::shm::object::{Body as SharedBody, Object};
use crate::shm::pod::{self, Pod};

/// Number of the event.
const FREED: usize = 0;

#[repr(C)]
pub(super) struct Body<T> {
    word: RobustWord,
    freed: Place,
    value: UnsafeCell<T>,
}

// SAFETY: the word lets one party of one process at a time reach the value.
unsafe impl<T: Pod> Sync for Body<T> {}

// SAFETY: `repr(C)`; atomics, and a value for which any bytes will do; `pod::size` bounds the alignment.
unsafe impl<T: Pod> SharedBody for Body<T> {
    const KIND: u32 = 2;
    const EVENTS: usize = 1;

    fn event(&self, _: usize) -> &EventWord {
        &self.freed.0
    }

    fn orphan(&self, dead: u64) {
        self.word.orphan(dead);
    }
}

/// A plain value that one party at a time may touch, in whichever process.
///
/// A waiting coroutine leaves its worker to others; a thread sleeps in the kernel. If a process is killed
/// while it holds the lock, the next one gets it, and is told: see [`OwnerDied`]. Whoever locks twice without
/// unlocking waits for itself.
///
/// # Examples
/// ```
/// use ropewalk::process::Mutex;
///
/// let total = Mutex::new(0u64)?;
/// let again = total.clone(); // or a handle in another process
/// *total.lock().unwrap() += 41;
/// *again.lock().unwrap() += 1;
/// assert_eq!(*total.lock().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Mutex<T: Pod>(pub(super) Arc<Object<Body<T>>>);

handle!(Mutex<T: Pod>, |mutex, debug| {
    debug.field("locked", &mutex.is_locked());
});

impl<T: Pod> Mutex<T> {
    /// Makes a free mutex around `value`.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new(value: T) -> io::Result<Self> {
        const { assert!(pod::size::<T>() > 0) };
        let begin = |body: &Body<T>| {
            // SAFETY: nobody else has the memory yet, and the place is aligned and writable.
            unsafe { body.value.get().write(value) };
        };
        Ok(Self(Object::create(0, begin)?))
    }

    /// Waits for the lock. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// [`OwnerDied`], which holds the lock too, if the process that held it was killed.
    pub fn lock(&self) -> Result<MutexGuard<'_, T>, OwnerDied<'_, T>> {
        loop {
            match self.lock_until(None) {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::OwnerDied(died)) => return Err(died),
                Err(TryLockError::Held) => {}
            }
        }
    }

    /// Takes the lock if it is free. Never waits.
    ///
    /// # Errors
    /// `Held`; or `OwnerDied`, which holds the lock, if the process that held it was killed.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError<'_, T>> {
        self.guard(self.0.try_lock_or_inherit(&self.0.body().word, FREED))
    }

    /// As [`lock`](Self::lock), but waits no longer than `limit`.
    ///
    /// # Errors
    /// As for [`try_lock`](Self::try_lock).
    pub fn lock_timeout(&self, limit: Duration) -> Result<MutexGuard<'_, T>, TryLockError<'_, T>> {
        self.lock_deadline(far::after(limit))
    }

    /// As [`lock`](Self::lock), but waits no longer than until `deadline`.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let mutex = ropewalk::process::Mutex::new(6u32)?;
    /// *mutex.lock_deadline(Instant::now()).unwrap() += 1;
    /// assert_eq!(*mutex.lock().unwrap(), 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`try_lock`](Self::try_lock).
    pub fn lock_deadline(&self, deadline: Instant) -> Result<MutexGuard<'_, T>, TryLockError<'_, T>> {
        self.lock_until(Some(deadline))
    }

    fn lock_until(&self, deadline: Option<Instant>) -> Result<MutexGuard<'_, T>, TryLockError<'_, T>> {
        self.guard(self.0.lock(&self.0.body().word, FREED, deadline))
    }

    fn guard<'a>(
        &'a self,
        held: Option<Held<'a, Body<T>>>,
    ) -> Result<MutexGuard<'a, T>, TryLockError<'a, T>> {
        let held = held.ok_or(TryLockError::Held)?;
        let inherited = held.inherited;
        let guard = MutexGuard { mutex: self, _held: held };
        if inherited { Err(TryLockError::OwnerDied(OwnerDied(guard))) } else { Ok(guard) }
    }

    /// Tells whether a living process holds the lock now.
    pub fn is_locked(&self) -> bool {
        let word = &self.0.body().word;
        word.is_held() && {
            self.0.look_for_deaths();
            word.is_held()
        }
    }
}

/// The right to the value; given back when dropped. It belongs to the process: any thread may drop it.
///
/// # Examples
/// ```
/// let numbers = ropewalk::process::Mutex::new([0u32; 4])?;
/// let mut guard = numbers.lock().unwrap();
/// guard[2] = 7;
/// assert!(numbers.is_locked());
/// drop(guard);
/// assert!(!numbers.is_locked() && numbers.lock().unwrap()[2] == 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "the lock is given back when the guard is dropped"]
pub struct MutexGuard<'a, T: Pod> {
    mutex: &'a Mutex<T>,
    _held: Held<'a, Body<T>>,
}

impl<'a, T: Pod> MutexGuard<'a, T> {
    /// The mutex it belongs to.
    pub(super) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the guard exists only while the lock is held; any bytes are a value.
        unsafe { &*self.mutex.0.body().value.get() }
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` rules out another borrow through this guard.
        unsafe { &mut *self.mutex.0.body().value.get() }
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The process that held the lock was killed: the value may be half changed. This holds the lock now; it is
/// told once.
///
/// # Examples
/// ```
/// use ropewalk::process::{Mutex, Process};
///
/// let total = Mutex::new(5u32)?;
/// let die = |total: Mutex<u32>| -> u8 {
///     let _guard = total.lock();
///     std::process::exit(1)
/// };
/// assert!(Process::spawn(die, total.clone())?.join().is_err());
/// let Err(died) = total.lock() else { unreachable!() };
/// assert_eq!(*died.into_guard(), 5); // look at it before you trust it
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it holds the lock"]
pub struct OwnerDied<'a, T: Pod>(MutexGuard<'a, T>);

impl<'a, T: Pod> OwnerDied<'a, T> {
    /// The guard; the caller has looked after the value, or does not mind.
    pub fn into_guard(self) -> MutexGuard<'a, T> {
        self.0
    }
}

impl<T: Pod> fmt::Debug for OwnerDied<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerDied(..)")
    }
}

impl<T: Pod> fmt::Display for OwnerDied<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process that held the mutex was killed: check the value, then use `into_guard`")
    }
}

impl<T: Pod> core::error::Error for OwnerDied<'_, T> {}

/// The lock was not taken, or was taken from a dead process.
///
/// # Examples
/// ```
/// use ropewalk::process::{Mutex, TryLockError};
/// use std::time::Duration;
///
/// let mutex = Mutex::new(0u32)?;
/// let _guard = mutex.lock().unwrap();
/// assert!(matches!(mutex.try_lock(), Err(TryLockError::Held)));
/// assert!(matches!(mutex.lock_timeout(Duration::from_millis(1)), Err(TryLockError::Held)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "it may hold the lock"]
pub enum TryLockError<'a, T: Pod> {
    /// Somebody holds it, or held it until the deadline.
    Held,
    /// The caller has it now.
    OwnerDied(OwnerDied<'a, T>),
}

impl<T: Pod> fmt::Debug for TryLockError<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Held) { "Held" } else { "OwnerDied(..)" })
    }
}

impl<T: Pod> fmt::Display for TryLockError<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("the mutex is held by another party"),
            Self::OwnerDied(died) => died.fmt(f),
        }
    }
}

impl<T: Pod> core::error::Error for TryLockError<'_, T> {}
