//! Messages to and from another process: a socket that keeps them whole.
//!
//! ```text
//! small:  [0][bytes …]          and the descriptors
//! large:  [1][length, 8 bytes][the first bytes]  the descriptors, and last a memfd that holds all the bytes
//! ```
//!
//! A message is sent by one system call, whole or not at all. So a sender that is killed leaves no half
//! message behind, several senders and receivers may share an end, and no sender waits in the middle.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use crate::base::plain;
use crate::io::pollable::{Direction, Pollable};
use crate::sys::{memory, message, signal};

/// Bytes that travel in the message itself. Above it, a copy into a memfd costs less than the kernel's
/// buffers, and always fits: the smallest socket buffer in use takes 3 of these.
const INLINE: usize = 64 * 1024;
const SMALL: u8 = 0;
const LARGE: u8 = 1;
/// First bytes of a large message that travel twice: what is lost can be told from them.
const FIRST: usize = 16;
/// The most handles that one message carries: one place is for a memfd.
const MOST_HANDLES: usize = message::MOST_FDS - 1;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes, and the descriptors that came with them.
pub(crate) type Message = (Vec<u8>, Vec<OwnedFd>);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: Pollable,
}

impl From<OwnedFd> for Channel {
    fn from(socket: OwnedFd) -> Self {
        Self { socket: socket.into() }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    /// Two connected ends; each is closed by an exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (here, there) = message::pair()?;
        Ok((here.into(), there))
    }

    /// The socket, to be waited for together with others.
    pub(crate) fn socket(&self) -> &Pollable {
        &self.socket
    }

    /// Sends a message; waits for room. `None` if the deadline came first. A cancellation point.
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<Option<()>> {
        if fds.len() > MOST_HANDLES {
            let text = format!("{} handles are too many for one message; it takes {MOST_HANDLES}", fds.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if bytes.len() <= INLINE {
            return self.send_parts([&[SMALL], bytes], fds, deadline);
        }
        let memory = File::from(memory::anonymous_file(c"ropewalk-message")?);
        // Plainly: the signal mask is this thread's, so this thread makes the calls.
        plain::plainly(|| signal::without_size_signal(|| memory.write_all_at(bytes, 0)))?;
        let mut head = vec![LARGE];
        head.extend((bytes.len() as u64).to_le_bytes());
        head.extend(&bytes[..FIRST]);
        let mut all = fds.to_vec();
        all.push(memory.as_fd());
        self.send_parts([&head, &[]], &all, deadline)
    }

    fn send_parts(
        &self,
        parts: [&[u8]; 2],
        fds: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> io::Result<Option<()>> {
        self.socket.run(Direction::Write, deadline, |socket| message::send(socket, parts, fds))
    }

    /// Receives a message if there is one. Never waits. `UnexpectedEof` if there is none and none will come.
    ///
    /// Asks the kernel, whatever the reactor knows: what was sent before this call is found.
    pub(crate) fn try_recv(&self) -> io::Result<Option<Message>> {
        self.try_recv_or_lost()?.transpose().map_err(|lost| lost.error)
    }

    /// As [`try_recv`](Self::try_recv), and tells what is known of a message that could not be received whole.
    pub(crate) fn try_recv_or_lost(&self) -> io::Result<Option<Result<Message, Lost>>> {
        match receive(self.socket.as_fd()) {
            Ok(raw) => Ok(Some(unpack(raw))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Receives a message; waits for one. `None` if the deadline came first; `UnexpectedEof` if no other
    /// will come. A cancellation point.
    pub(crate) fn recv(&self, deadline: Option<Instant>) -> io::Result<Option<Message>> {
        self.recv_or_lost(deadline)?.transpose().map_err(|lost| lost.error)
    }

    /// As [`recv`](Self::recv), and tells what is known of a message that could not be received whole.
    pub(crate) fn recv_or_lost(
        &self,
        deadline: Option<Instant>,
    ) -> io::Result<Option<Result<Message, Lost>>> {
        Ok(self.socket.run(Direction::Read, deadline, receive)?.map(unpack))
    }
}

/// A message that has come, and is gone: this process has no room for its descriptors, or its memory.
#[derive(Debug)]
pub(crate) struct Lost {
    /// Its first bytes; 16, if it has as many.
    pub(crate) first: Vec<u8>,
    pub(crate) error: io::Error,
}

/// A message as it came: its first byte, and the rest.
struct Raw {
    kind: u8,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    fds_missing: bool,
}

/// Takes one message from the socket.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Raw> {
    let broken = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(INLINE + 1, 0);
        let received = match message::receive(socket, buffer) {
            // The other side has gone with messages of ours unread. That is said once; what it has sent
            // before comes next.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => message::receive(socket, buffer)?,
            received => received?,
        };
        match &buffer[..received.len] {
            [] => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if received.cut => broken("a message is longer than any that ropewalk sends"),
            [kind, bytes @ ..] => Ok(Raw {
                kind: *kind,
                bytes: bytes.to_vec(),
                fds: received.fds,
                fds_missing: received.fds_missing,
            }),
        }
    })
}

/// The message proper.
fn unpack(raw: Raw) -> Result<Message, Lost> {
    let Raw { kind, mut bytes, mut fds, fds_missing } = raw;
    let missing = || {
        io::Error::other(
            "descriptors that came with a message are lost: this process has as many as it may; \
             raise its limit (ulimit -n)",
        )
    };
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a message is not one of ropewalk's");
    match (kind, bytes.split_first_chunk()) {
        (SMALL, _) if fds_missing => {
            bytes.truncate(FIRST);
            Err(Lost { first: bytes, error: missing() })
        }
        (SMALL, _) => Ok((bytes, fds)),
        (LARGE, Some((len, first))) => {
            let memory = if fds_missing { Err(missing()) } else { fds.pop().ok_or_else(broken) };
            let whole = memory.and_then(|memory| read_large(File::from(memory), u64::from_le_bytes(*len)));
            whole.map(|whole| (whole, fds)).map_err(|error| Lost { first: first.to_vec(), error })
        }
        _ => Err(Lost { first: Vec::new(), error: broken() }),
    }
}

/// The bytes of a large message.
fn read_large(memory: File, len: u64) -> io::Result<Vec<u8>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a message is shorter than it says");
    if memory.metadata()?.len() < len {
        return Err(broken());
    }
    let len = usize::try_from(len).map_err(|_| broken())?;
    let mut large = Vec::new();
    large.try_reserve_exact(len).map_err(|_| {
        let text = format!("there is no memory for a message of {len} bytes");
        io::Error::new(io::ErrorKind::OutOfMemory, text)
    })?;
    large.resize(len, 0);
    memory.read_exact_at(&mut large, 0)?;
    Ok(large)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_stay_whole_and_in_order() {
        let (here, there) = Channel::pair().unwrap();
        let there = Channel::from(there);
        let lengths = [0, 1, INLINE - 1, INLINE, INLINE + 1, 3_000_000];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for len in lengths {
                    let (reader, _writer) = io::pipe().unwrap();
                    here.send(&vec![len as u8; len], &[reader.as_fd()], None).unwrap();
                }
            });
            for len in lengths {
                let (bytes, fds) = there.recv(None).unwrap().unwrap();
                assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == len as u8));
                assert_eq!(fds.len(), 1);
            }
        });
        assert!(there.try_recv().unwrap().is_none());
        drop(here);
        assert_eq!(there.recv(None).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_coroutine_that_waits_for_a_message_leaves_its_worker_to_others() {
        let runtime = crate::Runtime::builder().workers(1).build().unwrap();
        runtime.run(|| {
            let (here, there) = Channel::pair().unwrap();
            let there = Channel::from(there);
            let receiver = crate::spawn(move || there.recv(None).unwrap().unwrap().0);
            crate::yield_now();
            here.send(b"hello", &[], None).unwrap();
            assert_eq!(receiver.join().unwrap(), b"hello");
        });
    }

    #[test]
    fn deadlines_and_timeouts_end_a_wait_on_a_thread() {
        let (_here, there) = Channel::pair().unwrap();
        let there = Channel::from(there);
        let soon = Instant::now() + core::time::Duration::from_millis(5);
        assert!(there.recv(Some(soon)).unwrap().is_none());
        let limit = core::time::Duration::from_millis(5);
        assert!(crate::timeout(limit, || there.recv(None)).is_err());
    }
}
