//! Waiting for the first of several: processes, queues, pipes, sockets, coroutines.
//!
//! Whatever is a descriptor is waited for in one call: by a thread in the kernel's `poll`, by a coroutine at
//! its worker's reactor. A queue is words in memory and a coroutine is neither, so if such are among the cases
//! each of them gets a coroutine that waits for it and takes nothing; the first one to return wakes the
//! caller, and the others are cancelled.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::{Pipe, Process, Queue};
use crate::base::lock::Lock;
use crate::io::pollable::{self, Direction, Pollable};
use crate::runtime::{JoinHandle, ScopedJoinHandle, far, scope};
use crate::sync::Event;
use crate::sys::poll;

/// Something that is neither ready at once nor a descriptor.
trait Other: Send + Sync {
    fn is_ready(&self) -> bool;
    /// Waits, and takes nothing. A cancellation point.
    fn wait(&mut self);
}

impl<T: ?Sized> Other for &Queue<T> {
    fn is_ready(&self) -> bool {
        self.core.is_gettable()
    }

    fn wait(&mut self) {
        self.core.wait_gettable();
    }
}

impl<T: Send> Other for &mut JoinHandle<T> {
    fn is_ready(&self) -> bool {
        self.is_finished()
    }

    fn wait(&mut self) {
        self.wait_finished();
    }
}

enum Kind<'a> {
    Fd(BorrowedFd<'a>, Direction),
    Other(Box<dyn Other + 'a>),
}

/// One of the things that [`wait_any`] waits for.
///
/// Made from `&Process` (it has ended), `&Queue` (a message is there, or the queue is closed), `&Pipe` (a
/// message is there, or the other end is closed), `&mut JoinHandle` (the coroutine has ended), and by
/// [`readable`](Self::readable) and [`writable`](Self::writable) from everything that has a descriptor.
///
/// # Examples
/// ```
/// use ropewalk::process::{Case, Queue, wait_any};
/// use std::io::Write;
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let queue = Queue::<u32>::bounded(1)?;
/// writer.write_all(b"!")?;
/// assert_eq!(wait_any([Case::from(&queue), Case::readable(&reader)])?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Case<'a>(Kind<'a>);

impl<'a> Case<'a> {
    /// A read would not wait: of a socket, a listener, a pipe of the kernel's.
    pub fn readable(fd: &'a impl AsFd) -> Self {
        Self(Kind::Fd(fd.as_fd(), Direction::Read))
    }

    /// A write would not wait.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::process::{Case, wait_any};
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// assert_eq!(wait_any([Case::writable(&writer)])?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn writable(fd: &'a impl AsFd) -> Self {
        Self(Kind::Fd(fd.as_fd(), Direction::Write))
    }

    fn is_ready(&self) -> io::Result<bool> {
        match &self.0 {
            Kind::Other(other) => Ok(other.is_ready()),
            Kind::Fd(fd, direction) => {
                let events = if *direction == Direction::Read { libc::POLLIN } else { libc::POLLOUT };
                loop {
                    match poll::wait(&mut [poll::want(*fd, events)], Some(Duration::ZERO)) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        looked => return looked,
                    }
                }
            }
        }
    }
}

impl<'a, R> From<&'a Process<R>> for Case<'a> {
    fn from(process: &'a Process<R>) -> Self {
        Self::readable(process)
    }
}

impl<'a, S, R> From<&'a Pipe<S, R>> for Case<'a> {
    fn from(pipe: &'a Pipe<S, R>) -> Self {
        Self::readable(pipe)
    }
}

impl<'a, T: ?Sized> From<&'a Queue<T>> for Case<'a> {
    fn from(queue: &'a Queue<T>) -> Self {
        Self(Kind::Other(Box::new(queue)))
    }
}

impl<'a, T: Send> From<&'a mut JoinHandle<T>> for Case<'a> {
    fn from(handle: &'a mut JoinHandle<T>) -> Self {
        Self(Kind::Other(Box::new(handle)))
    }
}

impl fmt::Debug for Case<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Fd(fd, direction) => f.debug_tuple("Case").field(fd).field(direction).finish(),
            Kind::Other(other) => f.debug_tuple("Case").field(&other.is_ready()).finish(),
        }
    }
}

/// Waits until one of the cases is ready, and gives the place of the first that is. Takes nothing: another
/// party may be quicker, so what follows should be a `try_` call. A cancellation point.
///
/// # Errors
/// What the kernel says: no descriptor left to wait with.
///
/// # Panics
/// Without any case: it would wait for ever; if a coroutine waits for itself.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, Queue, wait_any};
///
/// let queue = Queue::<u32>::bounded(4)?;
/// let child = Process::spawn(|queue: Queue<u32>| queue.put(7).unwrap(), queue.clone()).unwrap();
/// assert_eq!(wait_any([(&queue).into()])?, 0);
/// assert_eq!(queue.try_get(), Ok(7));
/// assert_eq!(wait_any([(&queue).into(), (&child).into()])?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn wait_any<'a>(cases: impl IntoIterator<Item = Case<'a>>) -> io::Result<usize> {
    let mut cases: Vec<Case<'a>> = cases.into_iter().collect();
    loop {
        if let Some(index) = wait_until(&mut cases, None)? {
            return Ok(index);
        }
    }
}

/// As [`wait_any`], but waits no longer than `limit`; `None` if that came first.
///
/// # Examples
/// ```
/// use ropewalk::process::{Queue, wait_any_timeout};
/// use std::time::Duration;
///
/// let queue = Queue::<u32>::bounded(1)?;
/// assert_eq!(wait_any_timeout([(&queue).into()], Duration::from_millis(1))?, None);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As for [`wait_any`].
///
/// # Panics
/// As for [`wait_any`].
pub fn wait_any_timeout<'a>(
    cases: impl IntoIterator<Item = Case<'a>>,
    limit: Duration,
) -> io::Result<Option<usize>> {
    wait_any_deadline(cases, far::after(limit))
}

/// As [`wait_any`], but waits no longer than until `deadline`; `None` if that came first.
///
/// # Examples
/// ```
/// use ropewalk::process::{Queue, wait_any_deadline};
/// use std::time::Instant;
///
/// let queue = Queue::bounded(1)?;
/// queue.put(7).unwrap();
/// assert_eq!(wait_any_deadline([(&queue).into()], Instant::now())?, Some(0));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// As for [`wait_any`].
///
/// # Panics
/// As for [`wait_any`].
pub fn wait_any_deadline<'a>(
    cases: impl IntoIterator<Item = Case<'a>>,
    deadline: Instant,
) -> io::Result<Option<usize>> {
    let mut cases: Vec<Case<'a>> = cases.into_iter().collect();
    wait_until(&mut cases, Some(deadline))
}

fn wait_until(cases: &mut [Case<'_>], deadline: Option<Instant>) -> io::Result<Option<usize>> {
    assert!(!cases.is_empty(), "wait_any has no case to wait for: it would wait for ever");
    let mut in_time = true;
    loop {
        for (index, case) in cases.iter().enumerate() {
            if case.is_ready()? {
                return Ok(Some(index));
            }
        }
        if !in_time {
            return Ok(None);
        }
        in_time = wait_once(cases, deadline)?;
    }
}

/// Waits until something may be ready; false if the deadline came first.
fn wait_once(cases: &mut [Case<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    let (mut fds, mut others) = (Vec::new(), Vec::new());
    for case in cases {
        match &mut case.0 {
            // A duplicate: whoever else waits for the same descriptor is not disturbed.
            Kind::Fd(fd, direction) => fds.push((Pollable::from(fd.try_clone_to_owned()?), *direction)),
            Kind::Other(other) => others.push(other),
        }
    }
    let wait_fds = |deadline| {
        let wanted: Vec<_> = fds.iter().map(|(pollable, direction)| (pollable, *direction)).collect();
        pollable::wait_any(&wanted, deadline)
    };
    if others.is_empty() {
        return wait_fds(deadline);
    }
    let (woken, failure) = (Event::new(), Lock::new(None));
    let in_time = scope(|scope| {
        let (woken, failure, wait_fds) = (&woken, &failure, &wait_fds);
        let mut helpers = Helpers(Vec::new());
        for other in others {
            helpers.0.push(scope.spawn(move || {
                let _woken = SetOnDrop(woken);
                other.wait();
            }));
        }
        if !fds.is_empty() {
            helpers.0.push(scope.spawn(move || {
                let _woken = SetOnDrop(woken);
                if let Err(error) = wait_fds(None) {
                    *failure.lock() = Some(error);
                }
            }));
        }
        match deadline {
            Some(deadline) => woken.wait_deadline(deadline),
            None => {
                woken.wait();
                true
            }
        }
    });
    let failed = failure.lock().take();
    failed.map_or(Ok(in_time), Err)
}

/// The coroutines that wait in the caller's place; cancelled when it does not wait any more.
struct Helpers<'scope>(Vec<ScopedJoinHandle<'scope, ()>>);

impl Drop for Helpers<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(ScopedJoinHandle::cancel);
    }
}

/// Wakes the caller however a helper ends.
struct SetOnDrop<'a>(&'a Event);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}
