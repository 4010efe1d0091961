//! UDP, as `std::net` has it.
#![forbid(unsafe_code)]

use std::io;
use std::net::{self, SocketAddr};

use super::addr::{self, ToSocketAddrs};
use super::macros::{common, pass_on, timeouts};
use crate::io::evented::{Direction, Evented};

/// A UDP socket. Two coroutines can send and receive at once.
///
/// # Examples
/// ```
/// use ropewalk::net::UdpSocket;
///
/// let (a, b) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
/// a.send_to(b"ping", b.local_addr()?)?;
/// let mut buffer = [0; 16];
/// let (length, from) = b.recv_from(&mut buffer)?;
/// assert_eq!((&buffer[..length], from), (&b"ping"[..], a.local_addr()?));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket {
    io: Evented<net::UdpSocket>,
}

common!(UdpSocket, net::UdpSocket);
timeouts!(UdpSocket);
pass_on! { UdpSocket:
    peer_addr() -> SocketAddr, "The address it is connected to.";
    local_addr() -> SocketAddr, "The address of this side.";
    set_broadcast(broadcast: bool) -> (), "Lets it send to broadcast addresses.";
    broadcast() -> bool, "Tells whether it may send to broadcast addresses.";
    set_ttl(ttl: u32) -> (), "Sets the time to live of packets.";
    ttl() -> u32, "The time to live of packets.";
    set_multicast_loop_v4(own: bool) -> (), "Lets it receive its own multicasts (IPv4).";
    multicast_loop_v4() -> bool, "Tells whether it receives its own multicasts (IPv4).";
    set_multicast_loop_v6(own: bool) -> (), "Lets it receive its own multicasts (IPv6).";
    multicast_loop_v6() -> bool, "Tells whether it receives its own multicasts (IPv6).";
    set_multicast_ttl_v4(ttl: u32) -> (), "Sets the time to live of multicasts (IPv4).";
    multicast_ttl_v4() -> u32, "The time to live of multicasts (IPv4).";
    join_multicast_v4(group: &net::Ipv4Addr, interface: &net::Ipv4Addr) -> (), "Joins a multicast group.";
    leave_multicast_v4(group: &net::Ipv4Addr, interface: &net::Ipv4Addr) -> (), "Leaves a multicast group.";
    join_multicast_v6(group: &net::Ipv6Addr, interface: u32) -> (), "Joins a multicast group.";
    leave_multicast_v6(group: &net::Ipv6Addr, interface: u32) -> (), "Leaves a multicast group.";
}

impl UdpSocket {
    /// Binds to the first of the addresses that is free.
    ///
    /// # Errors
    /// What the last of them says, or the look-up of a name.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        Self::from_std(addr::each(addresses, net::UdpSocket::bind)?)
    }

    /// Sets the address for [`send`](Self::send) and [`recv`](Self::recv).
    ///
    /// # Examples
    /// ```
    /// let (a, b) = (ropewalk::net::UdpSocket::bind("127.0.0.1:0")?, ropewalk::net::UdpSocket::bind("127.0.0.1:0")?);
    /// a.connect(b.local_addr()?)?;
    /// a.send(b"hi")?;
    /// let mut buffer = [0; 8];
    /// assert_eq!(b.recv_from(&mut buffer)?, (2, a.local_addr()?));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says, or the look-up of a name.
    pub fn connect(&self, addresses: impl ToSocketAddrs) -> io::Result<()> {
        addr::each(addresses, |address| self.io.inner.connect(address))
    }

    /// Sends a datagram to an address. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn send_to(&self, datagram: &[u8], addresses: impl ToSocketAddrs) -> io::Result<usize> {
        let first = addresses.to_addrs()?.into_iter().next();
        let address = first
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "there is no address to send to"))?;
        self.io.run(Direction::Write, None, |inner| inner.send_to(datagram, address))
    }

    /// Receives a datagram, and tells who sent it. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, None, |inner| inner.recv_from(buffer))
    }

    /// As [`recv_from`](Self::recv_from), without taking it.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::net::UdpSocket;
    ///
    /// let (here, there) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    /// here.send_to(b"word", there.local_addr()?)?;
    /// let mut bytes = [0; 8];
    /// let (len, sender) = there.peek_from(&mut bytes)?;
    /// assert_eq!((len, sender), (4, here.local_addr()?));
    /// assert_eq!(there.recv_from(&mut bytes)?.0, 4); // the peek has taken nothing
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.io.run(Direction::Read, None, |inner| inner.peek_from(buffer))
    }

    /// Sends a datagram to the connected address. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.io.run(Direction::Write, None, |inner| inner.send(datagram))
    }

    /// Receives a datagram from the connected address. A cancellation point if it has to wait.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, None, |inner| inner.recv(buffer))
    }

    /// As [`recv`](Self::recv), without taking it.
    ///
    /// # Errors
    /// What the kernel says, and `TimedOut`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.run(Direction::Read, None, |inner| inner.peek(buffer))
    }

    /// Ends all waits on it with an error, now and from now on.
    pub fn close(&self) {
        self.io.close();
    }
}
