//! Descriptors: how a call that would block waits, and how descriptors travel to other processes.

pub(crate) mod evented;
pub(crate) mod passing;
pub(crate) mod pollable;
