//! The guide: pages that explain how the parts work together, and which rules a program has to keep.
#![forbid(unsafe_code)]

#[doc = include_str!("kernels.md")]
pub mod kernels {}

#[doc = include_str!("trust.md")]
pub mod trust {}

#[doc = include_str!("thread_locals.md")]
pub mod thread_locals {}
