//! How channels are made: with room, without bound, or as a clock.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use super::ends::{Receiver, Sender, Source};
use super::flavour::{Clock, Shared};

/// Makes a channel that holds at most `capacity` messages; with zero, a send meets a receive.
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::bounded(1);
/// ropewalk::spawn(move || (0..5).for_each(|n| sender.send(n).unwrap()));
/// assert_eq!(receiver.iter().sum::<i32>(), 10);
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    pair(Some(capacity))
}

/// Makes a channel that is never full.
///
/// # Examples
/// ```
/// let (sender, receiver) = ropewalk::channel::unbounded();
/// (0..100).for_each(|n| sender.send(n).unwrap());
/// assert_eq!(receiver.try_iter().count(), 100);
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    pair(None)
}

fn pair<T>(capacity: Option<usize>) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(capacity));
    (Sender { shared: Arc::clone(&shared) }, Receiver { source: Source::Channel(shared) })
}

/// Makes a receiver that gets one message, the time, after `duration`.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// assert!(ropewalk::channel::after(Duration::from_millis(1)).recv().is_ok());
/// ```
pub fn after(duration: Duration) -> Receiver<Instant> {
    clock(Clock::once(Instant::now().checked_add(duration)))
}

/// Makes a receiver that gets one message, the time, at `when`.
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// let when = Instant::now() + Duration::from_millis(2);
/// assert!(ropewalk::channel::at(when).recv().unwrap() >= when);
/// ```
pub fn at(when: Instant) -> Receiver<Instant> {
    clock(Clock::once(Some(when)))
}

/// Makes a receiver that gets a message, the time, every `duration`; one that comes late gets one
/// message for all that it has missed.
///
/// # Examples
/// ```
/// use std::time::Duration;
///
/// let beat = ropewalk::channel::tick(Duration::from_millis(1));
/// let (first, second) = (beat.recv().unwrap(), beat.recv().unwrap());
/// assert!(second - first >= Duration::from_millis(1));
/// ```
pub fn tick(duration: Duration) -> Receiver<Instant> {
    clock(Clock::every(duration))
}

fn clock(clock: Clock) -> Receiver<Instant> {
    Receiver { source: Source::Clock(Arc::new(clock), Some) }
}

/// Makes a receiver that never gets a message.
///
/// # Examples
/// ```
/// assert!(ropewalk::channel::never::<i32>().try_recv().is_err());
/// ```
pub fn never<T>() -> Receiver<T> {
    Receiver { source: Source::Clock(Arc::new(Clock::once(None)), |_| None) }
}
