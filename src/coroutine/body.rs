//! What a hand-resumed coroutine and its handle share, at one address; and how it is told to unwind.

use core::cell::{Cell, UnsafeCell};
use core::ptr::NonNull;

use super::lingering::{Node, Phase};
use super::pack::unpack;
use super::stack::Stack;
use super::switch::{Order, Raw, Switch, Word};
use super::typed::Suspender;
use super::unwind::{self, Ended};

pub(super) type Start<I, Y, R, S> = Box<dyn FnOnce(&Suspender<I, Y, R, S>, I) -> R>;

#[repr(C)]
pub(super) struct Body<I, Y, R, S: Switch> {
    /// First, so that a pointer to the node is one to the body.
    pub(super) node: Node,
    /// Its resumer while it runs, and where it is suspended; written by the switch.
    pub(super) link: UnsafeCell<<S as Raw>::Context>,
    /// The lowest address of the stack, and its size; that is zero once the coroutine cannot suspend any more.
    pub(super) bottom: usize,
    pub(super) stack_size: Cell<usize>,
    pub(super) stack: Stack,
    /// Whether it was told to unwind.
    told: Cell<bool>,
    /// Written by the coroutine as the last it does.
    pub(super) ended: Cell<Option<Ended<R>>>,
    /// The closure until the first resume.
    pub(super) start: Cell<Option<Start<I, Y, R, S>>>,
    id: u64,
    name: Option<Box<str>>,
}

impl<I, Y, R, S: Switch> Body<I, Y, R, S> {
    pub(super) fn new(
        context: <S as Raw>::Context,
        stack: Stack,
        start: Start<I, Y, R, S>,
        id: u64,
        name: Option<Box<str>>,
    ) -> Self {
        Self {
            // SAFETY: the node of this very type; `end` leaves when the coroutine ends.
            node: unsafe { Node::new(end::<I, Y, R, S>) },
            link: UnsafeCell::new(context),
            bottom: stack.bottom().addr(),
            stack_size: Cell::new(stack.size()),
            stack,
            told: Cell::new(false),
            ended: Cell::new(None),
            start: Cell::new(Some(start)),
            id,
            name,
        }
    }

    fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed")
    }

    /// Unwinds the coroutine, which is on this body, from where it has suspended.
    #[cold]
    pub(super) fn obey(&self) -> ! {
        if self.told.replace(true) && std::thread::panicking() {
            // There is no input to go on with. Nobody could say whose destructor it was after std has aborted.
            eprintln!(
                "coroutine '{}' (#{}) has suspended in a destructor while it unwinds: that destructor unwinds now, \
                 and has to catch it",
                self.name(),
                self.id
            );
        }
        unwind::raise_kill()
    }

    /// Tells the coroutine to unwind until it has ended.
    ///
    /// # Safety
    /// * It is suspended at `context`, on this thread.
    pub(super) unsafe fn unwind(cell: NonNull<Self>, mut context: <S as Raw>::Context) -> Ended<R> {
        /// Resumes allowed to a coroutine that is to end.
        const PATIENCE: u32 = 1000;
        // SAFETY: a suspended coroutine's body is alive.
        let this = unsafe { cell.as_ref() };
        for _ in 0..PATIENCE {
            // SAFETY: the caller's duty; or it has suspended again, below.
            let (saved, word) = unsafe { S::resume(this.link.get(), context, Word::uninit(), Order::Kill) };
            let Some(word) = word else {
                return this.ended.take().expect("a coroutine says how it has ended before it does");
            };
            // It has caught the unwinding, or suspends in a destructor: told again. Nobody wants what it yields.
            context = saved;
            // SAFETY: `suspend` packs a value, which lies on the frame that waits for us.
            let value = unsafe { unpack::<Y>(word) };
            if let Ended::Panicked(payload) = unwind::catch(move || drop(value)) {
                unwind::discard(payload);
            }
        }
        eprintln!(
            "coroutine '{}' (#{}) does not end: it was told to unwind {PATIENCE} times and suspended each time",
            this.name(),
            this.id
        );
        std::process::abort();
    }
}

/// Unwinds a coroutine whose handle is elsewhere, or nowhere: see `lingering`. False if it runs: then it never
/// suspends again.
///
/// # Safety
/// * The node is that of a coroutine of this very type that has started and not ended, on its thread.
unsafe fn end<I, Y, R, S: Switch>(node: NonNull<Node>) -> bool {
    let cell = node.cast::<Body<I, Y, R, S>>();
    // SAFETY: a coroutine that has not ended has a body.
    let this = unsafe { cell.as_ref() };
    let link = this.link.get();
    // SAFETY: the switch does not write it now.
    let context = unsafe { link.read() };
    // SAFETY: it is the resumer's, who waits, or the coroutine's, which is suspended.
    let sp = unsafe { S::saved(context) }.sp;
    if sp.wrapping_sub(this.bottom) >= this.stack_size.get() {
        this.stack_size.set(0);
        return false;
    }
    // Before the destructors run: they may hold the handle.
    this.node.phase.set(Phase::Ending);
    // SAFETY: its link lies on its own stack, so it is suspended there.
    let ended = unsafe { Body::unwind(cell, context) };
    if this.node.phase.replace(Phase::Over) == Phase::Abandoned {
        // SAFETY: boxed when the coroutine was made; it has ended, and the handle has left it to this function.
        drop(unsafe { Box::from_raw(cell.as_ptr()) });
    }
    // Its result is nobody's, and a panic has nobody to go to.
    if let Ended::Panicked(payload) = unwind::catch(move || drop(ended)) {
        unwind::discard(payload);
    }
    true
}
