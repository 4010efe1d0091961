//! Unix sockets, as `std::os::unix::net` has them.
#![forbid(unsafe_code)]

use core::time::Duration;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::accept;
use super::macros::{common, pass_on, stream, timeouts};
use crate::io::evented::{Direction, Evented};
use crate::runtime;
use crate::sys::socket::{self, RawAddr};

/// A connection through a Unix socket. Two coroutines can read and write it at once.
///
/// # Examples
/// ```
/// use ropewalk::net::UnixStream;
/// use std::io::{Read, Write};
///
/// let (mut a, mut b) = UnixStream::pair()?;
/// a.write_all(b"hi")?;
/// let mut buffer = [0; 2];
/// b.read_exact(&mut buffer)?;
/// assert_eq!(&buffer, b"hi");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream {
    io: Evented<net::UnixStream>,
}

common!(UnixStream, net::UnixStream);
stream!(UnixStream);
pass_on! { UnixStream:
    peer_addr() -> SocketAddr, "The address of the other side.";
    local_addr() -> SocketAddr, "The address of this side.";
}

impl UnixStream {
    /// Connects to the socket at `path`. Waits while the listener's queue is full. A cancellation point.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for a path that is too long.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::connect_raw(&RawAddr::unix(path.as_ref())?)
    }

    /// As [`connect`](Self::connect), to an address: a path, or a name in Linux's abstract space.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::{UnixListener, UnixStream};
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    ///
    /// let name = format!("ropewalk-stream-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let stream = UnixStream::connect_addr(&address)?;
    /// assert!(listener.accept().is_ok());
    /// # drop(stream);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for `connect`; `InvalidInput` for an address without a name.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::connect_raw(&RawAddr::of_unix(address)?)
    }

    fn connect_raw(address: &RawAddr) -> io::Result<Self> {
        let socket = socket::stream(address)?;
        let mut pause = Duration::from_micros(100);
        loop {
            match socket::connect(socket.as_fd(), address) {
                Ok(()) => return Self::wrap(net::UnixStream::from(socket)),
                // The kernel tells nobody when the queue has room again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    runtime::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes two that are connected with each other.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::UnixStream;
    /// use std::io::{Read, Write};
    ///
    /// let (mut a, mut b) = UnixStream::pair()?;
    /// a.write_all(b"hi")?;
    /// drop(a);
    /// let mut text = String::new();
    /// b.read_to_string(&mut text)?;
    /// assert_eq!(text, "hi");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = net::UnixStream::pair()?;
        Ok((Self::from_std(a)?, Self::from_std(b)?))
    }
}

/// Waits for connections through a Unix socket.
///
/// # Examples
/// ```
/// use ropewalk::net::{UnixListener, UnixStream};
/// use std::io::{Read, Write};
///
/// let path = std::env::temp_dir().join(format!("ropewalk-doc-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
/// let server = ropewalk::spawn(move || listener.accept()?.0.write_all(b"hello"));
/// let mut text = String::new();
/// UnixStream::connect(&path)?.read_to_string(&mut text)?;
/// std::fs::remove_file(&path)?;
/// assert_eq!((text.as_str(), server.join().unwrap().is_ok()), ("hello", true));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixListener {
    io: Evented<net::UnixListener>,
}

common!(UnixListener, net::UnixListener);
pass_on! { UnixListener:
    local_addr() -> SocketAddr, "The address it listens at.";
}

impl UnixListener {
    /// Listens at `path`, which must not exist.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for a path that is too long.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        socket::check_unix_path(path.as_ref())?;
        Self::listen(net::UnixListener::bind(path)?)
    }

    /// As [`bind`](Self::bind), at an address: a path, or a name in Linux's abstract space.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::listen(net::UnixListener::bind_addr(address)?)
    }

    fn listen(listener: net::UnixListener) -> io::Result<Self> {
        socket::lengthen_backlog(listener.as_fd())?;
        Self::from_std(listener)
    }

    /// Waits for a connection and takes it. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `NotConnected` after [`close`](Self::close).
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (socket, _) = accept::accept(&self.io)?;
        let stream = UnixStream::wrap(net::UnixStream::from(socket))?;
        stream.peer_addr().map(|address| (stream, address))
    }

    /// Takes connections for ever.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<UnixStream>> {
        core::iter::repeat_with(|| self.accept().map(|(stream, _)| stream))
    }

    /// Ends `accept` of this handle: whoever waits in it, now or later, gets an error. The kernel goes on
    /// taking connections, for nobody, until the last handle to the socket is dropped.
    pub fn close(&self) {
        self.io.close();
    }
}

/// A Unix socket for datagrams. Two coroutines can send and receive at once.
///
/// # Examples
/// ```
/// use ropewalk::net::UnixDatagram;
///
/// let (a, b) = UnixDatagram::pair()?;
/// a.send(b"one")?;
/// a.send(b"three")?;
/// let mut buffer = [0; 16];
/// assert_eq!((b.recv(&mut buffer)?, b.recv(&mut buffer)?), (3, 5));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixDatagram {
    io: Evented<net::UnixDatagram>,
}

common!(UnixDatagram, net::UnixDatagram);
timeouts!(UnixDatagram);
pass_on! { UnixDatagram:
    peer_addr() -> SocketAddr, "The address it is connected to.";
    local_addr() -> SocketAddr, "The address of this side.";
    shutdown(how: std::net::Shutdown) -> (), "Shuts down one or both directions.";
}

impl UnixDatagram {
    /// Binds to `path`, which must not exist.
    ///
    /// # Errors
    /// What the kernel says; `InvalidInput` for a path that is too long.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        socket::check_unix_path(path.as_ref())?;
        Self::from_std(net::UnixDatagram::bind(path)?)
    }

    /// As [`bind`](Self::bind), to an address: a path, or a name in Linux's abstract space.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::bind_addr(address)?)
    }

    /// Makes one without a path.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::UnixDatagram;
    /// use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    ///
    /// let name = format!("ropewalk-example-{}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let receiver = UnixDatagram::bind_addr(&address)?;
    /// UnixDatagram::unbound()?.send_to_addr(b"word", &address)?;
    /// let mut bytes = [0; 8];
    /// assert_eq!((receiver.recv(&mut bytes)?, &bytes[..4]), (4, &b"word"[..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says.
    pub fn unbound() -> io::Result<Self> {
        Self::from_std(net::UnixDatagram::unbound()?)
    }

    /// Makes two that are connected with each other.
    ///
    /// # Examples
    /// ```
    /// let (a, b) = ropewalk::net::UnixDatagram::pair()?;
    /// a.send(b"one")?;
    /// let mut buffer = [0; 8];
    /// assert_eq!(b.recv(&mut buffer)?, 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = net::UnixDatagram::pair()?;
        Ok((Self::from_std(a)?, Self::from_std(b)?))
    }

    /// Sets the address for [`send`](Self::send).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        socket::check_unix_path(path.as_ref())?;
        self.io.inner.connect(path)
    }

    /// As [`connect`](Self::connect), to an address: a path, or a name in Linux's abstract space.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.io.inner.connect_addr(address)
    }

    /// Sends a datagram to the socket at `path`. A cancellation point if it has to wait.
    ///
    /// While the receiver has as much as it may, this looks again every few milliseconds: the kernel tells
    /// only a sender that is connected.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn send_to(&self, datagram: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        socket::check_unix_path(path.as_ref())?;
        self.io.run_paced(Direction::Write, |inner| inner.send_to(datagram, path.as_ref()))
    }

    /// As [`send_to`](Self::send_to), to an address: a path, or a name in Linux's abstract space.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn send_to_addr(&self, datagram: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.io.run_paced(Direction::Write, |inner| inner.send_to_addr(datagram, address))
    }

    /// Receives a datagram, and tells who sent it. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, None, |inner| inner.recv_from(buffer))
    }

    /// Sends a datagram to the connected address. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.io.run(Direction::Write, None, |inner| inner.send(datagram))
    }

    /// Receives a datagram. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, None, |inner| inner.recv(buffer))
    }

    /// Ends all waits on it with an error, now and from now on.
    pub fn close(&self) {
        self.io.close();
    }
}
