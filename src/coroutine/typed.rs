//! A coroutine by hand: values in, values out, and an end.
//!
//! ```text
//! resume(input) ──▶ closure ── suspend(value) ──▶ State::Yielded(value)
//! resume(input) ──▶ … returns ────────────────▶ State::Returned(value)
//! ```
//!
//! How values travel: `pack`. How the coroutine has ended lies in its body, because its stack is no place for that
//! any more.
//!
//! Who may suspend: only code that runs directly on the coroutine. A slot is aligned to its size, so one
//! comparison tells whether the caller is on the suspender's own stack; one that was carried into a nested
//! coroutine panics instead of switching stacks that are not its own.

use core::fmt;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::{self, NonNull};
use std::panic;

use super::body::Body;
use super::build::CoroutineBuilder;
use super::lingering::{self, Node, Phase};
use super::pack::{pack, unpack};
use super::stack::Stack;
use super::state::{Snapshot, State};
use super::switch::{DefaultSwitch, Order, Raw, Switch, Word};
use super::unwind::{self, Ended, Kill};
use super::{id, overflow};

/// The right to suspend the coroutine that it was given to.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Coroutine, Suspender};
///
/// fn count(out: &Suspender<(), u32>, to: u32) {
///     (0..to).for_each(|n| out.suspend(n));
/// }
/// assert_eq!(Coroutine::new(|out, ()| count(out, 4)).sum::<u32>(), 6);
/// ```
pub struct Suspender<I, Y, R = (), S: Switch = DefaultSwitch> {
    pub(super) cell: NonNull<Body<I, Y, R, S>>,
}

impl<I, Y, R, S: Switch> Suspender<I, Y, R, S> {
    /// Gives `value` to the resumer, and returns with the next input.
    ///
    /// # Panics
    /// If the caller is not this very coroutine, but another one or one nested in it; and if it has called `exit`,
    /// whose handlers suspend it. Dropping a
    /// suspended coroutine unwinds it from here, without a word of the panic hook.
    #[inline]
    pub fn suspend(&self, value: Y) -> I {
        // SAFETY: whoever has the suspender is on the coroutine's stack, or on one resumed from there.
        let cell = unsafe { self.cell.as_ref() };
        let here = MaybeUninit::<u8>::uninit();
        if ptr::from_ref(&here).addr().wrapping_sub(cell.bottom) >= cell.stack_size.get() {
            wrong_suspender(cell.stack_size.get());
        }
        let value = ManuallyDrop::new(value);
        // SAFETY: the check above says that the caller is the coroutine of this link.
        match unsafe { S::suspend(cell.link.get(), pack(&value)) } {
            // SAFETY: `try_resume` packs an input, which lies on the frame that waits for us.
            (input, Order::Run) => unsafe { unpack(input) },
            (_, Order::Kill) => cell.obey(),
        }
    }
}

#[cold]
fn wrong_suspender(stack_size: usize) -> ! {
    assert!(
        stack_size > 0,
        "a coroutine suspends while its thread ends, because `exit` was called in it: nobody could go on in its place"
    );
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
/// Closure, inputs and what it yields borrow nothing (`'static`): a suspended coroutine can be forgotten
/// (`mem::forget`) in the middle of a [`scope`](super::scope), and what was spawned there goes on.
///
/// ```compile_fail,E0597
/// use ropewalk::coroutine::Coroutine;
///
/// let mut looker = Coroutine::<&u32, (), ()>::new(|out, _| drop(out.suspend(())));
/// let number = 7;
/// looker.resume(&number);
/// ```
///
/// One that is still suspended when its thread ends (kept in a thread-local, or forgotten) is unwound then, before the
/// thread's locals are destroyed, which it may have borrowed; its handle finds it ended.
///
/// With `panic = "abort"` there is no unwinding: dropping a suspended one, or leaving it behind when its thread
/// ends, then ends the process with a message; run it to its end instead.
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
    /// Where it is suspended; here, so that a loop of resumes has it in a register.
    context: <S as Raw>::Context,
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
        I: 'static,
        Y: 'static,
    {
        CoroutineBuilder::new()
            .build_with(f)
            .unwrap_or_else(|error| panic!("a coroutine cannot be made: {error}"))
    }

    pub(super) fn with<F>(stack: Stack, name: Option<Box<str>>, f: F) -> Self
    where
        F: FnOnce(&Suspender<I, Y, R, S>, I) -> R + 'static,
        I: 'static,
        Y: 'static,
    {
        lingering::prepare();
        let id = id::next();
        stack.label(id, name.as_deref());
        let mut place = Box::new(MaybeUninit::<Body<I, Y, R, S>>::uninit());
        let arg = place.as_mut_ptr().cast::<()>();
        // SAFETY: the stack is owned and nobody runs on it; `entry` does not unwind, and is given the
        // cell that is written below.
        let context = unsafe { S::first(stack.top(), stack.bottom(), entry::<I, Y, R, S>, arg) };
        place.write(Body::new(context, stack, Box::new(f), id, name));
        // SAFETY: written just now.
        let cell = unsafe { place.assume_init() };
        // SAFETY: the body is boxed, and goes after the coroutine has ended; a context is a word, where the
        // registers of its side lie.
        unsafe { cell.stack.nest(cell.link.get().cast_const().cast()) };
        Self { cell: Some(NonNull::from(Box::leak(cell))), context, id, not_send: PhantomData }
    }

    /// The number of the coroutine, never used twice.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tells whether it has returned or panicked.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::coroutine::{Coroutine, State};
    ///
    /// let mut one = Coroutine::<(), u8, u8>::new(|out, ()| { out.suspend(1); 2 });
    /// assert!(matches!(one.resume(()), State::Yielded(1)) && !one.is_done());
    /// assert!(matches!(one.resume(()), State::Returned(2)) && one.is_done());
    /// ```
    pub fn is_done(&self) -> bool {
        // SAFETY: the cell is alive until `free`.
        self.cell.is_none_or(|cell| unsafe { cell.as_ref() }.node.phase.get() != Phase::Held)
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
    /// # Examples
    /// ```
    /// let mut once = ropewalk::coroutine::Coroutine::<u8, (), u8>::new(|_, n| n + 1);
    /// assert_eq!(once.try_resume(1).unwrap().returned(), Some(2));
    /// assert_eq!(once.try_resume(5), Err(5));
    /// ```
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
        if unsafe { cell.as_ref() }.node.phase.get() != Phase::Held {
            return Err(input);
        }
        let input = ManuallyDrop::new(input);
        // SAFETY: it has not ended, and this handle alone may run it: so it is suspended, or new.
        match unsafe { self.step(cell, pack(&input)) } {
            // SAFETY: `suspend` packs a value, which lies on the frame that waits for us.
            Some(value) => Ok(State::Yielded(unsafe { unpack(value) })),
            None => Ok(State::Returned(self.finish())),
        }
    }

    /// Switches into the coroutine, and back; `None` when it has ended.
    ///
    /// # Safety
    /// * The cell is this coroutine's, which is new or suspended.
    /// * The word is a packed input, which stays until this returns.
    #[inline(always)]
    unsafe fn step(&mut self, cell: NonNull<Body<I, Y, R, S>>, word: Word) -> Option<Word> {
        // SAFETY: the cell is alive.
        let body = unsafe { cell.as_ref() };
        // SAFETY: the caller's duty; the cell does not move.
        let (context, word) = unsafe { S::resume(body.link.get(), self.context, word, Order::Run) };
        self.context = context;
        word
    }

    /// Takes the result of a coroutine that has just ended.
    #[cold]
    fn finish(&mut self) -> R {
        let cell = self.cell.expect("a coroutine ends once");
        // SAFETY: the cell is alive until `free`.
        let ended = unsafe { cell.as_ref() }.ended.take();
        self.free();
        match ended.expect("a coroutine says how it has ended before it does") {
            Ended::Value(value) => value,
            Ended::Panicked(payload) => panic::resume_unwind(payload),
            // A scheduled coroutine that was cancelled inside: the unwinding goes on outside.
            Ended::Killed => panic::resume_unwind(Box::new(Kill)),
        }
    }

    /// Looks at the coroutine, which is suspended while anybody can; `None` once it has ended.
    ///
    /// # Examples
    /// ```
    /// let paused = ropewalk::coroutine::Coroutine::<(), (), ()>::new(|_, ()| ());
    /// let seen = paused.snapshot().unwrap();
    /// assert!(seen.stack_bottom < seen.registers.sp && seen.registers.sp < seen.stack_top);
    /// ```
    pub fn snapshot(&self) -> Option<Snapshot> {
        let cell = self.cell?;
        // SAFETY: the cell is alive.
        let cell = unsafe { cell.as_ref() };
        if cell.node.phase.get() != Phase::Held {
            return None;
        }
        // SAFETY: it is suspended: `&self` and its phase say that nobody runs it now.
        let registers = unsafe { S::saved(self.context) };
        let (stack_bottom, stack_top) = (cell.stack.bottom().addr(), cell.stack.top().addr());
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
        let Some(cell) = self.cell else { return };
        // SAFETY: the cell is alive.
        let this = unsafe { cell.as_ref() };
        match this.node.phase.get() {
            Phase::Held => {}
            Phase::Over => return self.free(),
            Phase::Ending | Phase::Abandoned => return this.node.phase.set(Phase::Abandoned),
        }
        if let Some(start) = this.start.take() {
            self.free();
            drop(start);
            return;
        }
        // SAFETY: the cell is alive, and suspended there: it has not ended.
        let ended = unsafe { Body::unwind(cell, self.context) };
        self.free();
        // As with std: a panic in a destructor goes on, unless one is going on already.
        if let Ended::Panicked(payload) = ended
            && !std::thread::panicking()
        {
            panic::resume_unwind(payload);
        }
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
/// * `arg` is the cell of the coroutine that runs; the word and the order are those of its first resume.
unsafe extern "C" fn entry<I, Y, R, S: Switch>(arg: *mut (), input: Word, order: usize) {
    overflow::ensure_thread();
    let cell = NonNull::new(arg.cast::<Body<I, Y, R, S>>()).expect("a coroutine is made with its cell");
    // SAFETY: a coroutine that runs is alive.
    let this = unsafe { cell.as_ref() };
    // SAFETY: the body begins with its node, does not move, and is not freed before the coroutine has ended, here.
    unsafe { Node::enter(cell.cast()) };
    let suspender = Suspender { cell };
    let ended = match (Order::of(order), this.start.take()) {
        (Order::Run, Some(start)) => {
            // SAFETY: `try_resume` packs an input, which lies on the frame that waits for us.
            let input = unsafe { unpack(input) };
            unwind::catch(|| start(&suspender, input))
        }
        _ => Ended::Killed,
    };
    // SAFETY: entered above, on this thread: a coroutine that has started stays on it.
    unsafe { this.node.leave() };
    this.ended.set(Some(ended));
}
