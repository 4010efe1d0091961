//! What a resume gives, and what can be seen of a suspended coroutine.
#![forbid(unsafe_code)]

use super::switch::SavedRegisters;

/// How a [`resume`](super::Coroutine::resume) has ended.
///
/// # Examples
/// ```
/// use ropewalk::coroutine::{Coroutine, State};
///
/// let mut one = Coroutine::<(), u8, &str>::new(|out, ()| {
///     out.suspend(1);
///     "over"
/// });
/// assert_eq!(one.resume(()), State::Yielded(1));
/// assert_eq!(one.resume(()).returned(), Some("over"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<Y, R> {
    /// The coroutine has suspended itself with a value.
    Yielded(Y),
    /// The coroutine has returned; it cannot be resumed again.
    Returned(R),
}

impl<Y, R> State<Y, R> {
    /// The yielded value, if it is one.
    pub fn yielded(self) -> Option<Y> {
        match self {
            Self::Yielded(value) => Some(value),
            Self::Returned(_) => None,
        }
    }

    /// The returned value, if it is one.
    pub fn returned(self) -> Option<R> {
        match self {
            Self::Yielded(_) => None,
            Self::Returned(value) => Some(value),
        }
    }
}

/// What can be seen of a suspended coroutine.
///
/// # Examples
/// ```
/// let mut paused = ropewalk::coroutine::Coroutine::<(), (), ()>::new(|out, ()| out.suspend(()));
/// paused.resume(());
/// let seen = paused.snapshot().unwrap();
/// assert_eq!(seen.bytes_used, seen.stack_top - seen.registers.sp);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The lowest usable address of the stack, just above the guard.
    pub stack_bottom: usize,
    /// The first address above the usable part.
    pub stack_top: usize,
    /// Bytes between the top and the saved stack pointer.
    pub bytes_used: usize,
    /// What is saved of its registers.
    pub registers: SavedRegisters,
}
