//! Names in file systems: made, moved, removed, looked at; and what changes or forces out more than a buffer's worth.
//!
//! A link is read from the kernel's caches if they have it. Each other call may have to read a directory from the disk,
//! or wait for a journal, and no call only tries that, so another thread makes it. What an open file alone answers (`fstat`, `fchmod`, `lseek`) is in memory, and is left to libc.

use core::ffi::{c_char, c_uint, c_void};

use libc::{c_int, gid_t, mode_t, off_t, size_t, ssize_t, timespec, uid_t};

use super::cached_name::{self, At};
use super::hook::{hook, pass};
use super::lent::Lent;
use super::offload::offload;
use super::symbols::Symbol;

macro_rules! away {
    ($($symbol:ident: fn $name:ident($($arg:ident: $type:ty),*) -> $result:ty = $kernel:expr;)*) => {
        $(hook! {
            $symbol: fn $name($($arg: $type),*) -> $result;
            kernel $kernel;
            parking {
                let lent = Lent(($($arg,)*));
                offload(Symbol::$symbol, || {
                    let ($($arg,)*) = lent.get();
                    $kernel
                })
            }
        })*
    };
}

/// Reads a link: at once if the caches have it.
fn read_link(symbol: Symbol, at: At, buffer: *mut c_char, size: size_t) -> isize {
    let lent = Lent((at, buffer));
    let found = |fd: c_int, kind| match kind {
        libc::S_IFLNK => Some(pass!(SYS_readlinkat, fd, c"".as_ptr(), buffer, size)),
        _ => None,
    };
    let call = || {
        let (at, buffer) = lent.get();
        pass!(SYS_readlinkat, at.directory, at.name, buffer, size)
    };
    cached_name::look_up(symbol, at, libc::O_NOFOLLOW, found, call)
}

hook! {
    Readlink: fn readlink(name: Name, buffer: *mut c_char, size: size_t) -> ssize_t;
    kernel pass!(SYS_readlinkat, HERE, name, buffer, size);
    parking read_link(Symbol::Readlink, At { directory: HERE, name }, buffer, size)
}

hook! {
    Readlinkat: fn readlinkat(at: c_int, name: Name, buffer: *mut c_char, size: size_t) -> ssize_t;
    kernel pass!(SYS_readlinkat, at, name, buffer, size);
    parking read_link(Symbol::Readlinkat, At { directory: at, name }, buffer, size)
}

type Name = *const c_char;
const HERE: c_int = libc::AT_FDCWD;

away! {
    Mkdir: fn mkdir(name: Name, mode: mode_t) -> c_int = pass!(SYS_mkdirat, HERE, name, mode);
    Mkdirat: fn mkdirat(at: c_int, name: Name, mode: mode_t) -> c_int = pass!(SYS_mkdirat, at, name, mode);
    Rmdir: fn rmdir(name: Name) -> c_int = pass!(SYS_unlinkat, HERE, name, libc::AT_REMOVEDIR);
    Unlink: fn unlink(name: Name) -> c_int = pass!(SYS_unlinkat, HERE, name, 0);
    Unlinkat: fn unlinkat(at: c_int, name: Name, flags: c_int) -> c_int = pass!(SYS_unlinkat, at, name, flags);
    Rename: fn rename(from: Name, to: Name) -> c_int = pass!(SYS_renameat2, HERE, from, HERE, to, 0);
    Renameat: fn renameat(at: c_int, from: Name, other: c_int, to: Name) -> c_int =
        pass!(SYS_renameat2, at, from, other, to, 0);
    Renameat2: fn renameat2(at: c_int, from: Name, other: c_int, to: Name, flags: c_uint) -> c_int =
        pass!(SYS_renameat2, at, from, other, to, flags);
    Link: fn link(from: Name, to: Name) -> c_int = pass!(SYS_linkat, HERE, from, HERE, to, 0);
    Linkat: fn linkat(at: c_int, from: Name, other: c_int, to: Name, flags: c_int) -> c_int =
        pass!(SYS_linkat, at, from, other, to, flags);
    Symlink: fn symlink(text: Name, name: Name) -> c_int = pass!(SYS_symlinkat, text, HERE, name);
    Symlinkat: fn symlinkat(text: Name, at: c_int, name: Name) -> c_int = pass!(SYS_symlinkat, text, at, name);
    Access: fn access(name: Name, mode: c_int) -> c_int = pass!(SYS_faccessat, HERE, name, mode);
    Chmod: fn chmod(name: Name, mode: mode_t) -> c_int = pass!(SYS_fchmodat, HERE, name, mode);
    Chown: fn chown(name: Name, owner: uid_t, group: gid_t) -> c_int =
        pass!(SYS_fchownat, HERE, name, owner, group, 0);
    Lchown: fn lchown(name: Name, owner: uid_t, group: gid_t) -> c_int =
        pass!(SYS_fchownat, HERE, name, owner, group, libc::AT_SYMLINK_NOFOLLOW);
    Fchownat: fn fchownat(at: c_int, name: Name, owner: uid_t, group: gid_t, flags: c_int) -> c_int =
        pass!(SYS_fchownat, at, name, owner, group, flags);
    Utimensat: fn utimensat(at: c_int, name: Name, times: *const timespec, flags: c_int) -> c_int =
        // Without a name the kernel takes the descriptor itself; libc does not.
        if name.is_null() { super::errno::raw(libc::EINVAL) } else { pass!(SYS_utimensat, at, name, times, flags) };
    Statfs: fn statfs(name: Name, place: *mut libc::statfs) -> c_int = pass!(SYS_statfs, name, place);
    Statfs64: fn statfs64(name: Name, place: *mut libc::statfs) -> c_int = pass!(SYS_statfs, name, place);
    Getdents64: fn getdents64(fd: c_int, buffer: *mut c_void, room: size_t) -> ssize_t =
        // The kernel counts in an int.
        pass!(SYS_getdents64, fd, buffer, room.min(c_int::MAX as size_t));
    Truncate: fn truncate(name: Name, len: off_t) -> c_int = pass!(SYS_truncate, name, len);
    Truncate64: fn truncate64(name: Name, len: off_t) -> c_int = pass!(SYS_truncate, name, len);
    Ftruncate: fn ftruncate(fd: c_int, len: off_t) -> c_int = pass!(SYS_ftruncate, fd, len);
    Ftruncate64: fn ftruncate64(fd: c_int, len: off_t) -> c_int = pass!(SYS_ftruncate, fd, len);
    Fallocate: fn fallocate(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int =
        pass!(SYS_fallocate, fd, mode, offset, len);
    Fallocate64: fn fallocate64(fd: c_int, mode: c_int, offset: off_t, len: off_t) -> c_int =
        pass!(SYS_fallocate, fd, mode, offset, len);
    Syncfs: fn syncfs(fd: c_int) -> c_int = pass!(SYS_syncfs, fd);
    SyncFileRange: fn sync_file_range(fd: c_int, offset: off_t, len: off_t, flags: c_uint) -> c_int =
        pass!(SYS_sync_file_range, fd, offset, len, flags);
    Msync: fn msync(place: *mut c_void, len: size_t, flags: c_int) -> c_int = pass!(SYS_msync, place, len, flags);
}

/// libc's `sync`, which says nothing.
///
/// # Safety
/// * None; it takes nothing.
#[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
pub(super) unsafe extern "C" fn sync() {
    if super::gate::open(Symbol::Sync) {
        offload(Symbol::Sync, || pass!(SYS_sync));
    } else {
        pass!(SYS_sync);
    }
}
