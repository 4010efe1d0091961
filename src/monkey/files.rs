//! Files by offset and by name, and what forces them to the disk.
//!
//! Reads and writes at an offset go as those of `stream` do: what the page cache can answer is answered at once. So is
//! a name that the kernel has cached (`cached_name`); else another thread looks it up, directory by directory.

use core::ffi::{c_char, c_void};

use libc::{c_int, c_uint, iovec, mode_t, off_t, size_t, ssize_t};

use super::cached_name::{self, At};
use super::hook::{hook, pass};
use super::lent::Lent;
use super::offload::offload;
use super::slot::{self, Kind, known};
use super::stream::{Buffers, Way, is_odd};
use super::symbols::Symbol;
use super::{errno, file, gate, position, turn};
use crate::sys;

/// Reads or writes at an offset.
fn at_offset(
    (symbol, plain, trying): (Symbol, libc::c_long, libc::c_long),
    fd: c_int,
    buffers: Buffers,
    offset: off_t,
) -> isize {
    let block = |buffers: Buffers, done: usize| {
        let args = sys::raw::words![fd, buffers.list, buffers.count, offset + done as off_t, 0usize];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { sys::raw::call(plain, args) }
    };
    let Some(known) = known(fd).filter(|known| offset >= 0 && known.kind() == Kind::File) else {
        return block(buffers, 0);
    };
    if plain == libc::SYS_pwritev && file::writes_in_place(known, buffers.total) {
        return file::timed(known, || block(buffers, 0));
    }
    let attempt = |buffers: Buffers, done: usize| {
        let at = offset + done as off_t;
        let args = sys::raw::words![fd, buffers.list, buffers.count, at, 0usize, libc::RWF_NOWAIT];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { sys::raw::call(trying, args) }
    };
    file::transfer(symbol, buffers, attempt, block)
}

const fn reads(symbol: Symbol) -> (Symbol, libc::c_long, libc::c_long) {
    (symbol, libc::SYS_preadv, libc::SYS_preadv2)
}

const fn writes(symbol: Symbol) -> (Symbol, libc::c_long, libc::c_long) {
    (symbol, libc::SYS_pwritev, libc::SYS_pwritev2)
}

macro_rules! at_offset {
    ($($symbol:ident: fn $name:ident, $kernel:ident, $way:ident, $mutability:tt;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, buffer: *$mutability c_void, count: size_t, offset: off_t) -> ssize_t;
            kernel pass!($kernel, fd, buffer, count, offset);
            parking if is_odd(count) {
                pass!($kernel, fd, buffer, count, offset)
            } else {
                let single = iovec { iov_base: buffer as *mut c_void, iov_len: count };
                at_offset($way(Symbol::$symbol), fd, Buffers::one(&single), offset)
            }
        })*
    };
}

at_offset! {
    Pread: fn pread, SYS_pread64, reads, mut;
    Pread64: fn pread64, SYS_pread64, reads, mut;
    Pwrite: fn pwrite, SYS_pwrite64, writes, const;
    Pwrite64: fn pwrite64, SYS_pwrite64, writes, const;
}

macro_rules! at_offset_vectored {
    ($($symbol:ident: fn $name:ident, $kernel:ident, $way:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, list: *const iovec, count: c_int, offset: off_t) -> ssize_t;
            kernel pass!($kernel, fd, list, count, offset, 0usize);
            // SAFETY: the caller's duty.
            parking match unsafe { Buffers::of(list, count) } {
                Some(buffers) => at_offset($way(Symbol::$symbol), fd, buffers, offset),
                None => pass!($kernel, fd, list, count, offset, 0usize),
            }
        })*
    };
}

at_offset_vectored! {
    Preadv: fn preadv, SYS_preadv, reads;
    Preadv64: fn preadv64, SYS_preadv, reads;
    Pwritev: fn pwritev, SYS_pwritev, writes;
    Pwritev64: fn pwritev64, SYS_pwritev, writes;
}

/// The offset -1 is the file's own: then it is `readv` and `writev` with flags, which sockets and pipes take as well.
macro_rules! with_flags {
    ($($symbol:ident: fn $name:ident, $kernel:ident, $way:ident;)*) => {
        $(hook! {
            $symbol: fn $name(fd: c_int, list: *const iovec, count: c_int, offset: off_t, flags: c_int) -> ssize_t;
            kernel pass!($kernel, fd, list, count, offset, 0usize, flags);
            // SAFETY: the caller's duty.
            parking match unsafe { Buffers::of(list, count) } {
                Some(buffers) if flags == 0 && offset == -1 => Way::$way(Symbol::$symbol).run(fd, buffers),
                Some(buffers) if flags & libc::RWF_NOWAIT == 0 && known(fd).is_some_and(is_file) => {
                    on_file((Symbol::$symbol, libc::$kernel), fd, buffers, (offset, flags))
                }
                _ => pass!($kernel, fd, list, count, offset, 0usize, flags),
            }
        })*
    };
}

/// Reads or writes a file at an offset, or at its own, with flags.
fn on_file(
    (symbol, number): (Symbol, libc::c_long),
    fd: c_int,
    buffers: Buffers,
    (offset, flags): (off_t, c_int),
) -> isize {
    let call = |buffers: Buffers, done: usize, flags: c_int| {
        let args = sys::raw::words![fd, buffers.list, buffers.count, later(offset, done), 0usize, flags];
        // SAFETY: the caller of the replaced function answers for its buffers.
        unsafe { sys::raw::call(number, args) }
    };
    let is_own = offset == -1 || flags & libc::RWF_APPEND != 0;
    if is_own && number == libc::SYS_pwritev2 {
        // In one piece: what others append may not come in between.
        let lent = Lent(buffers);
        return offload(symbol, || call(lent.get(), 0, flags));
    }
    let _held = known(fd).filter(|_| is_own).map(position::hold);
    let attempt = |left, done| call(left, done, flags | libc::RWF_NOWAIT);
    file::transfer(symbol, buffers, attempt, |left, done| call(left, done, flags))
}

fn is_file(known: slot::Known) -> bool {
    known.kind() == Kind::File
}

/// The offset after `done` bytes; the file's own moves by itself.
fn later(offset: off_t, done: usize) -> off_t {
    if offset == -1 { -1 } else { offset + done as off_t }
}

with_flags! {
    Preadv2: fn preadv2, SYS_preadv2, read;
    Preadv64v2: fn preadv64v2, SYS_preadv2, read;
    Pwritev2: fn pwritev2, SYS_pwritev2, write;
    Pwritev64v2: fn pwritev64v2, SYS_pwritev2, write;
}

hook! {
    Fsync: fn fsync(fd: c_int) -> c_int;
    kernel pass!(SYS_fsync, fd);
    parking offload(Symbol::Fsync, || pass!(SYS_fsync, fd))
}

hook! {
    Fdatasync: fn fdatasync(fd: c_int) -> c_int;
    kernel pass!(SYS_fdatasync, fd);
    parking offload(Symbol::Fdatasync, || pass!(SYS_fdatasync, fd))
}

/// A name, and a place for the answer.
impl<T> Lent<(*const c_char, *mut T)> {
    fn open(&self, directory: c_int, flags: c_int, mode: mode_t) -> isize {
        pass!(SYS_openat, directory, self.0.0, flags, mode)
    }

    fn look(&self, directory: c_int, flags: c_int) -> isize {
        pass!(SYS_newfstatat, directory, self.0.0, self.0.1, flags)
    }

    /// `look`, by the caches if they have the name.
    fn look_up(&self, symbol: Symbol, directory: c_int, flags: c_int) -> isize {
        const TAKEN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        let found = |fd: c_int, _| {
            let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
            Some(pass!(SYS_newfstatat, fd, empty, self.0.1, flags))
        };
        self.by_cache(symbol, directory, flags & !TAKEN == 0, flags, found, || self.look(directory, flags))
    }

    /// `look_wide`, by the caches if they have the name.
    fn look_up_wide(&self, symbol: Symbol, directory: c_int, flags: c_int, mask: c_uint) -> isize {
        const SYNC: c_int = 0x6000;
        const TAKEN: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | SYNC;
        let found = |fd: c_int, _| {
            let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH | flags & SYNC);
            Some(pass!(SYS_statx, fd, empty, flags, mask, self.0.1))
        };
        let call = || self.look_wide(directory, flags, mask);
        self.by_cache(symbol, directory, flags & !TAKEN == 0, flags, found, call)
    }

    fn by_cache(
        &self,
        symbol: Symbol,
        directory: c_int,
        is_usual: bool,
        flags: c_int,
        found: impl Fn(c_int, mode_t) -> Option<isize>,
        call: impl Fn() -> isize + Sync,
    ) -> isize {
        if !is_usual {
            return offload(symbol, call);
        }
        let no_follow = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { libc::O_NOFOLLOW } else { 0 };
        cached_name::look_up(symbol, At { directory, name: self.0.0 }, no_follow, found, call)
    }

    fn look_wide(&self, directory: c_int, flags: c_int, mask: c_uint) -> isize {
        pass!(SYS_statx, directory, self.0.0, flags, mask, self.0.1)
    }
}

/// Opens a file. The mode is an argument only if the flags make one; in its register is something either way.
pub(super) fn open_either(
    symbol: Symbol,
    directory: c_int,
    name: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    let lent = Lent((name, core::ptr::null_mut::<()>()));
    let before = errno::get();
    let answer = match gate::open(symbol) {
        true => {
            let at = At { directory, name };
            let opened = cached_name::open(symbol, at, flags, || lent.open(directory, flags, mode));
            turn::after(symbol, opened)
        }
        false => lent.open(directory, flags, mode),
    };
    if let Ok(fd @ 0..) = c_int::try_from(answer)
        && gate::is_tracking()
    {
        slot::retire(fd);
    }
    errno::set(before);
    errno::result(answer) as c_int
}

macro_rules! open {
    ($($symbol:ident: $name:ident;)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name(name: *const c_char, flags: c_int, mode: mode_t) -> c_int {
            open_either(Symbol::$symbol, libc::AT_FDCWD, name, flags, mode)
        })*
    };
}

macro_rules! open_at {
    ($($symbol:ident: $name:ident;)*) => {
        $(#[doc = concat!("libc's `", stringify!($name), "`.")]
        ///
        /// # Safety
        /// * As libc's manual says.
        #[cfg_attr(not(target_feature = "crt-static"), unsafe(no_mangle))]
        pub(super) unsafe extern "C" fn $name(
            directory: c_int,
            name: *const c_char,
            flags: c_int,
            mode: mode_t,
        ) -> c_int {
            open_either(Symbol::$symbol, directory, name, flags, mode)
        })*
    };
}

open! { Open: open; Open64: open64; }
open_at! { Openat: openat; Openat64: openat64; }

macro_rules! look {
    ($($symbol:ident: $name:ident, $flags:expr;)*) => {
        $(hook! {
            $symbol: fn $name(name: *const c_char, place: *mut libc::stat) -> c_int;
            kernel Lent((name, place)).look(libc::AT_FDCWD, $flags);
            parking {
                let lent = Lent((name, place));
                lent.look_up(Symbol::$symbol, libc::AT_FDCWD, $flags)
            }
        })*
    };
}

look! {
    Stat: stat, 0;
    Stat64: stat64, 0;
    Lstat: lstat, libc::AT_SYMLINK_NOFOLLOW;
    Lstat64: lstat64, libc::AT_SYMLINK_NOFOLLOW;
}

macro_rules! look_at {
    ($($symbol:ident: $name:ident;)*) => {
        $(hook! {
            $symbol: fn $name(directory: c_int, name: *const c_char, place: *mut libc::stat, flags: c_int) -> c_int;
            kernel Lent((name, place)).look(directory, flags);
            parking {
                let lent = Lent((name, place));
                if flags & libc::AT_EMPTY_PATH != 0 {
                    // An open file's inode is in memory.
                    lent.look(directory, flags)
                } else {
                    lent.look_up(Symbol::$symbol, directory, flags)
                }
            }
        })*
    };
}

look_at! { Fstatat: fstatat; Fstatat64: fstatat64; }

hook! {
    Statx: fn statx(
        directory: c_int,
        name: *const c_char,
        flags: c_int,
        mask: c_uint,
        place: *mut libc::statx,
    ) -> c_int;
    kernel Lent((name, place)).look_wide(directory, flags, mask);
    parking {
        let lent = Lent((name, place));
        // std asks with null for both whether there is such a call; its answer is the kernel's.
        if flags & libc::AT_EMPTY_PATH != 0 || name.is_null() || place.is_null() {
            lent.look_wide(directory, flags, mask)
        } else {
            lent.look_up_wide(Symbol::Statx, directory, flags, mask)
        }
    }
}
