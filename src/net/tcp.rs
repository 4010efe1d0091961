//! TCP, as `std::net` has it.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

use super::accept;
use super::addr::{self, ToSocketAddrs};
use super::macros::{common, pass_on, stream, timeouts};
use crate::io::evented::{Direction, Evented};
use crate::runtime::far;
use crate::sys::socket::{self, RawAddr};

/// A TCP connection. Two coroutines can read and write it at once.
///
/// # Examples
/// ```
/// use ropewalk::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = ropewalk::spawn(move || listener.accept()?.0.write_all(b"hello"));
/// let mut text = String::new();
/// TcpStream::connect(address)?.read_to_string(&mut text)?;
/// server.join().unwrap()?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    io: Evented<net::TcpStream>,
}

common!(TcpStream, net::TcpStream);
stream!(TcpStream);
pass_on! { TcpStream:
    peer_addr() -> SocketAddr, "The address of the other side.";
    local_addr() -> SocketAddr, "The address of this side.";
    set_nodelay(nodelay: bool) -> (), "Sends small pieces at once (`TCP_NODELAY`).";
    nodelay() -> bool, "Tells whether small pieces are sent at once.";
    set_ttl(ttl: u32) -> (), "Sets the time to live of packets.";
    ttl() -> u32, "The time to live of packets.";
}

impl TcpStream {
    /// Connects to the first of the addresses that answers. A cancellation point.
    ///
    /// # Errors
    /// What the last of them says, or the look-up of a name.
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        addr::each(addresses, |address| connect(address, None))
    }

    /// As [`connect`](Self::connect) to one address, but waits no longer than `limit`.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    /// assert_eq!(stream.peer_addr()?, listener.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidInput` for a limit of zero, `TimedOut` after it, and what the kernel says.
    pub fn connect_timeout(address: &SocketAddr, limit: Duration) -> io::Result<Self> {
        if limit.is_zero() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot connect in a time of zero"));
        }
        connect(*address, Some(far::after(limit)))
    }

    /// Receives without taking: the same bytes come again. A cancellation point if it has to wait.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::{TcpListener, TcpStream};
    /// use std::io::{Read, Write};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut here = TcpStream::connect(listener.local_addr()?)?;
    /// let mut there = listener.accept()?.0.try_clone()?;
    /// here.write_all(b"word")?;
    /// let mut bytes = [0; 4];
    /// there.peek(&mut bytes[..1])?;
    /// there.read_exact(&mut bytes)?; // the peek has taken nothing
    /// assert_eq!(&bytes, b"word");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, None, |inner| inner.peek(buffer))
    }
}

fn connect(address: SocketAddr, deadline: Option<Instant>) -> io::Result<TcpStream> {
    let raw = RawAddr::inet(address);
    let socket = socket::stream(&raw)?;
    let begun = socket::connect(socket.as_fd(), &raw);
    // Registered after the call: a socket that was never connected counts as hung up.
    let stream = TcpStream::wrap(net::TcpStream::from(socket))?;
    stream.io.trust_short_reads();
    match begun {
        Ok(()) => Ok(stream),
        // An interrupted connect goes on in the background like one that takes time.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            finish_connect(&stream, deadline)?;
            Ok(stream)
        }
        Err(error) => Err(error),
    }
}

/// Waits until the kernel has decided: an error at the socket, or a peer.
fn finish_connect(stream: &TcpStream, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let mut failed = Ok(None);
        let done = stream.io.expect_event(Direction::Write, || {
            failed = stream.take_error();
            !matches!(failed, Ok(None)) || stream.peer_addr().is_ok()
        });
        match failed? {
            Some(error) => return Err(error),
            None if done => return Ok(()),
            None => stream.io.wait(Direction::Write, deadline).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => io::Error::new(error.kind(), "no answer before the timeout"),
                _ => error,
            })?,
        }
    }
}

/// Waits for TCP connections.
///
/// # Examples
/// ```
/// use ropewalk::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = ropewalk::spawn(move || listener.incoming().take(3).filter(Result::is_ok).count());
/// let clients = (0..3).map(|_| TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!((server.join().unwrap(), clients.len()), (3, 3));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    io: Evented<net::TcpListener>,
}

common!(TcpListener, net::TcpListener);
pass_on! { TcpListener:
    local_addr() -> SocketAddr, "The address it listens at.";
    set_ttl(ttl: u32) -> (), "Sets the time to live of packets.";
    ttl() -> u32, "The time to live of packets.";
}

impl TcpListener {
    /// Listens at the first of the addresses that is free.
    ///
    /// # Errors
    /// What the last of them says, or the look-up of a name.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = addr::each(addresses, net::TcpListener::bind)?;
        socket::lengthen_backlog(listener.as_fd())?;
        let listener = Self::from_std(listener)?;
        // For the sockets that it accepts. A listener that was taken over may be MPTCP's or SCTP's.
        listener.io.trust_short_reads();
        Ok(listener)
    }

    /// Waits for a connection and takes it. A cancellation point if it has to wait.
    ///
    /// Out of descriptors, it waits until some are free, without spinning.
    ///
    /// # Errors
    /// What the kernel says, and `NotConnected` after [`close`](Self::close).
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, address) = accept::accept(&self.io)?;
        let stream = TcpStream::wrap(net::TcpStream::from(socket))?;
        if self.io.trusts_short_reads() {
            stream.io.trust_short_reads();
        }
        match address.to_inet() {
            Some(address) => Ok((stream, address)),
            None => stream.peer_addr().map(|address| (stream, address)),
        }
    }

    /// Takes connections for ever.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<TcpStream>> {
        core::iter::repeat_with(|| self.accept().map(|(stream, _)| stream))
    }

    /// Ends `accept` of this handle: whoever waits in it, now or later, gets an error. The kernel goes on
    /// taking connections, for nobody, until the last handle to the socket is dropped.
    ///
    /// # Examples
    /// ```
    /// let listener = std::sync::Arc::new(ropewalk::net::TcpListener::bind("127.0.0.1:0")?);
    /// let waits = ropewalk::spawn({ let listener = listener.clone(); move || listener.accept().is_err() });
    /// listener.close();
    /// assert!(waits.join().unwrap());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn close(&self) {
        self.io.close();
    }
}
