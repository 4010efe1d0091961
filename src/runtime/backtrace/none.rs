//! Targets without a walk: a sample has a name, and no frames.

use core::ffi::c_void;
use core::sync::atomic::AtomicUsize;

use crate::runtime::sample::Sample;

pub(crate) const REGISTERS: usize = 1;
pub(crate) const STACK_POINTER: usize = 0;

/// # Safety
/// * None; it is unsafe where it reads the context.
pub(crate) unsafe fn registers(_: *mut c_void) -> [usize; REGISTERS] {
    // An address in no stack.
    [0]
}

/// # Safety
/// * None; it is unsafe where it reads the stack.
pub(crate) unsafe fn copy(_: usize, _: &[AtomicUsize]) {}

pub(crate) fn render(sample: Sample) -> Option<String> {
    debug_assert!(
        sample.registers == [0] && sample.stack.is_empty(),
        "a stack was copied that nothing can walk"
    );
    None
}
