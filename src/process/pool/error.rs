//! Why a task of a pool of processes has no value, and why it was not taken.
#![forbid(unsafe_code)]

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use crate::process::codec::{DecodeError, EncodeError};
use crate::process::error::{Failure, SpawnError, signal_name};
use crate::thread::task::{closed, full};

/// Why a task of a pool of processes has no value to give.
///
/// # Examples
/// ```
/// use ropewalk::process::{Pool, TaskError};
///
/// let pool = Pool::new(1)?;
/// let error = pool.apply(|()| -> u8 { panic!("no rope") }, ()).unwrap_err();
/// assert_eq!(error.to_string(), "the task panicked: no rope");
/// let error = pool.apply(|()| -> u8 { std::process::exit(3) }, ()).unwrap_err();
/// assert!(matches!(error, TaskError::WorkerDied { code: Some(3), .. }));
/// assert_eq!(pool.apply(|n: u8| n + 1, 6).unwrap(), 7); // by the next worker
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// It panicked.
    Panicked {
        /// What it panicked with, if that was text.
        message: String,
        /// Where, if the worker was told to find out (`RUST_BACKTRACE=1`).
        backtrace: Option<String>,
    },
    /// The worker that had it died, and it may not be tried again, or not once more.
    WorkerDied {
        /// The worker's process.
        pid: u32,
        /// The signal that ended it, if one did.
        signal: Option<i32>,
        /// The code it exited with, if it did.
        code: Option<i32>,
    },
    /// It was not done in the time that the pool gives a task; its worker was killed and replaced.
    TimedOut(Duration),
    /// The worker could not decode the arguments.
    Arguments(DecodeError),
    /// The value could not be encoded, or not sent; says why.
    Encode(String),
    /// What came is not the value.
    Decode(DecodeError),
    /// Arguments or result did not get across: descriptors or memory ran out on the way; says why.
    Transfer(String),
    /// The pool was terminated first.
    Terminated {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// The pool cannot start workers any more; says why.
    Broken {
        /// The name of the pool.
        pool: Arc<str>,
        /// What the last attempts said.
        cause: Arc<str>,
    },
    /// The pool did not take it.
    Refused(SubmitError),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message, .. } => write!(f, "the task panicked: {message}"),
            Self::WorkerDied { pid, signal: Some(signal), .. } => {
                write!(f, "the worker that had the task (pid {pid}) was ended by {}", signal_name(*signal))
            }
            Self::WorkerDied { pid, code: Some(code), .. } => {
                write!(f, "the worker that had the task (pid {pid}) exited with code {code}")
            }
            Self::WorkerDied { pid, .. } => write!(f, "the worker that had the task (pid {pid}) ended"),
            Self::TimedOut(limit) => {
                write!(f, "the task was not done after {limit:?}; its worker was killed and replaced")
            }
            Self::Arguments(error) => write!(f, "the worker did not get the arguments: {error}"),
            Self::Encode(text) => write!(f, "the task could not send its result: {text}"),
            Self::Decode(error) => error.fmt(f),
            Self::Transfer(text) => write!(f, "arguments or result of the task did not get across: {text}"),
            Self::Terminated { pool } => write!(f, "pool '{pool}' was terminated before the task was done"),
            Self::Broken { pool, cause } => broken(f, pool, cause),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

fn broken(f: &mut fmt::Formatter<'_>, pool: &str, cause: &str) -> fmt::Result {
    write!(f, "pool '{pool}' is broken: its workers do not start: {cause}")
}

impl core::error::Error for TaskError {}

impl From<SubmitError> for TaskError {
    fn from(error: SubmitError) -> Self {
        Self::Refused(error)
    }
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Panicked { message, backtrace } => Self::Panicked { message, backtrace },
            Failure::Arguments(error) => Self::Arguments(error),
            Failure::Encode(text) | Failure::SetUp(text) => Self::Encode(text),
            Failure::Transfer(text) => Self::Transfer(text),
        }
    }
}

/// Why a pool of processes did not take a task. Nothing of it has run.
///
/// `Closed` and `Full` are what they are of a pool of threads ([`thread::SubmitError`](crate::thread::SubmitError)); code
/// for either kind has [`Pool::Refusal`](crate::Pool::Refusal).
///
/// # Examples
/// ```
/// let pool = ropewalk::process::Pool::new(1)?;
/// pool.close();
/// let error = pool.apply_async(|n: u8| n, 7).unwrap_err();
/// assert_eq!(error.to_string(), "pool 'pool' is closed and takes no more tasks");
/// # Ok::<(), ropewalk::process::SpawnError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SubmitError {
    /// It is closed.
    Closed {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// As many tasks wait as may, and the pool rejects what is too much.
    Full {
        /// The name of the pool.
        pool: Arc<str>,
    },
    /// It cannot start workers; says why.
    Broken {
        /// The name of the pool.
        pool: Arc<str>,
        /// What the last attempts said.
        cause: Arc<str>,
    },
    /// The arguments cannot be encoded.
    Encode(EncodeError),
    /// The function cannot run in another process; says why.
    Function(Arc<str>),
}

impl fmt::Display for SubmitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { pool } => f.write_str(&closed(pool)),
            Self::Full { pool } => f.write_str(&full(pool)),
            Self::Broken { pool, cause } => broken(f, pool, cause),
            Self::Encode(error) => error.fmt(f),
            Self::Function(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for SubmitError {}

impl From<EncodeError> for SubmitError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl From<SpawnError> for SubmitError {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Encode(error) => Self::Encode(error),
            other => Self::Function(other.to_string().into()),
        }
    }
}
