//! Addresses, and names that become addresses, looked up off the worker.
#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::runtime;
use crate::thread::spawn_blocking;

/// What a socket can be bound or connected to: as `std::net::ToSocketAddrs`, but a look-up of a name on a
/// coroutine runs on the pool for blocking calls, so that the worker is free meanwhile.
///
/// # Examples
/// ```
/// use ropewalk::net::ToSocketAddrs;
///
/// assert_eq!("127.0.0.1:80".to_addrs()?, [([127, 0, 0, 1], 80).into()]);
/// assert!(ropewalk::spawn(|| ("localhost", 80).to_addrs()).join().unwrap()?.iter().all(|at| at.port() == 80));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ToSocketAddrs {
    /// The addresses.
    ///
    /// # Errors
    /// What the look-up says.
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>>;
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl ToSocketAddrs for $type {
            fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
                std::net::ToSocketAddrs::to_socket_addrs(self).map(Iterator::collect)
            }
        })*
    };
}

plain!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    &[SocketAddr]
);

impl ToSocketAddrs for str {
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        match self.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => look_up(self.to_owned()),
        }
    }
}

impl ToSocketAddrs for String {
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        self.as_str().to_addrs()
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        match self.0.parse::<IpAddr>() {
            Ok(ip) => Ok(vec![SocketAddr::new(ip, self.1)]),
            Err(_) => look_up((self.0.to_owned(), self.1)),
        }
    }
}

impl ToSocketAddrs for (String, u16) {
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        (self.0.as_str(), self.1).to_addrs()
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn to_addrs(&self) -> io::Result<Vec<SocketAddr>> {
        (**self).to_addrs()
    }
}

fn look_up<N>(name: N) -> io::Result<Vec<SocketAddr>>
where
    N: std::net::ToSocketAddrs + Send + 'static,
{
    let ask = move || name.to_socket_addrs().map(Iterator::collect);
    if runtime::is_coroutine() {
        spawn_blocking(ask).get().unwrap_or_else(|error| Err(io::Error::other(error.to_string())))
    } else {
        ask()
    }
}

/// Tries `f` with each address until one succeeds.
pub(super) fn each<R>(
    addresses: impl ToSocketAddrs,
    mut f: impl FnMut(SocketAddr) -> io::Result<R>,
) -> io::Result<R> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "there is no address to use");
    for address in addresses.to_addrs()? {
        match f(address) {
            Ok(result) => return Ok(result),
            Err(error) => last = error,
        }
    }
    Err(last)
}
