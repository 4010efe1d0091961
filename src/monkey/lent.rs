//! The caller's arguments, for the thread of the pool that makes the call in its place.

/// Arguments, pointers among them, that another thread may look at.
#[derive(Clone, Copy)]
pub(super) struct Lent<T>(pub(super) T);

// SAFETY: the caller of the replaced function waits until the call is over, wherever it is made.
unsafe impl<T> Sync for Lent<T> {}

impl<T: Copy> Lent<T> {
    /// The arguments. By a method, so that a closure takes the whole and not a pointer in it.
    pub(super) fn get(&self) -> T {
        self.0
    }
}
