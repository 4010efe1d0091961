//! What few tasks need, kept out of the header: name, stack size, permit, locals.

use core::any::Any;
#[cfg(feature = "monkey")]
use core::cell::Cell;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::permit::Permit;
use super::task::Task;

/// Values of `coroutine_local!` keys.
#[derive(Debug, Default)]
pub(crate) struct Locals {
    /// By the key's address.
    pub(crate) values: HashMap<usize, Rc<dyn Any>>,
    /// No more are made, because destructors have made enough.
    pub(crate) closed: bool,
}

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
    /// See `unwinding`. Its worker's thread alone looks at it.
    unwinds_in: AtomicU64,
    /// The same.
    in_doubt: AtomicBool,
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

    /// The period in which the coroutine was last known to unwind; 0 for none.
    pub(crate) fn unwinds_in(task: &Task) -> u64 {
        // Relaxed: one thread alone uses it.
        Self::of(task).map_or(0, |extra| extra.unwinds_in.load(Ordering::Relaxed))
    }

    /// Notes that it unwinds in this period.
    pub(crate) fn note_unwinding(task: &Task, period: u64) {
        // Relaxed: as above.
        Self::get_or_make(task).unwinds_in.store(period, Ordering::Relaxed);
    }

    /// Tells whether the coroutine waits, and may unwind.
    pub(crate) fn is_in_doubt(task: &Task) -> bool {
        // Relaxed: one thread alone uses it.
        Self::of(task).is_some_and(|extra| extra.in_doubt.load(Ordering::Relaxed))
    }

    /// Notes that it does.
    pub(crate) fn note_doubt(task: &Task) {
        // Relaxed: as above.
        Self::get_or_make(task).in_doubt.store(true, Ordering::Relaxed);
    }

    /// Takes that note; false if there was none.
    pub(crate) fn end_doubt(task: &Task) -> bool {
        // Relaxed: as above.
        Self::of(task).is_some_and(|extra| extra.in_doubt.swap(false, Ordering::Relaxed))
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
        super::local::drop_all(|locals| {
            // SAFETY: only the coroutine itself comes here, and nothing is borrowed.
            core::mem::replace(unsafe { &mut *extra.locals.get() }, locals)
        });
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
