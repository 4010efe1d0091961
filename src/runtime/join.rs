//! The end of a coroutine, and whoever waits for it.
//!
//! The join word of a task:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `EMPTY` | a node | the joiner, by CAS | it waits |
//! | a node | `EMPTY` | the joiner, by CAS | it gives up (deadline, cancellation) |
//! | `EMPTY` | `DETACHED` | the handle's drop, by CAS | nobody will join |
//! | any of these | `DONE` | the coroutine, by swap | its result is stored |
//!
//! Whoever finds `DONE` may touch the result; if the coroutine found `DETACHED`, it is the coroutine.
//! The finisher that has taken a node out owns it until it stores `released`: its last touch.

use core::any::Any;
use core::fmt;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::time::Instant;

use super::park::{Outcome, Reason, Waiter, park};
use super::task::Task;
use crate::base::notice;
use crate::coroutine::unwind::{self, Ended};

pub(crate) const EMPTY: *mut () = ptr::null_mut();
const DETACHED: *mut () = ptr::without_provenance_mut(1);
const DONE: *mut () = ptr::without_provenance_mut(2);

/// Why a coroutine has no value to give.
///
/// # Examples
/// ```
/// use ropewalk::JoinError;
///
/// match ropewalk::spawn(|| panic!("out of rope")).join() {
///     Err(JoinError::Panicked(payload)) => assert_eq!(payload.downcast_ref(), Some(&"out of rope")),
///     other => unreachable!("{other:?}"),
/// }
/// ```
pub enum JoinError {
    /// It panicked; this is what it panicked with.
    Panicked(Box<dyn Any + Send + 'static>),
    /// It was cancelled, or its runtime ended, before it returned.
    Cancelled,
}

impl JoinError {
    /// Carries the coroutine's panic on in the caller.
    ///
    /// # Panics
    /// Always: with the payload of the coroutine, or with a message if it was cancelled.
    pub fn resume(self) -> ! {
        match self {
            Self::Panicked(payload) => std::panic::resume_unwind(payload),
            Self::Cancelled => panic!("the joined coroutine was cancelled"),
        }
    }

    /// Tells whether the coroutine was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(payload) => {
                f.debug_tuple("Panicked").field(&unwind::describe(&**payload)).finish()
            }
            Self::Cancelled => f.write_str("Cancelled"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(payload) => {
                write!(f, "the coroutine panicked: {}", unwind::describe(&**payload))
            }
            Self::Cancelled => f.write_str("the coroutine was cancelled before it returned"),
        }
    }
}

impl core::error::Error for JoinError {}

enum Node {
    /// On the joiner's stack.
    Parked { waiter: Waiter, released: AtomicBool },
    /// Boxed, and owned by the word.
    Waker(Waker),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    SomebodyMayJoin,
    NobodyJoins,
}

/// Says that the result is stored, and wakes the joiner. Called by the coroutine, once.
#[inline]
pub(crate) fn publish(task: &Task) -> Published {
    // Release: the result is stored before; pairs with the Acquire loads of the joiner.
    // Acquire: the node was written before it was put there.
    let found = task.join.swap(DONE, Ordering::AcqRel);
    if found == EMPTY {
        return Published::SomebodyMayJoin;
    }
    if found == DETACHED {
        return Published::NobodyJoins;
    }
    let node = found.cast::<Node>();
    // SAFETY: a node in the word lives until its joiner has taken it out by CAS, which now fails,
    // or has seen `released`.
    match unsafe { &*node } {
        Node::Parked { waiter, released } => {
            // SAFETY: the joiner does not return before `released`, so its party is alive.
            let claimed = unsafe { waiter.claim() };
            // LAST: the node may be gone after this line. Release pairs with the Acquire in `join`.
            released.store(true, Ordering::Release);
            if let Some(claimed) = claimed {
                claimed.wake();
            }
        }
        Node::Waker(_) => {
            // SAFETY: `poll` boxed it, and the swap has moved its ownership here.
            let node = unsafe { Box::from_raw(node) };
            if let Node::Waker(waker) = *node {
                // A waker is foreign code; if it panics, that is reported and goes no further.
                if let Ended::Panicked(payload) = unwind::catch(move || waker.wake()) {
                    unwind::report(|| {
                        notice::error!("the waker of whoever joins coroutine #{} has panicked", task.id);
                    });
                    unwind::discard(payload);
                }
            }
        }
    }
    Published::SomebodyMayJoin
}

/// Tells whether the coroutine has ended; if so, its result may be taken.
#[inline]
pub(crate) fn is_done(task: &Task) -> bool {
    // Acquire pairs with the Release in `publish`.
    task.join.load(Ordering::Acquire) == DONE
}

/// Waits until the coroutine has ended. The caller is its one joiner.
///
/// Returns false if the deadline came first.
pub(crate) fn wait(task: &Task, deadline: Option<Instant>) -> Outcome {
    // Dropped before the wait begins: a waker is foreign code.
    drop(take_waker(task));
    if is_done(task) {
        return Outcome::Notified;
    }
    let waiter = Waiter::open();
    let node = Node::Parked { waiter, released: AtomicBool::new(false) };
    let address = ptr::from_ref(&node).cast_mut().cast::<()>();
    // Release: the node is written before; pairs with the Acquire in `publish`.
    // Acquire on failure: it is DONE, and the result is read next.
    if task.join.compare_exchange(EMPTY, address, Ordering::AcqRel, Ordering::Acquire).is_err() {
        waiter.abandon();
        return Outcome::Notified;
    }
    let outcome = park(waiter, Reason::Join, ptr::from_ref(task).addr(), deadline);
    if outcome == Outcome::Notified {
        wait_released(&node);
        return outcome;
    }
    // Acquire on failure: as above.
    if task.join.compare_exchange(address, EMPTY, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        return outcome;
    }
    wait_released(&node);
    if outcome == Outcome::Cancelled { outcome } else { Outcome::Notified }
}

/// The finisher is between its claim and its last touch: a few instructions, unless preempted.
fn wait_released(node: &Node) {
    let Node::Parked { released, .. } = node else { unreachable!("a joiner parks in a parked node") };
    // Acquire pairs with the Release in `publish`.
    while !released.load(Ordering::Acquire) {
        crate::sys::thread::yield_now();
    }
}

/// Registers a waker for the end; true if the coroutine has ended already.
pub(crate) fn poll(task: &Task, waker: &Waker) -> bool {
    let node = Box::new(Node::Waker(waker.clone()));
    // A waker is foreign code: the old one is dropped after all is done.
    let _old = take_waker(task);
    let node = Box::into_raw(node).cast::<()>();
    // As in `wait`.
    if task.join.compare_exchange(EMPTY, node, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        return false;
    }
    // SAFETY: it was not put there, so it is still this function's own.
    drop(unsafe { Box::from_raw(node.cast::<Node>()) });
    true
}

/// Takes a waker of an earlier poll out, for the caller to drop. That is the one joiner.
fn take_waker(task: &Task) -> Option<Box<Node>> {
    // Acquire: the node was written, by this joiner or by one it got the handle from.
    let found = task.join.load(Ordering::Acquire);
    if found == EMPTY || found == DONE || found == DETACHED {
        return None;
    }
    // AcqRel: as in `wait`.
    let taken = task.join.compare_exchange(found, EMPTY, Ordering::AcqRel, Ordering::Acquire).is_ok();
    // SAFETY: only `poll` leaves a node behind, and the CAS has moved its ownership here.
    taken.then(|| unsafe { Box::from_raw(found.cast::<Node>()) })
}

/// Says that nobody will join. Returns true if the result is there and the caller has to drop it.
pub(crate) fn detach(task: &Task) -> bool {
    // Dropped last: a destructor of a waker that panics must not keep the coroutine from dropping its result.
    let _old = take_waker(task);
    // Acquire on failure: it is DONE, and the result is dropped next. Relaxed on success: nothing rides on it.
    task.join.compare_exchange(EMPTY, DETACHED, Ordering::Relaxed, Ordering::Acquire).is_err()
}
