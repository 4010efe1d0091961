//! Sockets that are non-blocking and close-on-exec from the first moment.

use core::mem;
use core::ptr;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::raw::{self, words};

const FLAGS: libc::c_int = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;

/// An address in the kernel's form.
pub(crate) struct RawAddr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

/// The bytes that the path of a Unix socket has at most: a zero follows it.
const LONGEST_PATH: usize =
    mem::size_of::<libc::sockaddr_un>() - mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// Refuses a path that no Unix socket can have, and says why: std and the kernel name neither path nor limit.
pub(crate) fn check_unix_path(path: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    let text = if bytes.len() > LONGEST_PATH {
        format!(
            "the path {path:?} has {} bytes; that of a Unix socket has {LONGEST_PATH} at most",
            bytes.len()
        )
    } else if bytes.contains(&0) {
        format!("the path {path:?} holds a zero byte, where that of a Unix socket would end")
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

impl RawAddr {
    fn empty() -> Self {
        // SAFETY: all zeros is an address of no family.
        let storage = unsafe { mem::zeroed() };
        Self { storage, len: mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t }
    }

    /// Writes a family's own form over the storage.
    fn with<A>(address: A, len: usize) -> Self {
        const { assert!(mem::size_of::<A>() <= mem::size_of::<libc::sockaddr_storage>()) };
        let mut raw = Self::empty();
        // SAFETY: the storage is larger than the family's form, and aligned for all of them.
        unsafe { (&raw mut raw.storage).cast::<A>().write(address) };
        raw.len = len as libc::socklen_t;
        raw
    }

    /// From an internet address.
    pub(crate) fn inet(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                Self::with(raw, mem::size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                Self::with(raw, mem::size_of::<libc::sockaddr_in6>())
            }
        }
    }

    /// From the path of a Unix socket.
    pub(crate) fn unix(path: &Path) -> io::Result<Self> {
        // SAFETY: all zeros is an address of no family.
        let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        check_unix_path(path)?;
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() {
            let text = "an empty path leads to no Unix socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
            *place = libc::c_char::from_ne_bytes([*byte]);
        }
        let len = mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + 1;
        Ok(Self::with(raw, len))
    }

    /// From the address of a Unix socket: a path, or a name in the abstract space.
    pub(crate) fn of_unix(address: &std::os::unix::net::SocketAddr) -> io::Result<Self> {
        if let Some(path) = address.as_pathname() {
            return Self::unix(path);
        }
        // SAFETY: all zeros is an address of no family.
        let mut raw: libc::sockaddr_un = unsafe { mem::zeroed() };
        raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
        let name = address.as_abstract_name().filter(|name| name.len() < raw.sun_path.len());
        let Some(name) = name else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a Unix address without a name leads nowhere",
            ));
        };
        // The name follows a zero.
        for (place, byte) in raw.sun_path[1..].iter_mut().zip(name) {
            *place = libc::c_char::from_ne_bytes([*byte]);
        }
        Ok(Self::with(raw, mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len()))
    }

    /// The internet address, if it is one.
    pub(crate) fn to_inet(&self) -> Option<SocketAddr> {
        match libc::c_int::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says that it is this form.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let port = u16::from_be(raw.sin6_port);
                Some(SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)))
            }
            _ => None,
        }
    }

    fn family(&self) -> libc::c_int {
        libc::c_int::from(self.storage.ss_family)
    }
}

fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes a stream socket of the address's family.
pub(crate) fn stream(address: &RawAddr) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    owned(unsafe { libc::socket(address.family(), libc::SOCK_STREAM | FLAGS, 0) })
}

/// Begins to connect; `WouldBlock` or `EINPROGRESS` if that takes time.
pub(crate) fn connect(socket: BorrowedFd<'_>, address: &RawAddr) -> io::Result<()> {
    let place = &raw const address.storage;
    // SAFETY: the address lives through the call, and has that length.
    raw::result(unsafe { raw::call(libc::SYS_connect, words![socket.as_raw_fd(), place, address.len]) })
        .map(drop)
}

/// Takes a connection.
pub(crate) fn accept(socket: BorrowedFd<'_>) -> io::Result<(OwnedFd, RawAddr)> {
    let mut address = RawAddr::empty();
    let (place, len) = (&raw mut address.storage, &raw mut address.len);
    // SAFETY: the storage has room for every family, and both live through the call.
    let answer = unsafe { raw::call(libc::SYS_accept4, words![socket.as_raw_fd(), place, len, FLAGS]) };
    let fd = raw::result(answer)? as libc::c_int;
    // SAFETY: the kernel has just made it for this caller.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, address))
}

/// Lets as many connections wait to be accepted as the system allows. std asks for 128, which a burst of
/// coroutines overruns: then the kernel resets connections.
pub(crate) fn lengthen_backlog(socket: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes numbers only; on a socket that listens already it changes the length alone.
    let result = unsafe { libc::listen(socket.as_raw_fd(), libc::c_int::MAX) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Receives what there is, up to the buffer's length; never waits, whatever the socket's mode.
///
/// By the system call itself: libc's `recv` prepares each time for the cancellation of the thread, which
/// Rust code must not be subjected to anyway.
#[inline]
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (fd, place, none) = (socket.as_raw_fd(), buffer.as_mut_ptr(), ptr::null_mut::<libc::c_void>());
    // SAFETY: the buffer lives through the call, and has that length; no address is asked for.
    let count =
        unsafe { libc::syscall(libc::SYS_recvfrom, fd, place, buffer.len(), libc::MSG_DONTWAIT, none, none) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Sends as much as there is room for; never waits, whatever the socket's mode. A peer that is gone is an error, not a signal.
#[inline]
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let (fd, place, none) = (socket.as_raw_fd(), bytes.as_ptr(), ptr::null::<libc::c_void>());
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the bytes live through the call; no address is given.
    let count = unsafe { libc::syscall(libc::SYS_sendto, fd, place, bytes.len(), flags, none, 0) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}
