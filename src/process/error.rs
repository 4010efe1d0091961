//! Why a process did not start, and why it has no value to give.
#![forbid(unsafe_code)]

use core::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use super::codec::{DecodeError, EncodeError};

/// Why a process was not started. Nothing of it has run.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, SpawnError};
///
/// let nowhere = Process::builder().current_dir("/no/such/folder").spawn(|()| (), ());
/// assert!(matches!(nowhere, Err(SpawnError::Kernel { .. })));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SpawnError {
    /// The arguments cannot be encoded.
    Encode(EncodeError),
    /// This program, or this function, cannot be started a second time; says why.
    Program(String),
    /// The kernel refused.
    Kernel {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
}

impl SpawnError {
    pub(crate) fn kernel(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Kernel { what, error }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::Program(text) => f.write_str(text),
            Self::Kernel { what, error } => write!(f, "the process was not started: {what}: {error}"),
        }
    }
}

impl core::error::Error for SpawnError {}

impl From<EncodeError> for SpawnError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<SpawnError> for io::Error {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Kernel { error, .. } if error.raw_os_error().is_some() => error,
            SpawnError::Encode(_) => Self::new(io::ErrorKind::InvalidInput, error),
            other => Self::other(other),
        }
    }
}

/// Why a process has no value to give.
///
/// # Examples
/// ```
/// use ropewalk::process::{Process, ProcessError};
///
/// let child = Process::spawn(|()| -> u8 { panic!("no rope") }, ())?;
/// assert_eq!(child.join().unwrap_err().to_string(), "the process panicked: no rope");
/// let child = Process::spawn(|()| -> u8 { std::process::exit(3) }, ())?;
/// assert!(matches!(child.join(), Err(ProcessError::Exited(3))));
/// let child = Process::spawn(|()| std::thread::park(), ())?;
/// child.kill().unwrap();
/// assert!(matches!(child.join(), Err(ProcessError::Signalled(9))));
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// It ended by itself, with this code, before the function returned.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// The function panicked.
    Panicked {
        /// What it panicked with, if that was text.
        message: String,
        /// Where, if the child was told to find out (`RUST_BACKTRACE=1`).
        backtrace: Option<String>,
    },
    /// The child could not decode the arguments.
    Arguments(DecodeError),
    /// The function returned, but the child could not encode the value, or not send it; says why.
    Encode(String),
    /// The function returned, but what came is not its value.
    Decode(DecodeError),
    /// The child could not be set up as asked; says why. The function has not run.
    SetUp(String),
    /// It has ended, but something else in this program has taken its status (`wait` for any child, or an
    /// ignored SIGCHLD).
    StatusLost,
    /// It could not be waited for.
    Wait(io::Error),
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => {
                write!(f, "the process exited with code {code} before its function returned")
            }
            Self::Signalled(number) => write!(f, "the process was ended by {}", signal_name(*number)),
            Self::Panicked { message, .. } => write!(f, "the process panicked: {message}"),
            Self::Arguments(error) => write!(f, "the process did not get its arguments: {error}"),
            Self::Encode(text) => write!(f, "the process could not send its result: {text}"),
            Self::Decode(error) => error.fmt(f),
            Self::SetUp(text) => write!(f, "the process could not be set up: {text}"),
            Self::StatusLost => f.write_str(
                "the process has ended, but its status was taken by a wait for any child elsewhere in this \
                 program, or SIGCHLD is ignored",
            ),
            Self::Wait(error) => write!(f, "the process cannot be waited for: {error}"),
        }
    }
}

impl core::error::Error for ProcessError {}

/// What a child reports instead of a value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    Panicked {
        message: String,
        backtrace: Option<String>,
    },
    Arguments(DecodeError),
    Encode(String),
    SetUp(String),
    /// What was sent to it has not come across whole.
    Transfer(String),
}

impl From<Failure> for ProcessError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Panicked { message, backtrace } => Self::Panicked { message, backtrace },
            Failure::Arguments(error) => Self::Arguments(error),
            Failure::Encode(text) => Self::Encode(text),
            Failure::SetUp(text) | Failure::Transfer(text) => Self::SetUp(text),
        }
    }
}

/// A signal as people call it.
pub(crate) fn signal_name(number: i32) -> String {
    let known = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    match known.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => format!("signal {number} ({name})"),
        None => format!("signal {number}"),
    }
}
