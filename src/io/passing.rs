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

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::runtime::current_number;

struct Frame {
    party: u64,
    encoding: bool,
    fds: Vec<Option<OwnedFd>>,
}

thread_local! {
    /// The frames open on this thread, the latest last.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// Takes the caller's frame away when it goes, however the closure ends.
struct Open(u64);

impl Open {
    fn new(encoding: bool, fds: Vec<Option<OwnedFd>>) -> Self {
        let party = current_number();
        FRAMES.with_borrow_mut(|frames| frames.push(Frame { party, encoding, fds }));
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

fn with_own<R>(encoding: bool, f: impl FnOnce(&mut Frame) -> R) -> Option<R> {
    let party = current_number();
    FRAMES.with_borrow_mut(|frames| {
        let own = frames.iter_mut().rev().find(|frame| frame.party == party)?;
        (own.encoding == encoding).then(|| f(own))
    })
}

/// Runs an encoding, and gives the descriptors that handles in it have passed.
pub(crate) fn collect<R>(encode: impl FnOnce() -> R) -> (R, Vec<OwnedFd>) {
    let open = Open::new(true, Vec::new());
    let result = encode();
    let fds = with_own(true, |frame| core::mem::take(&mut frame.fds)).unwrap_or_default();
    drop(open);
    (result, fds.into_iter().flatten().collect())
}

/// Runs a decoding in which handles can take `fds`; those that nobody takes are closed.
pub(crate) fn provide<R>(fds: Vec<OwnedFd>, decode: impl FnOnce() -> R) -> R {
    let _open = Open::new(false, fds.into_iter().map(Some).collect());
    decode()
}

/// Lets a duplicate of `fd` travel with the message that the caller encodes; the index stands for it.
pub(crate) fn pass(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let fd = fd.try_clone_to_owned()?;
    let index = with_own(true, |frame| {
        frame.fds.push(Some(fd));
        frame.fds.len() - 1
    });
    let index = index.and_then(|index| u32::try_from(index).ok());
    index.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "a handle can be encoded only as a part of what is sent to a process of ropewalk's: \
             an argument, a result, a message",
        )
    })
}

/// Takes a descriptor that came with the message that the caller decodes.
pub(crate) fn take(index: u32) -> io::Result<OwnedFd> {
    let fd = with_own(false, |frame| frame.fds.get_mut(index as usize).and_then(Option::take));
    fd.flatten().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a handle can be decoded only where its descriptor came along, and once",
        )
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
        let (indexes, fds) = collect(|| [pass(reader.as_fd()).unwrap(), pass(reader.as_fd()).unwrap()]);
        assert_eq!((indexes, fds.len()), ([0, 1], 2));
        provide(fds, || {
            assert!(take(1).is_ok() && take(1).is_err());
            assert!(take(0).is_ok() && take(2).is_err());
        });
    }

    #[test]
    fn outside_an_encoding_nothing_can_be_passed() {
        let (reader, _writer) = pipe();
        assert!(pass(reader.as_fd()).is_err() && take(0).is_err());
        let ((), fds) = collect(|| ());
        provide(fds, || assert!(pass(reader.as_fd()).is_err()));
    }

    #[test]
    fn coroutines_that_wait_while_they_encode_keep_their_own() {
        let runtime = crate::Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let encode = |count: usize| {
                let (reader, _writer) = pipe();
                let ((), fds) = collect(|| {
                    for _ in 0..count {
                        crate::yield_now();
                        pass(reader.as_fd()).unwrap();
                    }
                });
                fds.len()
            };
            let handles: Vec<_> = (1..8).map(|count| crate::spawn(move || encode(count))).collect();
            let counts = crate::join_all(handles).into_iter().map(Result::unwrap);
            assert!(counts.eq(1..8));
        });
    }
}
