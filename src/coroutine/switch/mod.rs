//! The switch: from one stack to another and back, in a dozen instructions.
//!
//! One trait, two implementations: `x86_64` in assembly, and `boost` over the `context` crate, which
//! every other target uses. Both keep the other side's stack pointer in one word, the *context*:
//!
//! ```text
//! suspended:  context ──▶ the coroutine's saved registers, on its own stack
//! running:    context ──▶ the resumer's saved registers, on the resumer's stack
//! ```
//!
//! so that resuming and suspending are one and the same exchange.

pub(crate) mod boost;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

use core::fmt::Debug;

pub use boost::Boost;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Assembly;

/// The switcher that coroutines use unless told otherwise: assembly on x86-64, `context` elsewhere
/// and with the cargo feature `boost`.
#[cfg(all(target_arch = "x86_64", not(feature = "boost")))]
pub type DefaultSwitch = Assembly;
/// The switcher that coroutines use unless told otherwise: assembly on x86-64, `context` elsewhere
/// and with the cargo feature `boost`.
#[cfg(not(all(target_arch = "x86_64", not(feature = "boost"))))]
pub type DefaultSwitch = Boost;

/// What the first frame of a coroutine runs.
pub(crate) type Entry = unsafe extern "C" fn(*mut ());

/// Registers of a suspended coroutine, as far as its switcher knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedRegisters {
    /// The stack pointer.
    pub sp: usize,
    /// Where it goes on.
    pub ip: Option<usize>,
    /// The frame pointer.
    pub bp: Option<usize>,
    /// `rbx` on x86-64, which compilers do not let inline assembly name as clobbered.
    pub bx: Option<usize>,
}

mod sealed {
    use super::{Entry, SavedRegisters};

    /// What a switcher does; out of reach of users, because each of it is unsafe.
    pub trait Raw {
        /// One word: the side that does not run.
        type Context: Copy + core::fmt::Debug;

        /// Lays the first frame of a coroutine on an empty stack: it will call `entry(arg)`.
        ///
        /// # Safety
        /// * `top` is 64-byte aligned, and from `bottom` up to it all is writable and unused.
        unsafe fn first(top: *mut u8, bottom: *mut u8, entry: Entry, arg: *mut ()) -> Self::Context;

        /// Exchanges the two sides; false when the other side suspends, true when it has finished.
        ///
        /// # Safety
        /// * `*context` is the side that does not run, of the coroutine that the caller resumes or is.
        /// * `context` stays at this address from the first resume on.
        unsafe fn exchange(context: *mut Self::Context) -> bool;

        /// What is saved of a suspended coroutine.
        ///
        /// # Safety
        /// * It is suspended.
        unsafe fn saved(context: Self::Context) -> SavedRegisters;
    }
}
pub(crate) use sealed::Raw;

/// A way to switch stacks. Sealed: [`Assembly`] and [`Boost`] are all there are.
pub trait Switch: sealed::Raw + Debug + 'static {
    /// The name that reports print.
    const NAME: &'static str;
}
