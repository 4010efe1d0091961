//! One operation of a select: when it is ready, where it waits, and (a receive) what it has taken.

use core::any::type_name;
use core::fmt;
use core::ptr;
use std::sync::Arc;
use std::time::Instant;

use super::ends::{Receiver, Sender, Source};
use super::error::RecvError;
use super::flavour::{Kind, Shared};
use super::zero::{self, When};
use crate::queue::buffer::Buffer;
use crate::queue::core::GetFailed;
use crate::runtime::multi_wait::MultiWait;

/// A message that a select has taken, of a type that only the one who asks for it knows.
pub(super) struct Taken {
    /// A box of `Result<T, RecvError>`.
    result: *mut (),
    free: unsafe fn(*mut ()),
    /// The receiver it came through, and so its type.
    from: *const (),
}

impl Taken {
    fn new<T>(result: Result<T, RecvError>, from: &Receiver<T>) -> Self {
        /// # Safety
        /// * `place` is a box of this type, and nobody uses it any more.
        unsafe fn free<T>(place: *mut ()) {
            // SAFETY: the caller's duty.
            drop(unsafe { Box::from_raw(place.cast::<Result<T, RecvError>>()) });
        }
        let result = Box::into_raw(Box::new(result)).cast();
        Self { result, free: free::<T>, from: ptr::from_ref(from).cast() }
    }

    /// The message, if it came through `receiver`.
    pub(super) fn get<T>(self, receiver: &Receiver<T>) -> Option<Result<T, RecvError>> {
        if !ptr::eq(self.from, ptr::from_ref(receiver).cast()) {
            return None;
        }
        let place = self.result.cast::<Result<T, RecvError>>();
        core::mem::forget(self);
        // SAFETY: the same receiver has the same type, and the box is this function's now. The select
        // borrows the receiver, so no other can have come to its address.
        Some(*unsafe { Box::from_raw(place) })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the box is of the type that `free` was made for, and used by nobody else.
        unsafe { (self.free)(self.result) };
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(type_name::<Self>())
    }
}

/// A send that will go through, whatever others do meanwhile; but a receiver may give up.
#[derive(Debug)]
pub(super) enum Reserved {
    /// A receiver waits for this message, and for nothing else.
    Receiver(zero::Reserved),
    /// There is room for it.
    Room,
}

/// What came of an operation through which a select's wait was ended.
pub(super) enum Won {
    /// A message was received, and has to be the one selected.
    Taken(Taken),
    /// The send will go through, and has to be the one selected.
    Reserved(Reserved),
    /// It may be ready.
    Look,
}

/// What a select knows of an operation.
pub(super) trait Case {
    /// Tells whether the operation would end at once.
    fn is_ready(&self) -> bool;
    /// Takes a message, if the operation is a receive and one is there (or none will ever come).
    fn take(&self, when: When) -> Option<Taken>;
    /// Makes sure that this send will go through, where that can be done.
    fn reserve(&self) -> Option<Reserved>;
    /// Tells whether a send that is not reserved would go through.
    fn is_open(&self) -> bool;
    /// Gives back what was reserved: the message does not come.
    fn abandon(&self, reserved: Reserved);
    /// Waits as one of several, to do the operation (`take`) or to know that it could be done; true if it is
    /// ready. Gives a number for `left`.
    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, take: bool) -> (bool, u64);
    /// The wait is over; `won` if a wake came through this operation. A receive may have to wait until the
    /// message that it was promised is made.
    fn left(&self, number: u64, won: bool, when: When) -> Won;
    /// A wake came for it, but another operation was selected.
    fn pass_on(&self);
    /// When it becomes ready by itself.
    fn due(&self) -> Option<Instant>;
    /// Where its end of the channel lies.
    fn address(&self) -> *const ();
    /// Tells a send from a receive.
    fn is_send(&self) -> bool;
}

impl<T> Case for Receiver<T> {
    fn is_ready(&self) -> bool {
        match &self.source {
            Source::Channel(shared) => shared.can_recv(),
            Source::Clock(clock, _) => clock.next().is_some_and(|due| due <= Instant::now()),
        }
    }

    fn take(&self, when: When) -> Option<Taken> {
        let result = match &self.source {
            Source::Channel(shared) => match shared.look(when) {
                Ok(message) => Ok(message),
                Err(GetFailed::Closed) => Err(RecvError),
                Err(GetFailed::Empty) => return None,
            },
            Source::Clock(clock, make) => Ok(make(clock.try_take()?)?),
        };
        Some(Taken::new(result, self))
    }

    fn reserve(&self) -> Option<Reserved> {
        None
    }

    fn is_open(&self) -> bool {
        self.is_ready()
    }

    fn abandon(&self, _: Reserved) {}

    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, take: bool) -> (bool, u64) {
        match &self.source {
            Source::Channel(shared) => match &shared.kind {
                Kind::Buffered(core) => (core.getters.enlist(wait, || shared.can_recv()), 0),
                Kind::Zero(zero) => zero.enlist_recv(wait, take),
            },
            Source::Clock(..) => {
                wait.skip();
                (self.is_ready(), 0)
            }
        }
    }

    fn left(&self, number: u64, won: bool, when: When) -> Won {
        let Source::Channel(shared) = &self.source else { return Won::Look };
        match &shared.kind {
            Kind::Zero(zero) if won => {
                // Late, or cancelled: the next look and the next wait will tell.
                if let Ok(Some(message)) = zero.await_promise(number, when) {
                    return Won::Taken(Taken::new(Ok(message), self));
                }
            }
            Kind::Zero(_) | Kind::Buffered(_) => {}
        }
        Won::Look
    }

    fn pass_on(&self) {
        if let Source::Channel(shared) = &self.source
            && let Kind::Buffered(core) = &shared.kind
            && shared.can_recv()
        {
            core.getters.wake_one();
        }
    }

    fn due(&self) -> Option<Instant> {
        match &self.source {
            Source::Channel(_) => None,
            Source::Clock(clock, _) => clock.next(),
        }
    }

    fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    fn is_send(&self) -> bool {
        false
    }
}

impl<T> Case for Sender<T> {
    fn is_ready(&self) -> bool {
        self.shared.can_send()
    }

    fn take(&self, _: When) -> Option<Taken> {
        None
    }

    fn reserve(&self) -> Option<Reserved> {
        match &self.shared.kind {
            Kind::Buffered(core) => core.promise().then_some(Reserved::Room),
            Kind::Zero(zero) => zero.reserve().map(Reserved::Receiver),
        }
    }

    fn is_open(&self) -> bool {
        match &self.shared.kind {
            // Otherwise only with room that is reserved.
            Kind::Buffered(core) => core.buffer.is_closed() || core.buffer.capacity().is_none(),
            // Otherwise only with a receiver that is committed.
            Kind::Zero(zero) => zero.is_closed(),
        }
    }

    fn abandon(&self, reserved: Reserved) {
        match (&self.shared.kind, reserved) {
            (Kind::Zero(zero), Reserved::Receiver(receiver)) => zero.abandon(&receiver),
            (Kind::Buffered(core), Reserved::Room) => core.break_promise(),
            _ => unreachable!("what was reserved fits the channel"),
        }
    }

    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>, take: bool) -> (bool, u64) {
        let shared: &'a Arc<Shared<T>> = &self.shared;
        match &shared.kind {
            Kind::Buffered(core) => (core.putters.enlist(wait, || shared.can_send()), 0),
            Kind::Zero(zero) => zero.enlist_send(wait, take),
        }
    }

    fn left(&self, number: u64, won: bool, _: When) -> Won {
        match &self.shared.kind {
            Kind::Zero(zero) if won => {
                if let Some(reserved) = zero.matched(number) {
                    return Won::Reserved(Reserved::Receiver(reserved));
                }
            }
            Kind::Zero(_) | Kind::Buffered(_) => {}
        }
        Won::Look
    }

    fn pass_on(&self) {
        if let Kind::Buffered(core) = &self.shared.kind
            && self.shared.can_send()
        {
            core.putters.wake_one();
        }
    }

    fn due(&self) -> Option<Instant> {
        None
    }

    fn address(&self) -> *const () {
        ptr::from_ref(self).cast()
    }

    fn is_send(&self) -> bool {
        true
    }
}
