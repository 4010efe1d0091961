//! A strand: one coroutine as the switch sees it. A stack and a stack pointer; no types, no unwinding.

use super::stack::Stack;
use super::switch::{DefaultSwitch, Entry, Raw, SavedRegisters, Switch};

/// Two words: the side that does not run, and the stack.
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
    /// Makes a strand whose first resume calls `entry(arg)`.
    ///
    /// # Safety
    /// * `entry` does not unwind, and may be called with `arg`.
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
        let context = unsafe { &raw mut (*this).context };
        // SAFETY: the caller's duty; the context is the side that does not run.
        unsafe { S::exchange(context) }
    }

    /// Goes back to the resumer; returns at the next resume.
    ///
    /// # Safety
    /// * The caller runs on this strand, or on one that was resumed from it.
    #[inline(always)]
    pub(crate) unsafe fn suspend(this: *mut Self) {
        // SAFETY: the strand lives.
        let context = unsafe { &raw mut (*this).context };
        // SAFETY: the caller's duty; the context is the resumer, who waits in `resume`.
        unsafe { S::exchange(context) };
    }

    pub(crate) fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Gives the stack back for another use.
    ///
    /// # Safety
    /// * The strand has finished, or was never resumed.
    #[inline]
    pub(crate) unsafe fn into_stack(self) -> Stack {
        self.stack
    }

    /// What is saved of the strand.
    ///
    /// # Safety
    /// * It is suspended or new.
    pub(crate) unsafe fn saved(&self) -> SavedRegisters {
        // SAFETY: the caller's duty.
        unsafe { S::saved(self.context) }
    }
}
