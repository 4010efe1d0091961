//! One operation of a select: when it is ready, where it waits, and (a receive) what it has taken.

use core::any::type_name;
use core::fmt;
use core::ptr;
use std::sync::Arc;
use std::time::Instant;

use super::ends::{Receiver, Sender, Source};
use super::error::RecvError;
use super::flavour::{Kind, Shared};
use super::zero::Reserved;
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

/// What a select knows of an operation.
pub(super) trait Case {
    /// Tells whether the operation would end at once.
    fn is_ready(&self) -> bool;
    /// Takes a message, if the operation is a receive and one is there (or none will ever come).
    fn take(&self) -> Option<Taken>;
    /// Commits a receiver to the message of this send, where that can be done.
    fn reserve(&self) -> Option<Reserved>;
    /// Frees a receiver that was committed: the message does not come.
    fn abandon(&self, reserved: Reserved);
    /// Waits as one of several; true if it is ready.
    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>) -> bool;
    /// The wait is over; `won` if a wake came through this operation.
    fn left(&self, won: bool);
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

    fn take(&self) -> Option<Taken> {
        let result = match &self.source {
            Source::Channel(shared) => match shared.try_recv() {
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

    fn abandon(&self, _: Reserved) {}

    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>) -> bool {
        match &self.source {
            Source::Channel(shared) => match &shared.kind {
                Kind::Buffered(core) => core.getters.enlist(wait, || shared.can_recv()),
                Kind::Zero(zero) => zero.enlist_recv(wait),
            },
            Source::Clock(..) => {
                wait.skip();
                self.is_ready()
            }
        }
    }

    fn left(&self, won: bool) {
        if let Source::Channel(shared) = &self.source
            && let Kind::Buffered(core) = &shared.kind
        {
            core.getters.left(won);
        }
    }

    fn pass_on(&self) {
        if let Source::Channel(shared) = &self.source {
            match &shared.kind {
                Kind::Buffered(core) if shared.can_recv() => {
                    core.getters.wake_one();
                }
                Kind::Buffered(_) => {}
                Kind::Zero(zero) => zero.pass_on(),
            }
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

    fn take(&self) -> Option<Taken> {
        None
    }

    fn reserve(&self) -> Option<Reserved> {
        match &self.shared.kind {
            Kind::Buffered(_) => None,
            Kind::Zero(zero) => zero.reserve(),
        }
    }

    fn abandon(&self, reserved: Reserved) {
        if let Kind::Zero(zero) = &self.shared.kind {
            zero.settle(reserved, None);
        }
    }

    fn enlist<'a>(&'a self, wait: &mut MultiWait<'a>) -> bool {
        let shared: &'a Arc<Shared<T>> = &self.shared;
        match &shared.kind {
            Kind::Buffered(core) => core.putters.enlist(wait, || shared.can_send()),
            Kind::Zero(zero) => zero.enlist_send(wait),
        }
    }

    fn left(&self, won: bool) {
        if let Kind::Buffered(core) = &self.shared.kind {
            core.putters.left(won);
        }
    }

    fn pass_on(&self) {
        if let Kind::Buffered(core) = &self.shared.kind
            && (!core.buffer.is_full() || core.buffer.is_closed())
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
