//! A receiver as an iterator.
#![forbid(unsafe_code)]

use core::fmt;

use super::ends::Receiver;

/// Messages as they come; see [`Receiver::iter`].
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::bounded(1);
/// ropewalk::spawn(move || (1..=3).for_each(|n| sender.send(n).unwrap()));
/// assert_eq!(receiver.iter().collect::<Vec<_>>(), [1, 2, 3]);
/// ```
pub struct Iter<'a, T>(pub(super) &'a Receiver<T>);

/// Messages that are there; see [`Receiver::try_iter`].
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::unbounded();
/// (1..=3).for_each(|n| sender.send(n).unwrap());
/// assert_eq!(receiver.try_iter().sum::<i32>(), 6); // the sender may send more
/// sender.send(4).unwrap();
/// assert_eq!(receiver.try_iter().next(), Some(4));
/// ```
pub struct TryIter<'a, T>(pub(super) &'a Receiver<T>);

/// Messages as they come, from a receiver of its own.
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::unbounded();
/// (1..=3).for_each(|n| sender.send(n).unwrap());
/// drop(sender);
/// assert_eq!(receiver.into_iter().sum::<i32>(), 6);
/// ```
pub struct IntoIter<T>(Receiver<T>);

impl<T> Iterator for Iter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> core::iter::FusedIterator for Iter<'_, T> {}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;
    fn next(&mut self) -> Option<T> {
        self.0.recv().ok()
    }
}

impl<T> core::iter::FusedIterator for IntoIter<T> {}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;
    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;
    fn into_iter(self) -> IntoIter<T> {
        IntoIter(self)
    }
}

impl<T> fmt::Debug for Iter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Iter { .. }")
    }
}

impl<T> fmt::Debug for TryIter<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TryIter { .. }")
    }
}

impl<T> fmt::Debug for IntoIter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IntoIter { .. }")
    }
}
