//! Descriptors that travel with a message: collected while it is encoded, provided while it is decoded.
//!
//! ```text
//! sender                                            receiver
//! collect(|| encode(&value)) ──▶ bytes, fds  ~~~▶   provide(fds, || decode(&bytes))
//!    a handle's Serialize:                             a handle's Deserialize:
//!      pass(fd) ──▶ index, written as a number           index ──▶ take(index) ──▶ fd
//! ```
//!
//! Whoever encodes or decodes opens a frame for the calling party. Frames of a thread lie in one list and
//! are found by the party's number, so a coroutine that waits in the middle of an encoding does not
//! confuse the others of its worker.
#![forbid(unsafe_code)]

use core::fmt::Display;
use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::runtime::current_number;

/// What a descriptor is of. A type that encodes a handle and is decoded as another would reach memory in two ways
/// that do not know of each other; so the kind travels where such types cannot write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Any descriptor, given away by its owner.
    Plain,
    Pipe,
    Region,
    Array,
    Object,
    Ring,
    PuttersWire,
    GettersWire,
}

/// Descriptors, and a [`Kind`] as a byte for each.
pub(crate) type Passed = (Vec<OwnedFd>, Vec<u8>);

struct Frame {
    party: u64,
    encoding: bool,
    fds: Vec<Option<OwnedFd>>,
    kinds: Vec<u8>,
    /// Why a handle could not be passed or taken; the format between keeps no such text.
    reason: Option<String>,
}

thread_local! {
    /// The frames open on this thread, the latest last.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes the caller's frame away when it goes, however the closure ends.
struct Open(u64);

impl Open {
    fn new(encoding: bool, fds: Vec<Option<OwnedFd>>, kinds: Vec<u8>) -> Self {
        let party = current_number();
        FRAMES.with_borrow_mut(|frames| frames.push(Frame { party, encoding, fds, kinds, reason: None }));
        Self(party)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let frame = FRAMES.with_borrow_mut(|frames| {
            let at = frames.iter().rposition(|frame| frame.party == self.0)?;
            Some(frames.remove(at))
        });
        // Descriptors are closed after the borrow.
        drop(frame);
    }
}

/// Says why the caller could not encode or decode a handle; gives the error back.
pub(crate) fn blame(error: io::Error) -> io::Error {
    let party = current_number();
    FRAMES.with_borrow_mut(|frames| {
        if let Some(own) = frames.iter_mut().rev().find(|frame| frame.party == party) {
            own.reason = Some(error.to_string());
        }
    });
    error
}

fn reason() -> Option<String> {
    let party = current_number();
    FRAMES.with_borrow_mut(|frames| frames.iter_mut().rev().find(|frame| frame.party == party)?.reason.take())
}

fn with_own<R>(encoding: bool, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    let party = current_number();
    FRAMES.with_borrow_mut(|frames| {
        let own = frames.iter_mut().rev().find(|frame| frame.party == party)?;
        (own.encoding == encoding).then(|| f(own))
    })
}

/// Runs an encoding, and gives the descriptors that handles in it have passed. An error is the reason that a handle
/// has given, if one has.
pub(crate) fn collect<R, E: Display>(encode: impl FnOnce() -> Result<R, E>) -> Result<(R, Passed), String> {
    let open = Open::new(true, Vec::new(), Vec::new());
    let encoded = encode().map_err(|error| reason().unwrap_or_else(|| error.to_string()));
    let take = |frame: &mut Frame| (core::mem::take(&mut frame.fds), core::mem::take(&mut frame.kinds));
    let (fds, kinds) = with_own(true, take).unwrap_or_default();
    drop(open);
    Ok((encoded?, (fds.into_iter().flatten().collect(), kinds)))
}

/// Runs a decoding in which handles can take `fds`; those that nobody takes are closed. Errors are as for
/// [`collect`].
pub(crate) fn provide<R, E: Display>(
    (fds, kinds): Passed,
    decode: impl FnOnce() -> Result<R, E>,
) -> Result<R, String> {
    let _open = Open::new(false, fds.into_iter().map(Some).collect(), kinds);
    decode().map_err(|error| reason().unwrap_or_else(|| error.to_string()))
}

/// Lets a duplicate of `fd` travel with the message that the caller encodes; the index stands for it.
pub(crate) fn pass(fd: BorrowedFd<'_>, kind: Kind) -> io::Result<u32> {
    let fd = fd.try_clone_to_owned().map_err(blame)?;
    let index = with_own(true, |frame| {
        frame.fds.push(Some(fd));
        frame.kinds.push(kind as u8);
        frame.fds.len() - 1
    });
    let index = index.and_then(|index| u32::try_from(index).ok());
    index.ok_or_else(|| {
        blame(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a handle can be encoded only as a part of what is sent to a process of ropewalk's: \
             an argument, a result, a message",
        ))
    })
}

/// Takes a descriptor of that kind that came with the message that the caller decodes.
pub(crate) fn take(index: u32, kind: Kind) -> io::Result<OwnedFd> {
    let index = index as usize;
    let misfit = || {
        let text = "the handle that came is of another kind";
        blame(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    let misfits = |frame: &mut Frame| frame.kinds.get(index).is_some_and(|came| *came != kind as u8);
    if with_own(false, misfits) == Some(true) {
        return Err(misfit());
    }
    let fd = with_own(false, |frame| {
        // Without a kind nothing is taken: it was not sent by `pass`.
        frame.kinds.get(index)?;
        frame.fds.get_mut(index).and_then(Option::take)
    });
    fd.flatten().ok_or_else(|| {
        blame(io::Error::new(
            io::ErrorKind::InvalidData,
            "a handle can be decoded only where its descriptor came along, and once; one that is missing had no \
             place in this process (ulimit -n)",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn pipe() -> (io::PipeReader, io::PipeWriter) {
        io::pipe().expect("a pipe can be made")
    }

    #[test]
    fn a_passed_descriptor_is_taken_once_by_its_index() {
        let (reader, _writer) = pipe();
        let two = || io::Result::Ok([pass(reader.as_fd(), Kind::Plain)?, pass(reader.as_fd(), Kind::Plain)?]);
        let (indexes, fds) = collect(two).unwrap();
        assert_eq!((indexes, fds.0.len()), ([0, 1], 2));
        assert_eq!(fds.1, [Kind::Plain as u8; 2]);
        provide(fds, || {
            assert!(take(1, Kind::Region).is_err(), "it was taken for something else");
            assert!(take(1, Kind::Plain).is_ok() && take(1, Kind::Plain).is_err());
            assert!(take(0, Kind::Plain).is_ok() && take(2, Kind::Plain).is_err());
            io::Result::Ok(())
        })
        .unwrap();
    }

    #[test]
    fn outside_an_encoding_nothing_can_be_passed() {
        let (reader, _writer) = pipe();
        assert!(pass(reader.as_fd(), Kind::Plain).is_err() && take(0, Kind::Plain).is_err());
        let ((), fds) = collect(|| io::Result::Ok(())).unwrap();
        let reason =
            provide(fds, || pass(reader.as_fd(), Kind::Plain).map_err(|_| "lost on the way")).unwrap_err();
        assert!(reason.contains("a handle can be encoded only"), "{reason}");
    }

    #[test]
    fn coroutines_that_wait_while_they_encode_keep_their_own() {
        let runtime = crate::Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let encode = |count: usize| {
                let (reader, _writer) = pipe();
                let pass_all = || {
                    (0..count).try_for_each(|_| {
                        crate::yield_now();
                        pass(reader.as_fd(), Kind::Plain).map(drop)
                    })
                };
                let ((), fds) = collect(pass_all).unwrap();
                fds.0.len()
            };
            let handles: Vec<_> = (1..8).map(|count| crate::spawn(move || encode(count))).collect();
            let counts = crate::join_all(handles).into_iter().map(Result::unwrap);
            assert!(counts.eq(1..8));
        });
    }
}
