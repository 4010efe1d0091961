//! Finding out what a descriptor is.

use core::mem::{self, MaybeUninit};

use libc::c_int;

use super::file_system::{self, Speed};
use super::hook::pass;
use super::slot::{Kind, Known, LOW_WATER};

/// Looks at the descriptor and remembers what it is. [`Kind::Instant`] if it is not open: the call itself says so.
#[cold]
pub(super) fn find_out(known: Known) -> Kind {
    let Some(kind) = look(known.fd()) else { return Kind::Instant };
    known.set_kind(kind);
    if kind.is_stream_socket() && low_water(known.fd()) > 1 {
        known.update(0, LOW_WATER);
    }
    kind
}

fn look(fd: c_int) -> Option<Kind> {
    let mode = status(fd)?.st_mode & libc::S_IFMT;
    Some(match mode {
        libc::S_IFSOCK => {
            let kind = option(fd, libc::SO_TYPE, 0)?;
            let protocol = option(fd, libc::SO_PROTOCOL, 0).unwrap_or(-1);
            match of_socket(option(fd, libc::SO_DOMAIN, 0)?, kind, protocol) {
                Kind::Tcp if is_layered(fd) => Kind::InetStream,
                kind => kind,
            }
        }
        // eventfd and its kin have no type at all.
        libc::S_IFIFO | 0 | libc::S_IFCHR => Kind::Pipe,
        libc::S_IFREG if file_system::speed(fd) == Some(Speed::Memory) => Kind::Instant,
        libc::S_IFREG | libc::S_IFBLK => Kind::File,
        _ => Kind::Instant,
    })
}

/// What a socket of a domain, type and protocol is, which never changes but by a layer.
pub(super) fn of_socket(domain: c_int, kind: c_int, protocol: c_int) -> Kind {
    match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), domain) {
        (libc::SOCK_STREAM, libc::AF_INET | libc::AF_INET6) => match protocol {
            0 | libc::IPPROTO_TCP => Kind::Tcp,
            _ => Kind::InetStream,
        },
        (libc::SOCK_STREAM, _) => Kind::Stream,
        _ => Kind::Messages,
    }
}

/// Tells whether a TCP socket has a layer on it, such as TLS in the kernel.
fn is_layered(fd: c_int) -> bool {
    let mut name = [0u8; 16];
    let mut len = name.len() as libc::socklen_t;
    let answer = pass!(SYS_getsockopt, fd, libc::IPPROTO_TCP, libc::TCP_ULP, name.as_mut_ptr(), &raw mut len);
    answer == 0 && len > 0 && name[0] != 0
}

fn status(fd: c_int) -> Option<libc::stat> {
    let mut place = MaybeUninit::<libc::stat>::uninit();
    if pass!(SYS_fstat, fd, place.as_mut_ptr()) < 0 {
        return None;
    }
    // SAFETY: the kernel has filled it.
    Some(unsafe { place.assume_init() })
}

/// A number that two descriptors share only if they are the same thing.
pub(super) fn identity(fd: c_int) -> u64 {
    status(fd).map_or(0, |status| status.st_ino ^ status.st_dev.rotate_left(40))
}

/// An option of a socket.
fn option<T>(fd: c_int, name: c_int, mut value: T) -> Option<T> {
    let mut len = mem::size_of::<T>() as libc::socklen_t;
    let answer = pass!(SYS_getsockopt, fd, libc::SOL_SOCKET, name, &raw mut value, &raw mut len);
    (answer == 0).then_some(value)
}

/// The size of a socket's buffer for what is sent.
pub(super) fn send_buffer(fd: c_int) -> usize {
    option(fd, libc::SO_SNDBUF, 0).and_then(|size: c_int| usize::try_from(size).ok()).unwrap_or(0)
}

/// Tells whether a socket takes connections.
pub(super) fn is_listener(fd: c_int) -> bool {
    option(fd, libc::SO_ACCEPTCONN, 0).is_some_and(|listens: c_int| listens != 0)
}

/// How many bytes a read of a socket waits for (`SO_RCVLOWAT`).
pub(super) fn low_water(fd: c_int) -> usize {
    option(fd, libc::SO_RCVLOWAT, 1).and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
}

/// Tells whether closing the socket waits until everything has gone out, if nothing else stands for it.
pub(super) fn lingers(fd: c_int) -> bool {
    let unset = libc::linger { l_onoff: 0, l_linger: 0 };
    option(fd, libc::SO_LINGER, unset).is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}
