//! The standard streams of a process.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};

/// What one of a process's standard streams is.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, Stdio};
///
/// let speak = |()| { print!("heard"); eprint!("not heard") };
/// let child = Process::builder().stdout(Stdio::Piped).stderr(Stdio::Null).spawn(speak, ());
/// let mut child = child?;
/// let heard = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
/// assert_eq!(heard, "heard");
/// child.join().unwrap();
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Debug)]
pub enum Stdio {
    /// The parent's.
    Inherit,
    /// `/dev/null`.
    Null,
    /// A new pipe, whose other end is on the handle: [`Process::stdin`](super::Process::stdin) and its kin.
    Piped,
    /// A descriptor: an end of a pipe, a file.
    Fd(OwnedFd),
}

impl<T: Into<OwnedFd>> From<T> for Stdio {
    fn from(fd: T) -> Self {
        Self::Fd(fd.into())
    }
}

impl Stdio {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Inherit => Self::Inherit,
            Self::Null => Self::Null,
            Self::Piped => Self::Piped,
            Self::Fd(fd) => Self::Fd(fd.try_clone()?),
        })
    }
}

/// The ends of a process's pipes that stay with its parent.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Option<ChildStdout>,
    pub(super) stderr: Option<ChildStderr>,
}

impl Pipes {
    /// Makes the pipes that are wanted; the other ends are in their places then.
    pub(super) fn open([mut stdin, mut stdout, mut stderr]: [Stdio; 3]) -> io::Result<([Stdio; 3], Self)> {
        let mut pipes = Self::default();
        if matches!(stdin, Stdio::Piped) {
            let (reader, writer) = io::pipe()?;
            stdin = reader.into();
            pipes.stdin = Some(OwnedFd::from(writer).into());
        }
        if matches!(stdout, Stdio::Piped) {
            let (reader, writer) = io::pipe()?;
            stdout = writer.into();
            pipes.stdout = Some(OwnedFd::from(reader).into());
        }
        if matches!(stderr, Stdio::Piped) {
            let (reader, writer) = io::pipe()?;
            stderr = writer.into();
            pipes.stderr = Some(OwnedFd::from(reader).into());
        }
        Ok(([stdin, stdout, stderr], pipes))
    }
}
