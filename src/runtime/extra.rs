//! What few tasks need, kept out of the header: name, stack size, permit, locals.

use core::any::Any;
#[cfg(feature = "monkey")]
use core::cell::Cell;
use core::cell::UnsafeCell;
use core::ptr;
#[cfg(feature = "monkey")]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicU32, Ordering};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::permit::Permit;
use super::task::Task;
use crate::coroutine::unwind::{self, Ended};

/// Values of `coroutine_local!` keys, by the key's address.
pub(crate) type Locals = HashMap<usize, Rc<dyn Any>>;

/// What a coroutine knows when its `thread::park` ends; zeros before the first.
#[cfg(feature = "monkey")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parked {
    /// Tokens that its thread had found by then.
    pub(crate) tokens: u64,
    /// The turn in which it ended.
    pub(crate) turn: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) name: Option<Arc<str>>,
    /// Bytes asked for; zero for the runtime's default.
    pub(crate) stack_size: usize,
    /// Behind `park` and `unpark`.
    permit: Permit,
    /// How often the coroutine was told that it is cancelled. It alone counts.
    kills: AtomicU32,
    /// The interruption that was told last as an error; see `told`. It alone looks at it.
    #[cfg(feature = "monkey")]
    told: AtomicU64,
    /// What it knew when its last `thread::park` ended. It alone looks at it.
    #[cfg(feature = "monkey")]
    parked: Cell<Parked>,
    /// Owner: touched on the coroutine only.
    locals: UnsafeCell<Option<Box<Locals>>>,
}

impl Extra {
    pub(crate) fn new(name: Option<Arc<str>>, stack_size: usize) -> Self {
        Self { name, stack_size, ..Self::default() }
    }

    /// The task's extra, if it has one.
    pub(crate) fn of(task: &Task) -> Option<&Extra> {
        // Acquire pairs with the Release in `get_or_make`.
        let extra = task.extra.load(Ordering::Acquire);
        // SAFETY: null, or boxed and alive until `free`, which needs the last reference to the task.
        unsafe { extra.as_ref() }
    }

    fn get_or_make(task: &Task) -> &Extra {
        if let Some(extra) = Self::of(task) {
            return extra;
        }
        let fresh = Box::into_raw(Box::new(Extra::default()));
        // Release: the extra is written before; Acquire on failure: the other's is read next.
        let set = task.extra.compare_exchange(ptr::null_mut(), fresh, Ordering::Release, Ordering::Acquire);
        if set.is_err() {
            // SAFETY: it was not put there, so it is still this function's own.
            drop(unsafe { Box::from_raw(fresh) });
        }
        Self::of(task).expect("an extra stays until its task is freed")
    }

    /// The permit behind `park` and `unpark`.
    pub(crate) fn permit(task: &Task) -> &Permit {
        &Self::get_or_make(task).permit
    }

    /// Counts that the coroutine is told that it is cancelled; gives the number so far, as far as a `u32` goes.
    pub(crate) fn count_kill(task: &Task) -> u32 {
        let kills = &Self::get_or_make(task).kills;
        // Relaxed: the coroutine alone counts.
        let count = kills.load(Ordering::Relaxed).saturating_add(1);
        kills.store(count, Ordering::Relaxed);
        count
    }

    /// The interruption that was told last as an error.
    #[cfg(feature = "monkey")]
    pub(crate) fn told(&self) -> u64 {
        // Relaxed: the coroutine alone looks at it.
        self.told.load(Ordering::Relaxed)
    }

    /// Notes the interruption that is told now.
    #[cfg(feature = "monkey")]
    pub(crate) fn tell(task: &Task, what: u64) {
        // Relaxed: as in `told`.
        Self::get_or_make(task).told.store(what, Ordering::Relaxed);
    }

    /// What the coroutine knew when its last `thread::park` ended.
    #[cfg(feature = "monkey")]
    pub(crate) fn parked(task: &Task) -> &Cell<Parked> {
        &Self::get_or_make(task).parked
    }

    /// Gives `f` the coroutine's locals.
    ///
    /// # Safety
    /// * The caller runs on this task, and `f` runs no code of the user's.
    pub(crate) unsafe fn with_locals<R>(task: &Task, f: impl FnOnce(&mut Locals) -> R) -> R {
        // SAFETY: only the coroutine itself comes here, and `f` does not come here again.
        let locals = unsafe { &mut *Self::get_or_make(task).locals.get() };
        f(locals.get_or_insert_default())
    }

    /// Drops the coroutine's locals, on the coroutine, until none is left.
    pub(crate) fn drop_locals(task: &Task) {
        let Some(extra) = Self::of(task) else { return };
        // A destructor may set locals again; each round drops what it finds.
        loop {
            // SAFETY: only the coroutine itself comes here, and nothing is borrowed.
            let Some(locals) = core::mem::take(unsafe { &mut *extra.locals.get() }) else { return };
            for (_, value) in *locals {
                if let Ended::Panicked(payload) = unwind::catch(move || drop(value)) {
                    unwind::discard(payload);
                }
            }
        }
    }

    /// Frees the extra. Called when the last reference to the task is gone.
    pub(crate) fn free(task: &Task) {
        // Relaxed: the last reference was dropped with Acquire.
        let extra = task.extra.swap(ptr::null_mut(), Ordering::Relaxed);
        if !extra.is_null() {
            // SAFETY: boxed in `get_or_make` or by the spawner, and nobody refers to the task any more.
            drop(unsafe { Box::from_raw(extra) });
        }
    }
}
