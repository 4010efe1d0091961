//! Memory shared by descriptor: memfd, seals, shared mappings.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn offset(bytes: usize) -> io::Result<libc::off_t> {
    libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

/// Makes a file without a name, in memory, that can be sealed. The name shows in `/proc/PID/fd` only.
pub(crate) fn memfd(name: &CStr) -> io::Result<OwnedFd> {
    // SAFETY: the name is a C string that lives through the call.
    let fd =
        check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: the kernel has just made it for this caller.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets the length of a file.
pub(crate) fn set_len(file: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::ftruncate(file.as_raw_fd(), offset(len)?) }).map(drop)
}

/// Gives all of a file its memory now, so that no later access can fail for want of it.
pub(crate) fn allocate(file: BorrowedFd<'_>, len: usize) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, offset(len)?) }).map(drop)
}

/// Bytes of memory and swap that can be had now, as far as the kernel knows.
pub(crate) fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((kibibytes("MemAvailable:")? + kibibytes("SwapFree:").unwrap_or(0)) * 1024)
}

/// Forbids, for everybody and for ever, to change the length or the seals.
pub(crate) fn seal_len(file: BorrowedFd<'_>) -> io::Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: takes numbers only.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }).map(drop)
}

/// Tells whether a file is sealed against shrinking.
pub(crate) fn is_sealed(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: takes numbers only.
    let seals = check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) })?;
    Ok(seals & libc::F_SEAL_SHRINK != 0)
}

/// What a descriptor refers to: device, inode, length.
pub(crate) fn file_key(file: BorrowedFd<'_>) -> io::Result<(u64, u64, usize)> {
    // SAFETY: all zeros is a stat.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    // SAFETY: the stat lives through the call.
    check(unsafe { libc::fstat(file.as_raw_fd(), &raw mut stat) })?;
    let len = usize::try_from(stat.st_size).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    Ok((stat.st_dev, stat.st_ino, len))
}

/// Reserves `len` bytes of addresses that cannot be accessed.
pub(crate) fn reserve(len: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
    let place = unsafe { libc::mmap(core::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
    if place == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(place.cast()) }
}

/// Maps `len` bytes of a file from `from` over the addresses at `place`, shared, readable and writable.
///
/// # Safety
/// * The addresses belong to a reservation of the caller, who has nothing there.
pub(crate) unsafe fn map_over(
    place: *mut u8,
    file: BorrowedFd<'_>,
    from: usize,
    len: usize,
) -> io::Result<()> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    let from = offset(from)?;
    // SAFETY: the caller's duty.
    let mapped = unsafe { libc::mmap(place.cast(), len, protection, flags, file.as_raw_fd(), from) };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The length of a page.
pub(crate) fn page_len() -> usize {
    // SAFETY: asks only.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// A descriptor for a process; readable once all its threads have ended.
pub(crate) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match libc::c_int::try_from(fd) {
        // SAFETY: the kernel has just made it for this caller.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
