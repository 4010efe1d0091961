//! A child as its parent knows it, and the handle to its result.
#![forbid(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicI32, Ordering};
use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::builder::Builder;
use super::call;
use super::channel::{Channel, Message};
use super::error::{ProcessError, SpawnError, signal_name};
use super::keeper;
use super::registry;
use super::request::News;
use super::stdio::Pipes;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::io::pollable::{Direction, Pollable};
use crate::runtime::far;
use crate::sys::process;

/// How a child has ended: its status, or that somebody else has taken it.
#[derive(Clone, Copy, Debug)]
enum Ended {
    Status(ExitStatus),
    Lost,
}

/// A child, whatever its function gives.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// The process that has started it.
    owner: u32,
    pidfd: Pollable,
    channel: Channel,
    started: Instant,
    ended: Lock<Option<Ended>>,
    /// The last signal that was sent to it from here: an end by that surprises nobody.
    sent: AtomicI32,
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Child {
    pub(crate) fn new(name: String, pid: u32, pidfd: Pollable, channel: Channel) -> Arc<Self> {
        let owner = std::process::id();
        let (started, ended, sent) = (Instant::now(), Lock::new(None), AtomicI32::new(0));
        let child = Arc::new(Self { name, pid, owner, pidfd, channel, started, ended, sent });
        registry::enter(&child);
        child
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes the end in, if it has come. `WouldBlock` if not. Once for each child.
    fn reap(&self) -> io::Result<()> {
        let mut ended = self.ended.lock();
        if ended.is_some() {
            return Ok(());
        }
        let end = match process::pidfd_reap(self.pidfd.as_fd()) {
            Ok(status) => Ended::Status(ExitStatus::from_raw(status)),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ended::Lost,
            Err(error) => return Err(error),
        };
        *ended = Some(end);
        drop(ended);
        registry::leave(self);
        // Whoever asks is not to unwind: nobody else takes ends in, or tells them.
        unwind::report(|| self.report(end));
        Ok(())
    }

    fn report(&self, end: Ended) {
        let (name, pid, after) = (&self.name, self.pid, self.started.elapsed());
        match end {
            Ended::Status(status) if status.success() => {
                log::debug!("process '{name}' (pid {pid}) ended after {after:.1?}");
            }
            Ended::Status(status) => match status.signal() {
                Some(number) => {
                    let by = signal_name(number);
                    // Relaxed: a hint for people.
                    let asked = self.sent.load(Ordering::Relaxed) == number;
                    let level = if asked { log::Level::Debug } else { log::Level::Warn };
                    notice::tell!(level, "process '{name}' (pid {pid}) was ended by {by} after {after:.1?}");
                }
                None => {
                    let code = status.code().unwrap_or(-1);
                    notice::warn!("process '{name}' (pid {pid}) exited with code {code} after {after:.1?}");
                }
            },
            Ended::Lost => {
                notice::warn!("process '{name}' (pid {pid}) ended; its status was taken elsewhere")
            }
        }
    }

    /// Tells whether it has ended. Never waits.
    pub(crate) fn has_ended(&self) -> bool {
        // An error that is not `WouldBlock` would be one for ever.
        !matches!(self.reap(), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        let _ = self.reap();
        match *self.ended.lock() {
            Some(Ended::Status(status)) => Some(status),
            _ => None,
        }
    }

    /// Waits for the end; false if the deadline came first. A cancellation point.
    fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        Ok(self.pidfd.run(Direction::Read, deadline, |_| self.reap())?.is_some())
    }

    pub(crate) fn signal(&self, number: i32) -> io::Result<()> {
        // Under the lock: a child that has not been taken in keeps its number.
        let ended = self.ended.lock();
        if ended.is_some() {
            return Ok(());
        }
        self.sent.store(number, Ordering::Relaxed);
        match process::pidfd_signal(self.pidfd.as_fd(), self.pid, number) {
            // It has ended, and nobody has looked yet.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent,
        }
    }

    /// The reply of a child that has ended.
    fn reply(&self) -> io::Result<Option<Message>> {
        loop {
            let (mut bytes, fds) = match self.channel.try_recv() {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            };
            let left = match postcard::take_from_bytes::<News>(&bytes) {
                Ok((News::Reply, reply)) => reply.len(),
                // The second of two that say it has started.
                _ => continue,
            };
            bytes.drain(..bytes.len() - left);
            return Ok(Some((bytes, fds)));
        }
    }

    fn outcome<R: DeserializeOwned>(&self) -> Result<R, ProcessError> {
        let reply = self.reply().map_err(ProcessError::Wait)?;
        match reply.map(|(bytes, fds)| call::read_reply(&bytes, fds)) {
            Some(Ok(Ok(value))) => Ok(value),
            Some(Ok(Err(failure))) => Err(failure.into()),
            Some(Err(error)) => Err(ProcessError::Decode(error)),
            None => Err(match *self.ended.lock() {
                Some(Ended::Status(status)) => match status.signal() {
                    Some(number) => ProcessError::Signalled(number),
                    None => ProcessError::Exited(status.code().unwrap_or(-1)),
                },
                _ => ProcessError::StatusLost,
            }),
        }
    }
}

/// A child process that runs one function, and the right to its result.
///
/// It runs this very program; the function is a `fn` or a closure that captures nothing, and arguments and
/// result travel with serde. Nothing else is shared: not globals, not descriptors, save for handles among
/// the arguments. `main` does not run in the child, so it needs no guard.
///
/// Dropping the handle lets the child go on, as with a thread. A child ends when its parent ends, in
/// whatever way that happens, unless the builder says [`kept`](Builder::kept). On a coroutine, waiting
/// leaves the worker to others.
///
/// # Examples
/// ```
/// use ropewalk::process::Process;
///
/// let child = Process::spawn(|(a, b): (u32, u32)| a * b, (6, 7))?;
/// assert_ne!(child.pid(), std::process::id());
/// assert_eq!(child.join().unwrap(), 42);
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
///
/// A closure that captures is refused:
///
/// ```compile_fail
/// let n = 1;
/// ropewalk::process::Process::spawn(move |m: i32| m + n, 1);
/// ```
///
/// The ends of pipes that the builder was asked for ([`Stdio::Piped`](super::Stdio::Piped)) are std's, and are used as
/// those of [`std::process::Child`]: plain reads and writes, which block the thread unless libc's functions are
/// replaced (`monkey`), and which any wrapper for descriptors takes.
///
/// ```
/// use ropewalk::process::{Process, Stdio};
/// use std::io::{Read, Write};
///
/// let shout = |()| print!("{}", std::io::read_to_string(std::io::stdin()).unwrap().to_uppercase());
/// let mut child = Process::builder().stdin(Stdio::Piped).stdout(Stdio::Piped).spawn(shout, ())?;
/// child.stdin.take().unwrap().write_all(b"rope").unwrap();
/// let mut text = String::new();
/// child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
/// assert_eq!(text, "ROPE");
/// child.join().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
pub struct Process<R> {
    /// The end to write to, if its standard input is [`Stdio::Piped`](super::Stdio::Piped). A join closes it first.
    pub stdin: Option<ChildStdin>,
    /// The end to read from, if its standard output is [`Stdio::Piped`](super::Stdio::Piped). Nobody reads it
    /// unasked: a process that writes more than a pipe holds waits until somebody does.
    pub stdout: Option<ChildStdout>,
    /// As [`stdout`](Self::stdout), for its standard error.
    pub stderr: Option<ChildStderr>,
    child: Arc<Child>,
    result: PhantomData<fn() -> R>,
}

impl Process<()> {
    /// Sets up a process: its name, how it starts, what it inherits.
    pub fn builder() -> Builder {
        Builder::new()
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Starts a process that runs `f`. Waits until it has been started, not until it has begun.
    ///
    /// # Errors
    /// [`SpawnError`] if the arguments cannot be encoded, or the kernel refuses; nothing has run then.
    pub fn spawn<A>(f: fn(A) -> R, arguments: A) -> Result<Self, SpawnError>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize,
    {
        Builder::new().spawn(f, arguments)
    }

    pub(crate) fn of(child: Arc<Child>, pipes: Pipes) -> Self {
        let Pipes { stdin, stdout, stderr } = pipes;
        Self { stdin, stdout, stderr, child, result: PhantomData }
    }

    /// Waits until the process has ended, and takes the function's value. A cancellation point.
    ///
    /// # Errors
    /// [`ProcessError`] if it ended without a value.
    pub fn join(mut self) -> Result<R, ProcessError> {
        // It may wait for the end of its input.
        self.stdin = None;
        self.child.wait(None).map_err(ProcessError::Wait)?;
        self.child.outcome()
    }

    /// As [`join`](Self::join), but waits no longer than `limit`.
    ///
    /// # Errors
    /// The handle, if the process has not ended by then.
    pub fn join_timeout(self, limit: Duration) -> Result<Result<R, ProcessError>, Self> {
        self.join_deadline(far::after(limit))
    }

    /// As [`join`](Self::join), but waits no longer than until `deadline`.
    ///
    /// # Errors
    /// The handle, if the process has not ended by then.
    pub fn join_deadline(mut self, deadline: Instant) -> Result<Result<R, ProcessError>, Self> {
        self.stdin = None;
        match self.child.wait(Some(deadline)) {
            Ok(true) => Ok(self.child.outcome()),
            Ok(false) => Err(self),
            Err(error) => Ok(Err(ProcessError::Wait(error))),
        }
    }
}

impl<R> Process<R> {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.pid
    }

    /// Its name: what the builder says, or a number.
    pub fn name(&self) -> &str {
        &self.child.name
    }

    /// Tells whether it has not ended yet. Never waits.
    pub fn is_alive(&self) -> bool {
        !self.child.has_ended()
    }

    /// Its status, if it has ended and nothing else in this program has taken that. Never waits.
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.child.status()
    }

    /// As [`try_wait`](Self::try_wait): 0 for a function that returned, 101 for one that panicked.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.child.status()
    }

    /// Waits until it has ended, and leaves the value to [`join`](Self::join). A cancellation point.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait(&self) -> io::Result<()> {
        self.child.wait(None).map(drop)
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait_timeout(&self, limit: Duration) -> io::Result<bool> {
        self.wait_deadline(far::after(limit))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn wait_deadline(&self, deadline: Instant) -> io::Result<bool> {
        self.child.wait(Some(deadline))
    }

    /// Asks it to end (`SIGTERM`). Nothing, if it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn terminate(&self) -> io::Result<()> {
        self.signal(libc::SIGTERM)
    }

    /// Ends it (`SIGKILL`). Nothing, if it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(libc::SIGKILL)
    }

    /// Sends it a signal. Nothing, if it has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        self.child.signal(number)
    }
}

/// The pidfd: readable when the process has ended.
impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        // A copy in a process that its parent has forked by itself is nobody's.
        if self.child.owner == std::process::id() && !self.child.has_ended() {
            keeper::detach(&self.child);
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("name", &self.child.name)
            .field("pid", &self.child.pid)
            .field("alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}
