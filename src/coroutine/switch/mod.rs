//! The switch: from one stack to another and back, in a dozen instructions.
//!
//! One trait, two implementations: `x86_64` in assembly, and `boost` over the `context` crate, which
//! every other target uses. To both a side that does not run is one word, a *context*: where its
//! registers lie on its own stack. Whoever resumes a coroutine has that of the coroutine. Its *link* is that of the
//! resumer while it runs, and its own while it is suspended. The link stays at one address, which the coroutine knows.
//!
//! A [`Word`] travels with each switch: a value that fits, or the address of one on the stack of the
//! side that now waits.

pub(crate) mod boost;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_64;

use core::fmt::Debug;
use core::mem::MaybeUninit;

pub use boost::Boost;
#[cfg(target_arch = "x86_64")]
pub use x86_64::Assembly;

/// The switcher that coroutines use unless told otherwise: assembly on x86-64, `context` elsewhere
/// and with the cargo feature `boost`.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Coroutine, DefaultSwitch, Switch};
///
/// let named: Coroutine<(), &str, (), DefaultSwitch> = Coroutine::new(|out, ()| out.suspend(DefaultSwitch::NAME));
/// assert!(named.eq(["assembly"]) || DefaultSwitch::NAME == "context");
/// ```
#[cfg(all(target_arch = "x86_64", not(feature = "boost")))]
pub type DefaultSwitch = Assembly;
/// The switcher that coroutines use unless told otherwise: assembly on x86-64, `context` elsewhere
/// and with the cargo feature `boost`.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Coroutine, DefaultSwitch, Switch};
///
/// let named: Coroutine<(), &str, (), DefaultSwitch> = Coroutine::new(|out, ()| out.suspend(DefaultSwitch::NAME));
/// assert!(named.eq(["assembly"]) || DefaultSwitch::NAME == "context");
/// ```
#[cfg(not(all(target_arch = "x86_64", not(feature = "boost"))))]
pub type DefaultSwitch = Boost;

/// What travels with a switch: anything of a word's size, initialised or not.
pub(crate) type Word = MaybeUninit<*mut ()>;

/// What the first frame of a coroutine runs: its argument, then the word and the order (as a number)
/// of the first resume.
pub(crate) type Entry = unsafe extern "C" fn(*mut (), Word, usize);

/// Registers of a suspended coroutine, as far as its switcher knows them.
///
/// # Examples
/// ```
/// let paused = ropewalk::coroutine::Coroutine::<(), (), ()>::new(|_, ()| ());
/// let registers = paused.snapshot().unwrap().registers;
/// assert!(registers.sp > 0);
/// ```
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
    use super::{Entry, SavedRegisters, Word};

    /// What the resumer wants of the coroutine.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(usize)]
    pub enum Order {
        /// To go on.
        Run = 0,
        /// To unwind.
        Kill = 1,
    }

    impl Order {
        /// The order that travels as this number.
        #[inline(always)]
        pub(crate) fn of(number: usize) -> Self {
            if number == Self::Run as usize { Self::Run } else { Self::Kill }
        }
    }

    /// What a switcher does; out of reach of users, because each of it is unsafe.
    pub trait Raw {
        /// One word: the side that does not run.
        type Context: Copy + core::fmt::Debug;

        /// Lays the first frame of a coroutine on an empty stack: it will call `entry(arg, …)`.
        ///
        /// # Safety
        /// * `top` is 64-byte aligned, and from `bottom` up to it all is writable and unused.
        unsafe fn first(top: *mut u8, bottom: *mut u8, entry: Entry, arg: *mut ()) -> Self::Context;

        /// Runs the coroutine until it suspends, or has finished: then there is no word, and its
        /// context is dead. In a register on both ways, so that a loop of resumes need not wait for
        /// memory to give back what it has just been given (a third of its time).
        ///
        /// # Safety
        /// * `coroutine` is suspended or new, and not used after this.
        /// * `link` is its link: the same address at each resume.
        unsafe fn resume(
            link: *mut Self::Context,
            coroutine: Self::Context,
            word: Word,
            order: Order,
        ) -> (Self::Context, Option<Word>);

        /// Goes back to the resumer; returns with the word and the order of the next resume.
        ///
        /// # Safety
        /// * `link` is the link of the coroutine that calls this.
        unsafe fn suspend(link: *mut Self::Context, word: Word) -> (Word, Order);

        /// Asks the processor to bring a suspended side's registers, and the frames above them, near. A hint: nothing
        /// else happens, and nothing at all where there is no such request.
        #[inline(always)]
        fn fetch_stack(_context: Self::Context) {}

        /// The same for one place in memory.
        #[inline(always)]
        fn fetch_place(_place: *const ()) {}

        /// What is saved of a suspended coroutine, or of a resumer that waits.
        ///
        /// # Safety
        /// * It is suspended, or waits.
        unsafe fn saved(context: Self::Context) -> SavedRegisters;
    }
}
pub(crate) use sealed::{Order, Raw};

/// A way to switch stacks. Sealed: [`Assembly`] and [`Boost`] are all there are.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Boost, Coroutine, DefaultSwitch, Switch};
///
/// fn sum<S: Switch>() -> u32 {
///     Coroutine::<(), u32, (), S>::new(|out, ()| (0..4).for_each(|n| out.suspend(n))).sum()
/// }
/// assert_eq!(sum::<Boost>(), sum::<DefaultSwitch>());
/// ```
pub trait Switch: sealed::Raw + Debug + 'static {
    /// The name that reports print.
    const NAME: &'static str;
}
