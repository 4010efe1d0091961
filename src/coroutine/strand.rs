//! A strand: one scheduled coroutine as the switch sees it. A stack and a context; no types, no unwinding.

use super::stack::Stack;
use super::switch::{DefaultSwitch, Entry, Order, Raw, Switch, Word};

/// Two words: the side that does not run, and the stack.
///
/// The first is the coroutine's own context while it is suspended, and its link while it runs.
#[repr(C)]
pub(crate) struct Strand<S: Switch = DefaultSwitch> {
    context: <S as Raw>::Context,
    stack: Stack,
}

impl<S: Switch> core::fmt::Debug for Strand<S> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Strand").field("switch", &S::NAME).field("stack", &self.stack).finish()
    }
}

impl<S: Switch> Strand<S> {
    /// Makes a strand whose first resume calls `entry(arg, word, order)`.
    ///
    /// # Safety
    /// * `entry` does not unwind, and may be called with `arg` and what that resume gives.
    #[inline]
    pub(crate) unsafe fn new(stack: Stack, entry: Entry, arg: *mut ()) -> Self {
        // SAFETY: the stack is owned and nobody runs on it.
        let context = unsafe { S::first(stack.top(), stack.bottom(), entry, arg) };
        Self { context, stack }
    }

    /// Runs the strand until it suspends (false) or has finished (true).
    ///
    /// # Safety
    /// * It is suspended or new, and stays at this address from its first resume on.
    #[inline(always)]
    pub(crate) unsafe fn resume(this: *mut Self) -> bool {
        // SAFETY: the strand lives.
        let link = unsafe { &raw mut (*this).context };
        // SAFETY: as above; it does not run.
        let coroutine = unsafe { link.read() };
        // SAFETY: the caller's duty.
        let (saved, word) = unsafe { S::resume(link, coroutine, Word::uninit(), Order::Run) };
        // SAFETY: the strand outlives its turn.
        unsafe { link.write(saved) };
        word.is_none()
    }

    /// Asks the processor to bring the strand's own words near.
    #[inline(always)]
    pub(crate) fn fetch_words(this: *const Self) {
        S::fetch_place(this.cast());
    }

    /// Asks the processor to bring near what the next resume needs of the stack.
    ///
    /// # Safety
    /// * It is suspended or new.
    #[inline(always)]
    pub(crate) unsafe fn fetch_stack(this: *const Self) {
        // SAFETY: the strand lives.
        let place = unsafe { &raw const (*this).context };
        // SAFETY: as above; it does not run.
        let context = unsafe { place.read() };
        S::fetch_stack(context);
    }

    /// Goes back to the resumer; returns at the next resume.
    ///
    /// # Safety
    /// * The caller runs on this strand, or on one that was resumed from it.
    #[inline(always)]
    pub(crate) unsafe fn suspend(this: *mut Self) {
        // SAFETY: the strand lives.
        let link = unsafe { &raw mut (*this).context };
        // SAFETY: the caller's duty; the context of a running strand is its link.
        let _ = unsafe { S::suspend(link, Word::uninit()) };
    }

    /// Gives the stack back for another use.
    ///
    /// # Safety
    /// * The strand has finished, or was never resumed.
    #[inline]
    pub(crate) unsafe fn into_stack(self) -> Stack {
        self.stack
    }
}
