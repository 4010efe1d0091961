//! The switch of the `context` crate (Boost.Context's assembly), for every target that crate knows.

use core::ptr;

use context::{Context, Transfer};

use super::{Entry, Raw, SavedRegisters, Switch};

/// The switch of the `context` crate.
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
    word: *mut *mut (),
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
    // The first resume passes the address of the context word; its neighbour is unknown to us, so
    // `first` has left what to call just above this frame, at the address kept in the word.
    let first = ptr::with_exposed_provenance_mut::<First>(transfer.data);
    // SAFETY: `exchange` passes the address of `First` on the first resume.
    let First { entry, arg, word } = unsafe { first.read() };
    // SAFETY: `exchange` stored it for this frame just now.
    unsafe { word.write(to_word(transfer.context)) };
    // SAFETY: the maker of the coroutine gave an entry and its argument.
    unsafe { entry(arg) };
    // SAFETY: the word holds the resumer.
    let resumer = unsafe { word.read() };
    // SAFETY: the resumer waits in `exchange`, and its context was not used since.
    let resumer = unsafe { from_word(resumer) };
    // SAFETY: nothing on this stack is needed any more.
    let _ = unsafe { resumer.resume(FINISHED) };
    unreachable!("a finished coroutine was resumed")
}

impl Raw for Boost {
    /// Bit 0 set: the address of `First` of a coroutine that was never resumed.
    type Context = *mut ();

    unsafe fn first(top: *mut u8, _bottom: *mut u8, entry: Entry, arg: *mut ()) -> *mut () {
        let first = top.cast::<First>().wrapping_sub(1);
        // SAFETY: the caller gives a writable, unused stack, far larger than this.
        unsafe { first.write(First { entry, arg, word: ptr::null_mut() }) };
        first.cast::<()>().map_addr(|address| address | 1)
    }

    #[inline]
    unsafe fn exchange(word: *mut *mut ()) -> bool {
        // SAFETY: the caller gives the word of a living coroutine.
        let mut other = unsafe { word.read() };
        let mut data = 0;
        if other.addr() & 1 != 0 {
            let first = other.map_addr(|address| address & !1).cast::<First>();
            // SAFETY: a tagged word is the place that `first` has written.
            unsafe { (*first).word = word };
            // Boost's own frame goes below, on a 16-byte boundary. 8 KiB is less than any stack's size;
            // it only bounds what `make_fcontext` may look at.
            let top = first.map_addr(|address| address & !63);
            // SAFETY: the stack reaches at least 8 KiB below.
            let stack = unsafe { context::stack::Stack::new(top.cast(), top.wrapping_byte_sub(8192).cast()) };
            // SAFETY: the stack is unused below `top`.
            other = to_word(unsafe { Context::new(&stack, start) });
            data = first.expose_provenance();
        }
        // SAFETY: it is the side that does not run, and used once: the new one replaces it.
        let other = unsafe { from_word(other) };
        // SAFETY: the other side waits in `exchange`, or is a fresh `start`.
        let transfer = unsafe { other.resume(data) };
        if transfer.data == FINISHED {
            return true;
        }
        // SAFETY: the word outlives the coroutine.
        unsafe { word.write(to_word(transfer.context)) };
        false
    }

    unsafe fn saved(context: *mut ()) -> SavedRegisters {
        SavedRegisters { sp: context.addr() & !1, ..SavedRegisters::default() }
    }
}
