//! A coroutine by hand: values in, values out, and an end.
//!
//! ```text
//! resume(input) ──▶ closure ── suspend(value) ──▶ State::Yielded(value)
//! resume(input) ──▶ … returns ────────────────▶ State::Returned(value)
//! ```
//!
//! Values go through a transfer cell beside the strand, never through registers, so they may be of any
//! size. The cell and the strand are boxed: their address must not change.
//!
//! Who may suspend: only code that runs directly on the coroutine. A slot is aligned to its size, so one
//! comparison tells whether the caller is on the suspender's own stack; one that was carried into a nested
//! coroutine panics instead of switching stacks that are not its own.

use core::cell::{Cell, UnsafeCell};
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::panic;

use super::build::CoroutineBuilder;
use super::stack::Stack;
use super::state::{Snapshot, State};
use super::strand::Strand;
use super::switch::{DefaultSwitch, Switch};
use super::unwind::{self, Ended, Kill};
use super::{id, overflow};

/// What goes from one side to the other: written before each switch, and moved out after it.
enum Transfer<I, Y, R> {
    Input(I),
    /// The coroutine is to unwind.
    Kill,
    Yielded(Y),
    Ended(Ended<R>),
}

/// Everything of a coroutine, at one address.
struct Body<I, Y, R, S: Switch> {
    strand: UnsafeCell<Strand<S>>,
    transfer: UnsafeCell<MaybeUninit<Transfer<I, Y, R>>>,
    /// The closure until the first resume.
    start: Cell<Option<Start<I, Y, R, S>>>,
    /// An address in the slot of the stack, and the size to which slots are aligned.
    place: usize,
    stack_size: usize,
    id: u64,
    name: Option<Box<str>>,
}

impl<I, Y, R, S: Switch> Body<I, Y, R, S> {
    /// # Safety
    /// * Called by the side that runs, with nothing left from before.
    #[inline(always)]
    unsafe fn leave(&self, transfer: Transfer<I, Y, R>) {
        // SAFETY: only the side that runs touches the transfer.
        unsafe { self.transfer.get().cast::<Transfer<I, Y, R>>().write(transfer) };
    }

    /// # Safety
    /// * Called by the side that runs, once for each `leave`.
    #[inline(always)]
    unsafe fn take(&self) -> Transfer<I, Y, R> {
        // SAFETY: only the side that runs touches the transfer, and it was written.
        unsafe { self.transfer.get().cast::<Transfer<I, Y, R>>().read() }
    }
}

type Start<I, Y, R, S> = Box<dyn FnOnce(&Suspender<I, Y, R, S>, I) -> R>;

/// The right to suspend the coroutine that it was given to.
pub struct Suspender<I, Y, R = (), S: Switch = DefaultSwitch> {
    cell: NonNull<Body<I, Y, R, S>>,
}

impl<I, Y, R, S: Switch> Suspender<I, Y, R, S> {
    /// Gives `value` to the resumer, and returns with the next input.
    ///
    /// # Panics
    /// If the caller is not this very coroutine, but another one or one nested in it. Dropping a
    /// suspended coroutine unwinds it from here, without a word of the panic hook.
    #[inline]
    pub fn suspend(&self, value: Y) -> I {
        // SAFETY: whoever has the suspender is on the coroutine's stack, or on one resumed from there.
        let cell = unsafe { self.cell.as_ref() };
        let here = 0u8;
        if ptr::from_ref(&here).addr() ^ cell.place >= cell.stack_size {
            wrong_suspender();
        }
        // SAFETY: this is the side that runs, and what the other has left is moved out.
        unsafe { cell.leave(Transfer::Yielded(value)) };
        // SAFETY: the check above says that the caller is on this strand's stack.
        unsafe { Strand::suspend(cell.strand.get()) };
        // SAFETY: the other side has left something before it switched.
        match unsafe { cell.take() } {
            Transfer::Input(input) => input,
            _ => unwind::raise_kill(),
        }
    }
}

#[cold]
fn wrong_suspender() -> ! {
    panic!(
        "a suspender was used by code that is not its coroutine: only the coroutine itself can suspend, not one that it resumes"
    )
}

impl<I, Y, R, S: Switch> fmt::Debug for Suspender<I, Y, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Suspender")
    }
}

/// A coroutine that is resumed by hand.
///
/// It runs on a stack of its own, on the thread (or the scheduled coroutine) that resumes it. A panic
/// inside goes on in the resumer. Dropping a suspended one unwinds it: every destructor runs. One that has
/// not been resumed just drops its closure. `!Send`, because what is on its stack may be; see
/// [`Fresh`](super::Fresh) for one that moves to another thread before it starts.
///
/// With `panic = "abort"` there is no unwinding: dropping a suspended one then ends the process with a
/// message; run it to its end instead.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Coroutine, State};
///
/// let mut adder = Coroutine::<i32, i32, &str>::new(|out, mut n| {
///     while n != 0 {
///         n = out.suspend(n + 1);
///     }
///     "done"
/// });
/// assert_eq!(adder.resume(1), State::Yielded(2));
/// assert_eq!(adder.resume(5), State::Yielded(6));
/// assert_eq!(adder.resume(0), State::Returned("done"));
/// ```
pub struct Coroutine<I, Y, R = (), S: Switch = DefaultSwitch> {
    /// `None` once it has ended.
    cell: Option<NonNull<Body<I, Y, R, S>>>,
    id: u64,
    not_send: PhantomData<*const ()>,
}

impl<I, Y, R, S: Switch> Coroutine<I, Y, R, S> {
    /// Makes a coroutine with a stack of 256 KiB; `f` runs at the first resume.
    ///
    /// # Panics
    /// If there is no address space for a stack.
    pub fn new<F>(f: F) -> Self
    where
        F: FnOnce(&Suspender<I, Y, R, S>, I) -> R + 'static,
    {
        CoroutineBuilder::new()
            .build_with(f)
            .unwrap_or_else(|error| panic!("a coroutine cannot be made: {error}"))
    }

    pub(super) fn with<F>(stack: Stack, name: Option<Box<str>>, f: F) -> Self
    where
        F: FnOnce(&Suspender<I, Y, R, S>, I) -> R + 'static,
    {
        let id = id::next();
        stack.label(id, name.as_deref());
        let (address, stack_size) = (stack.bottom().addr(), stack.size());
        let mut place = Box::new(MaybeUninit::<Body<I, Y, R, S>>::uninit());
        let arg = place.as_mut_ptr().cast::<()>();
        // SAFETY: `entry` does not unwind, and is given the cell that is written below.
        let strand = unsafe { Strand::<S>::new(stack, entry::<I, Y, R, S>, arg) };
        place.write(Body {
            strand: UnsafeCell::new(strand),
            transfer: UnsafeCell::new(MaybeUninit::uninit()),
            start: Cell::new(Some(Box::new(f))),
            place: address,
            stack_size,
            id,
            name,
        });
        // SAFETY: written just now.
        let cell = unsafe { place.assume_init() };
        Self { cell: Some(NonNull::from(Box::leak(cell))), id, not_send: PhantomData }
    }

    /// The number of the coroutine, never used twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tells whether it has returned or panicked.
    pub fn is_done(&self) -> bool {
        self.cell.is_none()
    }

    /// Runs the coroutine until it suspends or returns.
    ///
    /// # Panics
    /// With the payload of the coroutine, if that panics; and if it has ended already.
    #[inline]
    pub fn resume(&mut self, input: I) -> State<Y, R> {
        match self.try_resume(input) {
            Ok(state) => state,
            Err(_) => panic!("coroutine #{} was resumed, but it has ended", self.id),
        }
    }

    /// As [`resume`](Self::resume), but gives the input back if the coroutine has ended already.
    ///
    /// # Errors
    /// The input.
    ///
    /// # Panics
    /// With the payload of the coroutine, if that panics.
    #[inline]
    pub fn try_resume(&mut self, input: I) -> Result<State<Y, R>, I> {
        let Some(cell) = self.cell else { return Err(input) };
        // SAFETY: the cell is alive until `free`.
        match unsafe { Self::step(cell, Transfer::Input(input)) } {
            Transfer::Yielded(value) => Ok(State::Yielded(value)),
            Transfer::Ended(ended) => {
                self.free();
                match ended {
                    Ended::Value(value) => Ok(State::Returned(value)),
                    Ended::Panicked(payload) => panic::resume_unwind(payload),
                    // A scheduled coroutine that was cancelled inside: the unwinding goes on outside.
                    Ended::Killed => panic::resume_unwind(Box::new(Kill)),
                }
            }
            _ => unreachable!("a coroutine leaves what it yields or how it ends"),
        }
    }

    /// Switches into the coroutine, and back.
    ///
    /// # Safety
    /// * The cell is alive, its strand new or suspended.
    #[inline]
    unsafe fn step(cell: NonNull<Body<I, Y, R, S>>, transfer: Transfer<I, Y, R>) -> Transfer<I, Y, R> {
        // SAFETY: the caller's duty.
        let this = unsafe { cell.as_ref() };
        // SAFETY: this is the side that runs, and what the other has left is moved out.
        unsafe { this.leave(transfer) };
        // SAFETY: the caller's duty; the cell does not move.
        unsafe { Strand::resume(this.strand.get()) };
        // SAFETY: the other side has left something before it switched.
        unsafe { this.take() }
    }

    /// Looks at the coroutine, which is suspended while anybody can; `None` once it has ended.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let cell = self.cell?;
        // SAFETY: the cell is alive.
        let cell = unsafe { cell.as_ref() };
        // SAFETY: it is suspended: `&self` says that nobody resumes it now.
        let strand = unsafe { &*cell.strand.get() };
        // SAFETY: as above.
        let registers = unsafe { strand.saved() };
        let (stack_bottom, stack_top) = (strand.stack().bottom().addr(), strand.stack().top().addr());
        let bytes_used = stack_top - registers.sp;
        Some(Snapshot { stack_bottom, stack_top, bytes_used, registers })
    }

    /// Frees a coroutine that has ended, or never started.
    fn free(&mut self) {
        if let Some(cell) = self.cell.take() {
            // SAFETY: boxed in `with`, and taken out of the one handle.
            drop(unsafe { Box::from_raw(cell.as_ptr()) });
        }
    }
}

impl<I, Y, R, S: Switch> Drop for Coroutine<I, Y, R, S> {
    fn drop(&mut self) {
        /// Resumes allowed to a coroutine that is to end.
        const PATIENCE: u32 = 1000;
        let Some(cell) = self.cell else { return };
        // SAFETY: the cell is alive.
        let this = unsafe { cell.as_ref() };
        if let Some(start) = this.start.take() {
            self.free();
            drop(start);
            return;
        }
        for _ in 0..PATIENCE {
            // SAFETY: the cell is alive, and suspended: it has not ended.
            if let Transfer::Ended(ended) = unsafe { Self::step(cell, Transfer::Kill) } {
                self.free();
                // As with std: a panic in a destructor goes on, unless one is going on already.
                if let Ended::Panicked(payload) = ended
                    && !std::thread::panicking()
                {
                    panic::resume_unwind(payload);
                }
                return;
            }
            // It has caught the unwinding, or suspends in a destructor: told again.
        }
        eprintln!(
            "coroutine '{}' (#{}) does not end: it was told to unwind {PATIENCE} times and suspended each time",
            this.name.as_deref().unwrap_or("unnamed"),
            this.id
        );
        std::process::abort();
    }
}

impl<Y, S: Switch> Iterator for Coroutine<(), Y, (), S> {
    type Item = Y;

    /// Resumes it: a coroutine without input and result is an iterator over what it yields.
    fn next(&mut self) -> Option<Y> {
        self.try_resume(()).ok()?.yielded()
    }
}

impl<I, Y, R, S: Switch> fmt::Debug for Coroutine<I, Y, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coroutine").field("id", &self.id).field("done", &self.is_done()).finish()
    }
}

/// The first frame of every hand-resumed coroutine.
///
/// # Safety
/// * `arg` is the cell whose strand this is.
unsafe extern "C" fn entry<I, Y, R, S: Switch>(arg: *mut ()) {
    overflow::ensure_thread();
    let cell = NonNull::new(arg.cast::<Body<I, Y, R, S>>()).expect("a strand is made with its cell");
    // SAFETY: a coroutine that runs is alive.
    let this = unsafe { cell.as_ref() };
    let suspender = Suspender { cell };
    // SAFETY: the other side has left something before it switched.
    let first = unsafe { this.take() };
    let ended = match (first, this.start.take()) {
        (Transfer::Input(input), Some(start)) => unwind::catch(|| start(&suspender, input)),
        _ => Ended::Killed,
    };
    // SAFETY: this is the side that runs, and what the other has left is moved out.
    unsafe { this.leave(Transfer::Ended(ended)) };
}
