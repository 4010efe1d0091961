//! A call that another process of this program makes: which function, with which arguments.
//!
//! ```text
//! Call::new(f)  ──▶ (number of run::<A, R>, number of f)  ~~~▶  Call::make(arguments) ──▶ reply
//! ```
//!
//! Invariant:
//! * I1: the two numbers of a call come from one constructor in a process of the same program: from
//!   `new::<A, R>` the first is `run::<A, R>` and the second is a `fn(A) -> R`, and so on for the others.

use core::cell::RefCell;
use core::mem;
use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::channel::Message;
use super::codec::{self, DecodeError};
use super::error::{Failure, SpawnError};
use super::program;
use crate::runtime::name_coroutines;

/// First byte of a reply: the value follows.
const VALUE: u8 = 0;
/// First byte of a reply: a [`Failure`] follows.
const FAILURE: u8 = 1;

type Run = fn(*const (), &[u8], Vec<OwnedFd>) -> Message;

/// A function and the code that decodes for it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    run: u64,
    f: u64,
}

impl Call {
    /// The call of `f`.
    pub(crate) fn new<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R) -> Result<Self, SpawnError> {
        Self::with(run::<A, R>, f as *const ())
    }

    /// The call of `f` with two arguments.
    pub(crate) fn star<A, B, R>(f: fn(A, B) -> R) -> Result<Self, SpawnError>
    where
        A: DeserializeOwned,
        B: DeserializeOwned,
        R: Serialize,
    {
        Self::with(run_star::<A, B, R>, f as *const ())
    }

    /// The calls of `f` with each of many arguments.
    pub(crate) fn each<A: DeserializeOwned, R: Serialize>(f: fn(A) -> R) -> Result<Self, SpawnError> {
        Self::with(run_each::<A, R>, f as *const ())
    }

    /// The calls of `f` with each of many pairs of arguments.
    pub(crate) fn star_each<A, B, R>(f: fn(A, B) -> R) -> Result<Self, SpawnError>
    where
        A: DeserializeOwned,
        B: DeserializeOwned,
        R: Serialize,
    {
        Self::with(run_star_each::<A, B, R>, f as *const ())
    }

    fn with(run: Run, f: *const ()) -> Result<Self, SpawnError> {
        Ok(Self { run: program::number_of(run as *const ())?, f: program::number_of(f)? })
    }

    /// Makes the call, and gives the reply. Never unwinds.
    pub(crate) fn make(self, arguments: &[u8], fds: Vec<OwnedFd>) -> Message {
        let codes = (program::code_of(self.run), program::code_of(self.f));
        let (Some(run), Some(f)) = codes else {
            return reply(Err(Failure::SetUp("the function does not exist in this program".to_owned())));
        };
        // SAFETY: it is the code of a `Run` (I1).
        let run = unsafe { mem::transmute::<*const (), Run>(run) };
        run(f, arguments, fds)
    }
}

/// Calls `f`, which is a `fn(A) -> R`: see I1.
fn run<A: DeserializeOwned, R: Serialize>(f: *const (), arguments: &[u8], fds: Vec<OwnedFd>) -> Message {
    // SAFETY: it is the code of such a function (I1).
    let f = unsafe { mem::transmute::<*const (), fn(A) -> R>(f) };
    answer(arguments, fds, f)
}

/// Calls `f`, which is a `fn(A, B) -> R`: see I1.
fn run_star<A, B, R>(f: *const (), arguments: &[u8], fds: Vec<OwnedFd>) -> Message
where
    A: DeserializeOwned,
    B: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: it is the code of such a function (I1).
    let f = unsafe { mem::transmute::<*const (), fn(A, B) -> R>(f) };
    answer(arguments, fds, |(a, b)| f(a, b))
}

/// Calls `f`, which is a `fn(A) -> R`, for each of many: see I1.
fn run_each<A: DeserializeOwned, R: Serialize>(f: *const (), arguments: &[u8], fds: Vec<OwnedFd>) -> Message {
    // SAFETY: it is the code of such a function (I1).
    let f = unsafe { mem::transmute::<*const (), fn(A) -> R>(f) };
    answer(arguments, fds, |all: Vec<A>| all.into_iter().map(f).collect::<Vec<R>>())
}

/// Calls `f`, which is a `fn(A, B) -> R`, for each of many: see I1.
fn run_star_each<A, B, R>(f: *const (), arguments: &[u8], fds: Vec<OwnedFd>) -> Message
where
    A: DeserializeOwned,
    B: DeserializeOwned,
    R: Serialize,
{
    // SAFETY: it is the code of such a function (I1).
    let f = unsafe { mem::transmute::<*const (), fn(A, B) -> R>(f) };
    answer(arguments, fds, |all: Vec<(A, B)>| all.into_iter().map(|(a, b)| f(a, b)).collect::<Vec<R>>())
}

/// Decodes, calls, encodes.
fn answer<A, R>(arguments: &[u8], fds: Vec<OwnedFd>, f: impl FnOnce(A) -> R) -> Message
where
    A: DeserializeOwned,
    R: Serialize,
{
    let work = || {
        let arguments = codec::decode::<A>(arguments, fds).map_err(Failure::Arguments)?;
        let value = f(arguments);
        codec::encode(&value, vec![VALUE]).map_err(|error| Failure::Encode(error.to_string()))
    };
    reply(panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(describe(payload))))
}

/// A reply as a message.
pub(crate) fn reply(result: Result<Message, Failure>) -> Message {
    result.unwrap_or_else(|failure| {
        let bytes = postcard::to_extend(&failure, vec![FAILURE]);
        (bytes.unwrap_or_else(|_| vec![FAILURE]), Vec::new())
    })
}

/// Tells whether a reply holds a value.
pub(crate) fn is_value(reply: &[u8]) -> bool {
    reply.first() == Some(&VALUE)
}

/// What a reply says.
pub(crate) fn read_reply<R: DeserializeOwned>(
    bytes: &[u8],
    fds: Vec<OwnedFd>,
) -> Result<Result<R, Failure>, DecodeError> {
    match bytes.split_first() {
        Some((&VALUE, value)) => codec::decode(value, fds).map(Ok),
        Some((_, failure)) => codec::decode(failure, fds).map(Err),
        None => codec::decode(&[], fds).map(Err),
    }
}

thread_local! {
    /// Where the latest panic of this thread came from.
    static LATEST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of this process, a child, carry its name.
pub(crate) fn name_panics(name: &str) {
    let who = format!("process '{name}' (pid {})", std::process::id());
    panic::set_hook(Box::new(move |info| {
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
        let text = text_of(info.payload()).unwrap_or("a value that is not text");
        // Not `eprintln`: it panics if stderr is a pipe that nobody reads, and a panic in a hook ends the process.
        let mut stderr = std::io::stderr().lock();
        let _ = writeln!(stderr, "{who} panicked{place}:\n{text}");
        if let Some(backtrace) = &backtrace {
            let _ = writeln!(stderr, "{backtrace}");
        }
        drop(stderr);
        let _ = LATEST.try_with(|latest| *latest.borrow_mut() = backtrace);
    }));
    name_coroutines();
}

fn text_of(payload: &dyn Any) -> Option<&str> {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

fn describe(payload: Box<dyn Any + Send>) -> Failure {
    let message = text_of(&*payload).unwrap_or("a value that is not text").to_owned();
    // A payload whose destructor panics is left alone then.
    if let Err(second) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(second);
    }
    Failure::Panicked { message, backtrace: LATEST.take() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<A: Serialize + DeserializeOwned, R: Serialize + DeserializeOwned>(
        f: fn(A) -> R,
        arguments: &A,
    ) -> Result<R, Failure> {
        let (bytes, fds) = codec::encode(arguments, Vec::new()).unwrap();
        let (bytes, fds) = Call::new(f).unwrap().make(&bytes, fds);
        read_reply(&bytes, fds).unwrap()
    }

    #[test]
    fn values_and_panics_come_back() {
        assert_eq!(call(|(a, b): (u32, u32)| a + b, &(2, 3)).unwrap(), 5);
        let panicked = call(|text: String| -> u32 { panic!("{text}") }, &"boom".to_owned());
        assert!(matches!(panicked, Err(Failure::Panicked { message, .. }) if message == "boom"));
    }

    #[test]
    fn a_payload_whose_destructor_panics_is_survived() {
        struct Strange;
        impl Drop for Strange {
            fn drop(&mut self) {
                panic!("once more");
            }
        }
        let panicked = call(|()| -> () { panic::panic_any(Strange) }, &());
        assert!(matches!(panicked, Err(Failure::Panicked { message, .. }) if message.contains("not text")));
    }

    #[test]
    fn arguments_of_another_type_are_refused() {
        let (bytes, fds) = Call::new(|n: u64| n).unwrap().make(&[0xff; 3], Vec::new());
        assert!(matches!(read_reply::<u64>(&bytes, fds).unwrap(), Err(Failure::Arguments(_))));
    }
}
