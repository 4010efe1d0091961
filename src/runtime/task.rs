//! A task: what the scheduler knows of one spawned coroutine, in one allocation.
//!
//! ```text
//! ┌ Task (header) ───────────────────────────────┬ TaskCell<F, T, H> ───────────────┐
//! │ party (state) │ join │ vtable │ strand │ …    │ stage: closure, then the result │ hook │
//! └──────────────────────────────────────────────┴──────────────────────────────────┘
//! ```
//!
//! `state` counts references from `REFERENCE` on. The bits below are set once and never cleared:
//!
//! | bit | set by | when |
//! |---|---|---|
//! | `STARTED` | the worker that takes it | it is bound to a stack and to that worker |
//! | `CANCELLED` | anybody | somebody has asked it to end, or its runtime ends |
//!
//! The cell of a small closure with a small result is 120 bytes, the most that malloc serves from its fast bins.
//!
//! Invariants:
//! * I1: before `STARTED` exactly one queue, or one thread in between, holds the task; after it only
//!   its worker touches `strand` and the fields marked "owner".
//! * I2: `stage` is touched by the coroutine alone until `join` says `DONE`, and from then on by
//!   whoever the join word names (see `join`).
//! * I3: references are the handles' and the scheduler's; the memory is freed by whoever drops the last.

use core::cell::{Cell, UnsafeCell};
use core::mem::{self, MaybeUninit};
use core::panic::{RefUnwindSafe, UnwindSafe};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering, fence};

use super::extra::Extra;
use super::join::{self, JoinError};
use super::party::Party;
use crate::coroutine::strand::Strand;
use crate::coroutine::unwind::{self, Ended, drop_quietly};

pub(crate) const STARTED: u32 = 1;
pub(crate) const CANCELLED: u32 = 2;
/// One reference.
const REFERENCE: u32 = 4;
/// More than anybody has: a program that clones handles and forgets them for ever ends here, before they overflow.
const TOO_MANY: u32 = u32::MAX / 2;

/// The header of every task, whatever it runs.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Task {
    /// First, so that a pointer to the party is a pointer to the task.
    pub(crate) party: Party,
    /// See `join`.
    pub(crate) join: AtomicPtr<()>,
    vtable: &'static VTable,
    /// Owner; initialised when `STARTED` is set.
    pub(crate) strand: UnsafeCell<MaybeUninit<Strand>>,
    /// Link in the inbox or the injector; whoever has taken the task out owns it.
    pub(crate) next: Cell<*mut Task>,
    /// Number of the coroutine, unique for ever.
    pub(crate) id: u64,
    /// Name, stack size, permit, locals: made on first need.
    pub(crate) extra: AtomicPtr<Extra>,
}

#[derive(Debug)]
struct VTable {
    run: unsafe fn(NonNull<Task>),
    take: unsafe fn(NonNull<Task>, *mut ()),
    discard: unsafe fn(NonNull<Task>),
    refuse: unsafe fn(NonNull<Task>, String),
    free: unsafe fn(NonNull<Task>),
}

/// How a scope counts its children, and a nursery learns of their panics.
pub(crate) trait Hook {
    /// Called before a result without a value is stored.
    #[inline]
    fn failed(&self, _: u64, _: &mut JoinError) {}

    /// Called when the result has been stored.
    fn finished(&self, id: u64, panicked: bool);
}

impl Hook for () {
    #[inline]
    fn finished(&self, _: u64, _: bool) {}
}

enum Stage<F, T> {
    Closure(F),
    Done(Result<T, JoinError>),
    Empty,
}

#[repr(C)]
struct TaskCell<F, T, H> {
    task: Task,
    stage: UnsafeCell<Stage<F, T>>,
    hook: H,
}

/// A counted reference to a task.
#[derive(Debug)]
pub(crate) struct TaskRef(NonNull<Task>);

// SAFETY: shared fields are atomics; owner fields are touched by the owner's thread only (I1), and
// the payloads behind `stage` are Send by the bounds of `new`.
unsafe impl Send for TaskRef {}
// SAFETY: as for Send.
unsafe impl Sync for TaskRef {}

// What a coroutine has left behind by a panic is its joiner's to see.
impl UnwindSafe for TaskRef {}
impl RefUnwindSafe for TaskRef {}

impl TaskRef {
    /// Allocates a task; returns the handle's reference and the scheduler's.
    ///
    /// # Safety
    /// * What `F`, `T` and `H` borrow outlives the run of the coroutine, and the handle.
    #[inline]
    pub(crate) unsafe fn new<F, T, H>(f: F, id: u64, extra: *mut Extra, hook: H) -> (TaskRef, NonNull<Task>)
    where
        F: FnOnce() -> T + Send,
        T: Send,
        H: Hook + Send,
    {
        let cell = Box::new(TaskCell::<F, T, H> {
            task: Task {
                party: Party::of_task(2 * REFERENCE),
                join: AtomicPtr::new(join::EMPTY),
                vtable: &VTable {
                    run: run::<F, T, H>,
                    take: take::<F, T, H>,
                    discard: discard::<F, T, H>,
                    refuse: refuse::<F, T, H>,
                    free: free::<F, T, H>,
                },
                strand: UnsafeCell::new(MaybeUninit::uninit()),
                next: Cell::new(ptr::null_mut()),
                id,
                extra: AtomicPtr::new(extra),
            },
            stage: UnsafeCell::new(Stage::Closure(f)),
            hook,
        });
        let task = NonNull::from(Box::leak(cell)).cast::<Task>();
        (TaskRef(task), task)
    }

    /// Takes over a reference that was counted before.
    ///
    /// # Safety
    /// * The caller owns one count of the task, and gives it away.
    pub(crate) unsafe fn from_raw(task: NonNull<Task>) -> Self {
        Self(task)
    }

    /// The task's own pointer, which reaches all of it and not the header only.
    pub(crate) fn pointer(&self) -> NonNull<Task> {
        self.0
    }

    /// Counts one more reference to a task that is alive.
    ///
    /// # Safety
    /// * The task is alive.
    pub(crate) unsafe fn retain(task: NonNull<Task>) -> Self {
        // SAFETY: the caller knows that it is alive.
        // Relaxed: the caller's own reference keeps it alive; nothing rides on the count.
        let before = unsafe { task.as_ref() }.state().fetch_add(REFERENCE, Ordering::Relaxed);
        if before > TOO_MANY {
            too_many_references();
        }
        Self(task)
    }

    /// Moves the result out.
    ///
    /// # Safety
    /// * The join word says `DONE`, the caller has seen it with Acquire, and is the one joiner.
    /// * `T` is the task's result type.
    pub(crate) unsafe fn take<T>(&self) -> Result<T, JoinError> {
        let mut slot = MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: the caller is the one joiner, and `slot` has the type that `take` writes.
        unsafe { (self.vtable.take)(self.0, slot.as_mut_ptr().cast()) };
        // SAFETY: `take` has written it.
        unsafe { slot.assume_init() }
    }

    /// Ends a task that cannot start: its closure is dropped, and its result is a panic with `why`.
    ///
    /// # Safety
    /// * The task has not started, and the caller has taken it out of its queue.
    pub(crate) unsafe fn refuse(&self, why: String) {
        // SAFETY: the caller's duty.
        unsafe { (self.vtable.refuse)(self.0, why) };
    }

    /// Drops the result that nobody will take.
    ///
    /// # Safety
    /// * As for `take`.
    pub(crate) unsafe fn discard(&self) {
        // SAFETY: the caller is the one joiner.
        unsafe { (self.vtable.discard)(self.0) };
    }
}

impl core::ops::Deref for TaskRef {
    type Target = Task;
    #[inline]
    fn deref(&self) -> &Task {
        // SAFETY: the reference is counted.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps it alive.
        unsafe { Self::retain(self.0) }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        // A count of one is ours alone, and nobody can raise it.
        // Acquire pairs with the Release of whoever has dropped the one before.
        if self.state().load(Ordering::Acquire) / REFERENCE != 1 {
            // Release: what this reference did comes before the memory is freed.
            if self.state().fetch_sub(REFERENCE, Ordering::Release) / REFERENCE != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        // SAFETY: the last reference is gone.
        unsafe { (self.vtable.free)(self.0) };
    }
}

#[cold]
fn too_many_references() -> ! {
    eprintln!("a coroutine has half a billion handles; they cannot be counted any further");
    std::process::abort();
}

impl Task {
    /// References and flags.
    #[inline]
    pub(crate) fn state(&self) -> &AtomicU32 {
        &self.party.state
    }

    /// Tells whether a cancellation has been asked for.
    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        // Relaxed: the owner reads it again at each wait; nothing rides on it.
        self.state().load(Ordering::Relaxed) & CANCELLED != 0
    }

    /// The coroutine's name, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        Extra::of(self).and_then(|extra| extra.name.as_deref())
    }

    /// Runs the task's closure to its end. Called on its own strand, once.
    ///
    /// # Safety
    /// * The caller is the strand of this task.
    pub(crate) unsafe fn run(task: NonNull<Task>) {
        // SAFETY: a running task is alive.
        let vtable = unsafe { task.as_ref() }.vtable;
        // SAFETY: the caller is the strand of this task.
        unsafe { (vtable.run)(task) }
    }
}

/// # Safety
/// * As for [`Task::run`].
unsafe fn run<F: FnOnce() -> T, T, H: Hook>(task: NonNull<Task>) {
    // SAFETY: the vtable is that of this very cell type, and a running task is alive.
    let cell = unsafe { task.cast::<TaskCell<F, T, H>>().as_ref() };
    // SAFETY: I2: until DONE only the coroutine touches the stage.
    let stage = unsafe { &mut *cell.stage.get() };
    let Stage::Closure(f) = mem::replace(stage, Stage::Empty) else { unreachable!("a task runs once") };
    let result = if cell.task.is_cancelled() {
        match unwind::catch(move || drop(f)) {
            Ended::Panicked(payload) => Err(JoinError::Panicked(payload)),
            _ => Err(JoinError::Cancelled),
        }
    } else {
        match unwind::catch(f) {
            Ended::Value(value) => Ok(value),
            Ended::Panicked(payload) => Err(JoinError::Panicked(payload)),
            Ended::Killed => Err(JoinError::Cancelled),
        }
    };
    Extra::drop_locals(&cell.task);
    // SAFETY: the coroutine alone touches the stage, and borrows nothing of it.
    unsafe { finish::<F, T, H>(task, result) };
    // Wakers, and results that nobody takes, may have made new ones; whoever drops the last reference to the
    // task is on any thread, and they need not be `Send`.
    Extra::drop_locals(&cell.task);
}

/// # Safety
/// * As for [`TaskRef::refuse`].
unsafe fn refuse<F, T, H: Hook>(task: NonNull<Task>, why: String) {
    // SAFETY: the vtable is that of this very cell type, and the caller holds a reference.
    let cell = unsafe { task.cast::<TaskCell<F, T, H>>().as_ref() };
    // SAFETY: it has not started, so whoever took it out of its queue alone touches the stage.
    drop_quietly(mem::replace(unsafe { &mut *cell.stage.get() }, Stage::Empty));
    // SAFETY: as above.
    unsafe { finish::<F, T, H>(task, Err(JoinError::Panicked(Box::new(why)))) };
}

/// Stores the result and tells whoever waits for it.
///
/// # Safety
/// * The task is alive, and of this very cell type.
/// * The caller alone touches the stage, and borrows nothing of it.
#[inline]
unsafe fn finish<F, T, H: Hook>(task: NonNull<Task>, mut result: Result<T, JoinError>) {
    // SAFETY: the caller's duty.
    let cell = unsafe { task.cast::<TaskCell<F, T, H>>().as_ref() };
    if let Err(error) = &mut result {
        cell.hook.failed(cell.task.id, error);
    }
    let panicked = matches!(result, Err(JoinError::Panicked(_)));
    // SAFETY: the caller's duty.
    unsafe { *cell.stage.get() = Stage::Done(result) };
    if join::publish(&cell.task) == join::Published::NobodyJoins {
        // The handle is gone, so whoever has ended the coroutine may drop its result.
        // SAFETY: the join word is DONE and was DETACHED: nobody else reaches the stage.
        unsafe { discard::<F, T, H>(task) };
    }
    cell.hook.finished(cell.task.id, panicked);
}

/// # Safety
/// * As for [`TaskRef::take`]; `slot` takes a `Result<T, JoinError>`.
unsafe fn take<F, T, H>(task: NonNull<Task>, slot: *mut ()) {
    // SAFETY: the vtable is that of this very cell type, and the caller holds a reference.
    let cell = unsafe { task.cast::<TaskCell<F, T, H>>().as_ref() };
    // SAFETY: I2: after DONE the joiner alone touches the stage.
    let stage = mem::replace(unsafe { &mut *cell.stage.get() }, Stage::Empty);
    let Stage::Done(result) = stage else { unreachable!("a result is taken once, after the end") };
    // SAFETY: the caller gives a slot of this type.
    unsafe { slot.cast::<Result<T, JoinError>>().write(result) };
}

/// # Safety
/// * As for [`TaskRef::discard`].
unsafe fn discard<F, T, H>(task: NonNull<Task>) {
    // SAFETY: the vtable is that of this very cell type, and the caller holds a reference.
    let cell = unsafe { task.cast::<TaskCell<F, T, H>>().as_ref() };
    // SAFETY: I2: the caller is the one party that may touch the stage.
    let stage = mem::replace(unsafe { &mut *cell.stage.get() }, Stage::Empty);
    drop_quietly(stage);
}

/// # Safety
/// * The last reference is gone, and the coroutine has finished or never started.
unsafe fn free<F, T, H>(task: NonNull<Task>) {
    // SAFETY: `new` boxed it as this cell type, and nobody refers to it any more.
    let cell = unsafe { Box::from_raw(task.cast::<TaskCell<F, T, H>>().as_ptr()) };
    Extra::free(&cell.task);
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_small_cell_is_of_a_size_that_the_allocator_is_quick_with() {
        assert!(size_of::<TaskCell<u64, u64, ()>>() <= 120, "{}", size_of::<TaskCell<u64, u64, ()>>());
    }
}
