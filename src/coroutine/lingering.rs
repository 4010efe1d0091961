//! Hand-resumed coroutines that have started and not ended: a list a thread.
//!
//! One that is kept in a thread-local, or forgotten, is still suspended when its thread ends. Its frames may
//! borrow from thread-locals (`LocalKey::with`), and lend that to other threads (`std::thread::scope`). So it is
//! unwound before the first of those locals is destroyed; its handle finds it ended.
//!
//! Its destructors may hold that handle, so who may run, look at and free it is recorded before they run:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `Held` | `Ending` | the end of the thread | before it unwinds the coroutine |
//! | `Ending` | `Abandoned` | the handle's drop | it leaves the body to the end of the thread |
//! | `Ending` | `Over` | the end of the thread | the coroutine has ended: the handle's drop frees the body |
//!
//! Invariants:
//! * I1: a node is in the list of the thread that runs its coroutine from the first frame's beginning to its end.
//! * I2: while the list is not empty, a call of `end_all` comes before any destructor of a thread-local
//!   (`sys::thread_exit`), but for coroutines that run now: then `exit` was called in one, and never returns. Such a
//!   coroutine cannot suspend any more: its resumer would go on among destroyed locals.

use core::cell::Cell;
use core::ptr::{self, NonNull};

use crate::sys::thread_exit;

/// Who may resume a coroutine, look at it and free it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its handle.
    Held,
    /// The end of its thread, which unwinds it.
    Ending,
    /// As `Ending`, and the handle is gone.
    Abandoned,
    /// It has ended with its thread. The handle frees it.
    Over,
}

/// The part of a coroutine's body that its thread knows.
#[derive(Debug)]
pub(super) struct Node {
    prev: Cell<*const Node>,
    next: Cell<*const Node>,
    /// See [`Phase`].
    pub(super) phase: Cell<Phase>,
    /// Unwinds the coroutine of this node; false if it runs.
    end: unsafe fn(NonNull<Node>) -> bool,
}

thread_local! {
    /// The one that started last. Without a destructor: there until the thread is gone.
    static FIRST: Cell<*const Node> = const { Cell::new(ptr::null()) };
}

/// Sees to it that coroutines of this thread end before its locals. Called where a coroutine is made: the first time on
/// a thread it needs more of a stack than a coroutine may have.
pub(super) fn prepare() {
    if !thread_exit::is_armed() {
        thread_exit::arm(end_all);
    }
}

impl Node {
    /// A node in no list.
    ///
    /// # Safety
    /// * `end` may be called with this node while it is in a list, on its thread, and takes it out of the list
    ///   unless it returns false.
    pub(super) unsafe fn new(end: unsafe fn(NonNull<Node>) -> bool) -> Self {
        let none = || Cell::new(ptr::null());
        Self { prev: none(), next: none(), phase: Cell::new(Phase::Held), end }
    }

    /// Puts a node into the calling thread's list, by a pointer that may reach the whole body.
    ///
    /// # Safety
    /// * It lives, and stays at this address until [`leave`](Self::leave), which the same thread calls.
    pub(super) unsafe fn enter(node: NonNull<Self>) {
        // Again, if the thread's locals are being destroyed since.
        prepare();
        let first = FIRST.replace(node.as_ptr());
        // SAFETY: the caller's duty.
        unsafe { node.as_ref() }.next.set(first);
        // SAFETY: null, or in this thread's list, so it lives (I1).
        if let Some(first) = unsafe { first.as_ref() } {
            first.prev.set(node.as_ptr());
        }
    }

    /// Takes it out again.
    ///
    /// # Safety
    /// * It is in the calling thread's list.
    pub(super) unsafe fn leave(&self) {
        let (prev, next) = (self.prev.get(), self.next.get());
        // SAFETY: null, or in this thread's list, so it lives (I1).
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => FIRST.set(next),
        }
        // SAFETY: as above.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(prev);
        }
    }
}

/// Unwinds all suspended coroutines of the calling thread, the youngest first.
pub(crate) fn end_all() {
    let mut at = FIRST.get();
    while let Some(node) = NonNull::new(at.cast_mut()) {
        // SAFETY: in this thread's list, so it lives (I1).
        let end = unsafe { node.as_ref() }.end;
        // SAFETY: as above, and this is its thread.
        at = if unsafe { end(node) } {
            // Others may have ended with it.
            FIRST.get()
        } else {
            // SAFETY: still in the list.
            unsafe { node.as_ref() }.next.get()
        };
    }
}
