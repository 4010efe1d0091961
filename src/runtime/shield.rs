//! Shields: code around which cancellations and deadlines wait.
//!
//! A shield counts for the stack that it is on. On a party's own stack that is a count of the party's; on the
//! stack of a coroutine that is resumed by hand, of that stack, which may be carried to another party
//! (`coroutine::stack::nest`).
#![forbid(unsafe_code)]

use core::marker::PhantomData;

use super::party::{self, Party};
use crate::coroutine::stack::nest;

/// While it lives, waits on the stack that it is on are not cancelled, nor are those of whom that resumes.
///
/// It stays on the frame that has made it.
#[derive(Debug)]
pub(crate) struct Shield {
    nested: bool,
    not_send: PhantomData<*const ()>,
}

impl Shield {
    pub(crate) fn new() -> Self {
        let nested = nest::raise();
        if !nested {
            party::with_current(|party| party.shields.set(party.shields.get() + 1));
        }
        Self { nested, not_send: PhantomData }
    }
}

impl Drop for Shield {
    fn drop(&mut self) {
        if self.nested {
            nest::lower();
        } else {
            // A thread whose locals are gone may have got another party meanwhile.
            party::with_current(|party| party.shields.set(party.shields.get().saturating_sub(1)));
        }
    }
}

/// Tells whether the caller, which is `party`, is under a shield.
#[inline]
pub(crate) fn covers(party: &Party) -> bool {
    party.shields.get() > 0 || nest::is_shielded()
}
