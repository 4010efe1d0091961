//! Whole messages with descriptors, through a pair of connected sockets.

use core::mem;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A size or a count of a message, which C libraries declare in types of their own.
pub(crate) fn size(of: impl TryInto<usize>) -> usize {
    of.try_into().unwrap_or(usize::MAX)
}

/// The most descriptors that the kernel takes with one message.
pub(crate) const MOST_FDS: usize = 253;

const CONTROL: usize = 64 + MOST_FDS * mem::size_of::<RawFd>();

/// Room for what comes or goes beside the bytes, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Makes two sockets that are connected with each other and keep messages apart.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two numbers.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made them for this caller.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).into())
}

fn control_len(fds: usize) -> usize {
    let bytes = u32::try_from(fds * mem::size_of::<RawFd>()).unwrap_or(u32::MAX);
    // SAFETY: computes.
    unsafe { libc::CMSG_SPACE(bytes) as usize }
}

/// Sends one message, whole or not at all; `WouldBlock` if there is no room for it.
///
/// # Panics
/// For more than [`MOST_FDS`] descriptors.
pub(crate) fn send(socket: BorrowedFd<'_>, parts: [&[u8]; 2], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    assert!(fds.len() <= MOST_FDS, "{} descriptors do not go with one message", fds.len());
    let mut pieces =
        parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() });
    let mut control = Control([0; CONTROL]);
    // SAFETY: all zeros is a header without anything.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len() as _;
    if !fds.is_empty() {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = control_len(fds.len()) as _;
        // SAFETY: the header has room for one.
        let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
        let bytes = mem::size_of_val(fds) as u32;
        // SAFETY: computes.
        let len = unsafe { libc::CMSG_LEN(bytes) };
        // SAFETY: all zeros is one.
        let mut description: libc::cmsghdr = unsafe { mem::zeroed() };
        (description.cmsg_level, description.cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        description.cmsg_len = len as _;
        // SAFETY: it is in `control`, which is aligned for it.
        unsafe { first.write(description) };
        // SAFETY: computes.
        let data = unsafe { libc::CMSG_DATA(first) };
        // SAFETY: `control` has room for all; a borrowed descriptor is laid out as its number.
        unsafe { core::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), data, bytes as usize) };
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: everything the header points to lives through the call.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A message that has come.
#[derive(Debug)]
pub(crate) struct Received {
    /// Bytes; zero says that the other side is closed.
    pub(crate) len: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// The buffer was too small, and the rest is gone.
    pub(crate) cut: bool,
    /// Some descriptors are missing: this process may not have as many.
    pub(crate) fds_missing: bool,
}

/// Receives one message; `WouldBlock` if there is none.
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, 0)
}

/// As [`receive`], but the message stays: its descriptors are duplicates.
pub(crate) fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_PEEK)
}

/// Takes the next message away, with its descriptors; true if there was one.
pub(crate) fn discard(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: no bytes are asked for, and none are written; descriptors are closed where none are asked for.
    unsafe { libc::recv(socket.as_raw_fd(), core::ptr::null_mut(), 0, libc::MSG_DONTWAIT) >= 0 }
}

fn receive_with(socket: BorrowedFd<'_>, buffer: &mut [u8], how: libc::c_int) -> io::Result<Received> {
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = Control([0; CONTROL]);
    // SAFETY: all zeros is a header without anything.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = (&raw mut control).cast();
    header.msg_controllen = CONTROL as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | how;
    // SAFETY: everything the header points to lives through the call.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) };
    let Ok(len) = usize::try_from(len) else { return Err(io::Error::last_os_error()) };
    let mut fds = Vec::new();
    // SAFETY: the kernel has filled the header in.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: null, or a description in `control`.
    while let Some(description) = unsafe { at.as_ref() } {
        if (description.cmsg_level, description.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes.
            let data = unsafe { libc::CMSG_DATA(at) }.cast::<RawFd>();
            // SAFETY: computes.
            let before = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (size(description.cmsg_len) - before) / mem::size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the description has that many.
                let place = unsafe { data.add(index) };
                // SAFETY: the kernel has written a number there.
                let fd = unsafe { place.read_unaligned() };
                // SAFETY: the kernel has just made it for this caller.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
        // SAFETY: the header and the description are those the kernel has filled in.
        at = unsafe { libc::CMSG_NXTHDR(&raw const header, at) };
    }
    let (cut, fds_missing) =
        (header.msg_flags & libc::MSG_TRUNC != 0, header.msg_flags & libc::MSG_CTRUNC != 0);
    Ok(Received { len, fds, cut, fds_missing })
}
