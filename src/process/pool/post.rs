//! A worker's post on the board: whether it sleeps, and what it has in its hands.
//!
//! The word `sleep`:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `AWAKE` | `LOOKING` | the worker | it has found no task |
//! | `LOOKING` | `AWAKE` | the worker | it has seen one; before it takes it |
//! | `LOOKING` | `ASLEEP` | the worker | it has looked long enough; then it looks once more |
//! | `ASLEEP` | `AWAKE` | the parent, or the worker | a wake |
//! | any | `CONDEMNED` | the worker | it waits for the signal that ends it |
//! | any | `AWAKE` | the parent | the worker is dead |
//!
//! A worker that sets the word looks at the ring afterwards; the parent puts, then looks at the words (all
//! SeqCst, so one of the two sees the other).
//!
//! Why the parent need not wake a sleeper as long as there are no more tasks than workers that look: each of
//! these looks once more after it has left `LOOKING`, so each finds a task or there is none left. One that is
//! killed meanwhile still counts until it is buried; then all are woken.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys::futex;

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;
const CONDEMNED: u32 = 2;
const LOOKING: u32 = 3;

/// Set in `task` by the parent: the worker is killed for it.
const FOR_DEATH: u64 = 1 << 63;

/// Zeros are the post of a worker that is awake and has nothing.
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Post {
    sleep: AtomicU32,
    hands: Hands,
}

/// On a cache line of their own: the parent looks at `sleep` for every task that it puts.
#[repr(C, align(128))]
#[derive(Debug)]
struct Hands {
    /// The id of the task in the worker's hands; zero for none. Written by the worker.
    task: AtomicU64,
    /// When it was taken, in nanoseconds of the monotonic clock.
    began: AtomicU64,
}

/// Nanoseconds of the monotonic clock, which all processes share.
pub(super) fn now() -> u64 {
    crate::sys::thread::monotonic()
}

impl Post {
    /// Says that the worker has a task.
    pub(super) fn hold(&self, id: u64) {
        // Relaxed: read after `task`.
        self.hands.began.store(now(), Ordering::Relaxed);
        // Release pairs with the Acquire in `running`.
        self.hands.task.store(id, Ordering::Release);
    }

    /// Says that the worker has nothing in its hands: its result is sent. One that was condemned meanwhile
    /// waits here for the signal, so that it does not take another task with it.
    pub(super) fn done(&self, id: u64) {
        // Release: the result was sent before.
        while self.hands.task.compare_exchange(id, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            // Nobody sets this word while the worker does not sleep for a task.
            self.sleep.store(CONDEMNED, Ordering::SeqCst);
            futex::wait_shared(&self.sleep, CONDEMNED, None);
        }
    }

    /// Decides that the worker is to be killed for a task; false if it has nothing to do with it any more.
    pub(super) fn condemn(&self, id: u64) -> bool {
        // Relaxed: nothing rides on it; the kill comes after.
        self.hands.task.compare_exchange(id, id | FOR_DEATH, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// What the worker has in its hands, and since when.
    pub(super) fn running(&self) -> Option<(u64, u64)> {
        // Acquire pairs with the Release in `hold`.
        let task = self.hands.task.load(Ordering::Acquire) & !FOR_DEATH;
        // Relaxed: written before `task`; a later task's is later, which does no harm.
        (task != 0).then(|| (task, self.hands.began.load(Ordering::Relaxed)))
    }

    /// Makes the post vacant. By the parent, when the worker is dead.
    pub(super) fn vacate(&self) {
        self.hands.task.store(0, Ordering::Release);
        self.sleep.store(AWAKE, Ordering::SeqCst);
    }

    pub(super) fn look(&self) {
        self.sleep.store(LOOKING, Ordering::SeqCst);
    }

    pub(super) fn wake_up(&self) {
        self.sleep.store(AWAKE, Ordering::SeqCst);
    }

    /// Sleeps, unless `ready` says otherwise once it is said that the worker sleeps.
    pub(super) fn sleep(&self, ready: impl Fn() -> bool) {
        self.sleep.store(ASLEEP, Ordering::SeqCst);
        if !ready() {
            futex::wait_shared(&self.sleep, ASLEEP, None);
        }
        self.wake_up();
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.sleep.load(Ordering::SeqCst) == ASLEEP
    }

    pub(super) fn is_looking(&self) -> bool {
        self.sleep.load(Ordering::SeqCst) == LOOKING
    }

    /// Wakes the worker, if it sleeps.
    pub(super) fn wake(&self) -> bool {
        let woken = self.is_asleep()
            && self.sleep.compare_exchange(ASLEEP, AWAKE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if woken {
            futex::wake_shared(&self.sleep, 1);
        }
        woken
    }
}
