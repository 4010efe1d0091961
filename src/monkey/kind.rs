//! Finding out what a descriptor is.

use core::mem::{self, MaybeUninit};

use libc::c_int;

use super::hook::pass;
use super::slot::{Kind, Known};

/// File systems that live in memory: what reads them never waits for a disk.
const IN_MEMORY: [u64; 8] = [
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x1cd1,      // devpts
];

/// Looks at the descriptor and remembers what it is. [`Kind::Instant`] if it is not open: the call itself says so.
#[cold]
pub(super) fn find_out(known: Known) -> Kind {
    let Some(kind) = look(known.fd()) else { return Kind::Instant };
    known.set_kind(kind);
    kind
}

fn look(fd: c_int) -> Option<Kind> {
    let mode = status(fd)?.st_mode & libc::S_IFMT;
    Some(match mode {
        libc::S_IFSOCK => {
            let kind = option(fd, libc::SO_TYPE, 0)?;
            of_socket(option(fd, libc::SO_DOMAIN, 0)?, kind)
        }
        // eventfd and its kin have no type at all.
        libc::S_IFIFO | 0 | libc::S_IFCHR => Kind::Pipe,
        libc::S_IFREG if is_in_memory(fd) => Kind::Instant,
        libc::S_IFREG | libc::S_IFBLK => Kind::File,
        _ => Kind::Instant,
    })
}

/// What a socket of a domain and type is, which never changes.
pub(super) fn of_socket(domain: c_int, kind: c_int) -> Kind {
    match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), domain) {
        (libc::SOCK_STREAM, libc::AF_INET | libc::AF_INET6) => Kind::Tcp,
        (libc::SOCK_STREAM, _) => Kind::Stream,
        _ => Kind::Messages,
    }
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

/// Tells whether closing the socket waits until everything has gone out, if nothing else stands for it.
pub(super) fn lingers(fd: c_int) -> bool {
    let unset = libc::linger { l_onoff: 0, l_linger: 0 };
    option(fd, libc::SO_LINGER, unset).is_some_and(|linger| linger.l_onoff != 0 && linger.l_linger != 0)
}

fn is_in_memory(fd: c_int) -> bool {
    let mut place = MaybeUninit::<libc::statfs>::uninit();
    if pass!(SYS_fstatfs, fd, place.as_mut_ptr()) < 0 {
        return false;
    }
    // SAFETY: the kernel has filled it.
    let kind = unsafe { place.assume_init() }.f_type as u64;
    IN_MEMORY.contains(&kind)
}
