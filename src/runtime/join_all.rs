//! The wait for several coroutines.
#![forbid(unsafe_code)]

use super::join::JoinError;
use super::spawn::JoinHandle;

/// Waits for all, in order of the handles, and gives their results in that order.
///
/// # Examples
/// ```
/// let handles = (0..3).map(|n| ropewalk::spawn(move || n * n));
/// let squares: Vec<i32> = ropewalk::join_all(handles).into_iter().map(Result::unwrap).collect();
/// assert_eq!(squares, [0, 1, 4]);
/// ```
pub fn join_all<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<Result<T, JoinError>> {
    // Collected first: a lazy iterator would spawn one only when the one before has ended.
    let handles = Vec::from_iter(handles);
    handles.into_iter().map(JoinHandle::join).collect()
}
