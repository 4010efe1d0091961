//! `pthread_mutex_lock`, where it would wait for ever: the holder is another coroutine of this worker, parked.
//!
//! C libraries hold a mutex across calls that are replaced here, and so across a park (SQLite looks files up under one).
//! The next coroutine of the worker that asks for it would stop the worker in the kernel, and with it the holder. A
//! normal mutex of glibc's has the number of the thread that holds it. If that is the caller's own, nobody but a
//! coroutine of this worker can give it back: the caller lets them run, and looks again.
//!
//! All other waits are the kernel's. An allocator may take a mutex in the middle of a change to its thread's own lists,
//! where nothing else of the thread must run; with a holder on another thread, which goes on, it is never parked here.
//! Recursive mutexes are the thread's, so none of its coroutines waits for them; those of other kinds say what is wrong.

use libc::{c_int, pthread_mutex_t, timespec};

use super::errno;
use super::gate;
use super::symbols::Symbol;
use super::time::retry;
use crate::runtime::shield::Shield;

/// Tells whether a normal mutex is held by the calling thread.
#[cfg(target_env = "gnu")]
fn is_own(mutex: *const pthread_mutex_t) -> bool {
    use core::mem::size_of;
    use core::sync::atomic::{AtomicI32, Ordering};

    use super::hook::pass;

    /// The words that glibc's initializers for static mutexes make a part of its interface.
    #[repr(C)]
    struct Words {
        lock: AtomicI32,
        count: AtomicI32,
        owner: AtomicI32,
        users: AtomicI32,
        kind: AtomicI32,
    }
    const { assert!(size_of::<Words>() <= size_of::<pthread_mutex_t>()) };
    const ADAPTIVE: i32 = 3;
    // SAFETY: the caller of the replaced function has a mutex there; libc changes these words by atomic operations.
    let words = unsafe { &*mutex.cast::<Words>() };
    // Relaxed, here and below: the kind never changes, and the owner is this thread only if this thread has written it.
    let owner = words.owner.load(Ordering::Relaxed);
    owner != 0
        && [0, ADAPTIVE].contains(&words.kind.load(Ordering::Relaxed))
        && owner as isize == pass!(SYS_gettid)
}

#[cfg(not(target_env = "gnu"))]
fn is_own(_: *const pthread_mutex_t) -> bool {
    false
}

/// libc's own: with a limit that never comes, because that form goes by another name.
///
/// # Safety
/// * As libc's manual says of `pthread_mutex_lock`.
unsafe fn lock(mutex: *mut pthread_mutex_t) -> c_int {
    static NEVER: timespec = timespec { tv_sec: 1 << 40, tv_nsec: 0 };
    // SAFETY: the caller's duty.
    unsafe { libc::pthread_mutex_timedlock(mutex, &raw const NEVER) }
}

/// libc's `pthread_mutex_lock`: the error is what it returns. A cancellation is held back until it has the mutex.
///
/// # Safety
/// * As libc's manual says.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
#[cfg_attr(target_feature = "crt-static", allow(dead_code, reason = "nothing is replaced"))]
pub(super) unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    if gate::is_ajar(Symbol::PthreadMutexLock) && gate::open(Symbol::PthreadMutexLock) && is_own(mutex) {
        wait(mutex);
    }
    // SAFETY: the caller's duty.
    unsafe { lock(mutex) }
}

/// Lets others run until the thread does not hold the mutex. No coroutine of the worker takes it between that and the
/// caller's lock.
#[cold]
fn wait(mutex: *const pthread_mutex_t) {
    const HELD: isize = 1;
    let before = errno::get();
    let _shield = Shield::new();
    retry(Symbol::PthreadMutexLock, HELD, || isize::from(is_own(mutex)));
    errno::set(before);
}
