//! The switch of the `context` crate (Boost.Context's assembly), for every target that crate knows.

use core::ptr;

use context::{Context, Transfer};

use super::{Entry, Order, Raw, SavedRegisters, Switch, Word};
use crate::sys::valgrind;

/// The switch of the `context` crate.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Boost, Coroutine, State, Switch};
///
/// let mut half = Coroutine::<u32, u32, (), Boost>::new(|out, mut n| loop { n = out.suspend(n / 2) });
/// assert!(matches!(half.resume(84), State::Yielded(42)));
/// assert!(matches!(half.resume(14), State::Yielded(7)));
/// assert_eq!(Boost::NAME, "context");
/// ```
#[derive(Debug)]
pub enum Boost {}

impl Switch for Boost {
    const NAME: &'static str = "context";
}

/// What the first frame needs; it lies at the top of the stack.
#[repr(C)]
struct First {
    entry: Entry,
    arg: *mut (),
    link: *mut *mut (),
    parcel: Parcel,
}

/// What a side that switches leaves on its stack; the other reads it before it does anything else.
#[derive(Clone, Copy)]
struct Parcel {
    word: Word,
    order: Order,
}

const FINISHED: usize = 1;

/// A context as the plain word it is.
fn to_word(context: Context) -> *mut () {
    // SAFETY: `Context` is one reference to an opaque place on a stack.
    unsafe { core::mem::transmute::<Context, *mut ()>(context) }
}

/// # Safety
/// * `word` came from `to_word`, and was not used since.
unsafe fn from_word(word: *mut ()) -> Context {
    // SAFETY: the caller's duty; it was a reference, so it is not null.
    unsafe { core::mem::transmute::<*mut (), Context>(word) }
}

extern "C" fn start(transfer: Transfer) -> ! {
    let first = ptr::with_exposed_provenance_mut::<First>(transfer.data);
    // SAFETY: `resume` passes the address of `First` on the first resume.
    let First { entry, arg, link, parcel } = unsafe { first.read() };
    // SAFETY: `resume` stored it for this frame just now.
    unsafe { link.write(to_word(transfer.context)) };
    // SAFETY: the maker of the coroutine gave an entry and its argument.
    unsafe { entry(arg, parcel.word, parcel.order as usize) };
    // SAFETY: the link is the resumer.
    let resumer = unsafe { link.read() };
    // SAFETY: the resumer waits in `resume`, and its context was not used since.
    let resumer = unsafe { from_word(resumer) };
    // SAFETY: nothing on this stack is needed any more.
    let _ = unsafe { resumer.resume(FINISHED) };
    unreachable!("a finished coroutine was resumed")
}

impl Raw for Boost {
    /// Bit 0 set: the address of `First` of a coroutine that was never resumed.
    type Context = *mut ();

    unsafe fn first(top: *mut u8, bottom: *mut u8, entry: Entry, arg: *mut ()) -> *mut () {
        valgrind::renew_stack(bottom, top);
        let first = top.cast::<First>().wrapping_sub(1);
        let parcel = Parcel { word: Word::uninit(), order: Order::Run };
        // SAFETY: the caller gives a writable, unused stack, far larger than this.
        unsafe { first.write(First { entry, arg, link: ptr::null_mut(), parcel }) };
        first.cast::<()>().map_addr(|address| address | 1)
    }

    #[inline]
    unsafe fn resume(
        link: *mut *mut (),
        coroutine: *mut (),
        word: Word,
        order: Order,
    ) -> (*mut (), Option<Word>) {
        let mut parcel = Parcel { word, order };
        let mut other = coroutine;
        let mut data = (&raw mut parcel).expose_provenance();
        if other.addr() & 1 != 0 {
            let first = other.map_addr(|address| address & !1).cast::<First>();
            // SAFETY: a tagged word is the address of what `first` has written.
            unsafe { (*first).link = link };
            // SAFETY: as above.
            unsafe { (*first).parcel = parcel };
            // Boost's own frame goes below, on a 16-byte boundary. 8 KiB is less than any stack's size;
            // it only bounds what `make_fcontext` may look at.
            let top = first.map_addr(|address| address & !63);
            // SAFETY: the stack reaches at least 8 KiB below.
            let stack = unsafe { context::stack::Stack::new(top.cast(), top.wrapping_byte_sub(8192).cast()) };
            // SAFETY: the stack is unused below `top`.
            other = to_word(unsafe { Context::new(&stack, start) });
            data = first.expose_provenance();
        }
        // SAFETY: the caller says that it is suspended or new, and used once.
        let other = unsafe { from_word(other) };
        // SAFETY: it waits in `suspend`, or is a fresh `start`.
        let transfer = unsafe { other.resume(data) };
        if transfer.data == FINISHED {
            return (ptr::null_mut(), None);
        }
        let parcel = ptr::with_exposed_provenance::<Parcel>(transfer.data);
        // SAFETY: `suspend` has left it on its stack, and waits.
        let parcel = unsafe { parcel.read() };
        let context = to_word(transfer.context);
        // SAFETY: the link lives.
        unsafe { link.write(context) };
        (context, Some(parcel.word))
    }

    #[inline]
    unsafe fn suspend(link: *mut *mut (), word: Word) -> (Word, Order) {
        let mut parcel = Parcel { word, order: Order::Run };
        // SAFETY: the link outlives the coroutine.
        let resumer = unsafe { link.read() };
        // SAFETY: the caller says that it is the resumer; used once: the new one replaces it.
        let resumer = unsafe { from_word(resumer) };
        // SAFETY: it waits in `resume`.
        let transfer = unsafe { resumer.resume((&raw mut parcel).expose_provenance()) };
        // SAFETY: as above.
        unsafe { link.write(to_word(transfer.context)) };
        let parcel = ptr::with_exposed_provenance::<Parcel>(transfer.data);
        // SAFETY: `resume` has left it on its stack, and waits.
        let parcel = unsafe { parcel.read() };
        (parcel.word, parcel.order)
    }

    unsafe fn saved(context: *mut ()) -> SavedRegisters {
        SavedRegisters { sp: context.addr() & !1, ..SavedRegisters::default() }
    }
}
