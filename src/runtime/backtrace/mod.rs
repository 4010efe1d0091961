//! The backtrace of a coroutine that was looked at from outside (`sample`), as text.
//!
//! One choice of platform: `x86_64` walks the copied stack by the tables that compilers emit. Elsewhere,
//! and where the reader of those tables has not been written for, a sample has a name and no frames.

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
mod x86_64;
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
pub(crate) use x86_64::{REGISTERS, STACK_POINTER, copy, registers, render};

#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
mod none;
#[cfg(not(all(target_arch = "x86_64", target_pointer_width = "64")))]
pub(crate) use none::{REGISTERS, STACK_POINTER, copy, registers, render};
