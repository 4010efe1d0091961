//! Stacks: slots of large reservations, each with a guard, recycled.
//!
//! ```text
//! arena (one mmap, made lazily)
//!                 ┌ slot 0 ────────────────────────────────────┐               ┌ slot 1 ─ …
//! │ guard, 64 KiB │ stack, grows down ◀─ top │ colour │ header │ guard, 64 KiB │ stack …
//!                 └────────────────────────────────────────────┘               └──────────
//! ```
//!
//! * `slot`: one stack in use, as one word; what its header says.
//! * `nest`: stacks resumed by hand, one from another, and the shields on them.
//! * `arena`: reservations by size, free slots, guards; shared by all threads, behind a short lock.
//! * `advice`: what the kernel is told of slots, many at once.
//! * `cache`: what a worker keeps for the next spawn, and how deep ones become flat again; no lock.
//! * `shortage`: how caches give that back when the kernel has no more.
//!
//! A parked coroutine of little depth touches one page of its slot, the one at the top. Addresses of
//! the tops are spread over 16 colours of 64 bytes, else all of them would fight for one cache set.

mod advice;
pub(crate) mod arena;
mod cache;
pub(crate) mod nest;
pub(crate) mod shortage;
mod slot;

pub(crate) use advice::take_refused;
pub(crate) use arena::{StackError, check_size};
pub(crate) use cache::StackCache;
pub(crate) use slot::{Header, Stack};
