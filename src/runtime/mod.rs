//! The scheduler: who runs when, who waits for what, and on which worker.
//!
//! Reading order: `park` (the one door for waiting), then the task and the worker.

pub(crate) mod park;
pub(crate) mod party;
