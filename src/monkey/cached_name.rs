//! Names that the kernel can look up in its caches: the calling thread makes these calls, with its own rights.
//!
//! ```text
//! openat2(O_PATH, RESOLVE_CACHED) ──▶ EAGAIN: another thread
//!        │ found                  ──▶ ENOENT, EACCES, …: the answer
//!        ▼
//! statx(AT_STATX_DONT_SYNC): mount ──▶ remote: another thread
//!        │ local
//!        ▼
//! the call on what was found
//! ```
//!
//! A look-up that `RESOLVE_CACHED` allows never sleeps (Linux 5.12), but the call after it may: on a remote file system,
//! at a pipe without its other end, at a lease. So files are opened only if they are regular ones or directories, and
//! with O_NONBLOCK, which is taken off again. `AT_STATX_DONT_SYNC` asks no other machine.
//!
//! proc answers from memory but caches no names. What lies there is the calling thread's own (`/proc/thread-self`), so
//! that thread asks: at once where the name begins with `/proc`, else when another thread has found that it ends there.

use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering};

use libc::{c_char, c_int};

use super::errno::raw;
use super::file_system::{self, Speed};
use super::hook::pass;
use super::lent::Lent;
use super::offload::offload;
use super::symbols::Symbol;

type Name = *const c_char;

const RESOLVE_CACHED: u64 = 0x20;
const AT_STATX_DONT_SYNC: c_int = 0x4000;
const STATX_BASIC_AND_MOUNT: u32 = 0x17ff;
/// No answer of the kernel's: the calling thread is to make the call.
const IN_PLACE: isize = isize::MIN;

/// A name, and the directory that it begins in.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) directory: c_int,
    pub(super) name: Name,
}

impl At {
    /// Opens the name if the caches know it.
    fn open_cached(self, flags: c_int) -> isize {
        let how = [flags as u32 as u64, 0, RESOLVE_CACHED];
        pass!(SYS_openat2, self.directory, self.name, how.as_ptr(), size_of_val(&how))
    }
}

/// Tells whether an error of a look-up in the caches is the answer.
fn is_answer(error: isize) -> bool {
    const ANSWERS: [c_int; 7] = [
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EACCES,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::EFAULT,
        libc::EBADF,
    ];
    ANSWERS.iter().any(|answer| raw(*answer) == error)
}

/// What a name stands for, found without waiting. Closed with its owner.
struct Found {
    fd: c_int,
    kind: libc::mode_t,
    speed: Speed,
}

impl Drop for Found {
    fn drop(&mut self) {
        pass!(SYS_close, self.fd);
    }
}

impl Found {
    /// `Err` with an answer, or without one if the caches have none.
    fn find(symbol: Symbol, at: At, no_follow: c_int) -> Result<Self, Option<isize>> {
        let fd = at.open_cached(libc::O_PATH | libc::O_CLOEXEC | no_follow);
        if fd < 0 {
            return Err(is_answer(fd).then_some(fd));
        }
        let mut found = Self { fd: fd as c_int, kind: 0, speed: Speed::Remote };
        // The kernel's `struct statx`, as words.
        let mut status = [0u64; 32];
        let flags = libc::AT_EMPTY_PATH | AT_STATX_DONT_SYNC;
        if pass!(SYS_statx, fd, c"".as_ptr(), flags, STATX_BASIC_AND_MOUNT, status.as_mut_ptr()) < 0 {
            return Err(None);
        }
        found.kind = (status[3] >> 32) as libc::mode_t & libc::S_IFMT;
        found.speed = speed_of_mount(symbol, found.fd, status[17], status[18]);
        if found.speed == Speed::Remote { Err(None) } else { Ok(found) }
    }
}

/// The speed of the file system of a device and mount. Another thread asks for it, the first time.
fn speed_of_mount(symbol: Symbol, fd: c_int, device: u64, mount: u64) -> Speed {
    /// Mounts by a hash of both numbers, with the speed in the lowest two bits; 0 if not known.
    static MOUNTS: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
    let hash = (device.rotate_left(32) ^ mount.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 2;
    let slot = &MOUNTS[(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize];
    // Relaxed, here and below: the word is all there is.
    let known = slot.load(Ordering::Relaxed);
    if known & !3 == hash {
        match known & 3 {
            1 => return Speed::Memory,
            2 => return Speed::Disk,
            3 => return Speed::Remote,
            _ => {}
        }
    }
    let speed = match offload(symbol, || file_system::speed(fd).map_or(3, |speed| speed as isize)) {
        1 => Speed::Memory,
        2 => Speed::Disk,
        _ => Speed::Remote,
    };
    slot.store(hash | speed as u64, Ordering::Relaxed);
    speed
}

/// Tells whether a name lies in `/proc`, and leads nowhere else.
pub(super) fn is_in_proc(name: Name) -> bool {
    if name.is_null() {
        return false;
    }
    // SAFETY: the caller of the replaced function gives a name that ends with a zero.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let mut parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    name.first() == Some(&b'/')
        && parts.next() == Some(b"proc")
        && !parts.any(|part| matches!(part, b".." | b"root" | b"cwd" | b"exe" | b"fd" | b"map_files"))
}

/// Makes a call on a name: `cached` on what the caches have found, with its kind, or `call` on the name itself.
/// `no_follow` is O_NOFOLLOW if a link at the end is meant itself.
pub(super) fn look_up(
    symbol: Symbol,
    at: At,
    no_follow: c_int,
    cached: impl Fn(c_int, libc::mode_t) -> Option<isize>,
    call: impl Fn() -> isize + Sync,
) -> isize {
    if is_in_proc(at.name) {
        return call();
    }
    let answer = match Found::find(symbol, at, no_follow) {
        Ok(found) => cached(found.fd, found.kind),
        Err(answer) => answer,
    };
    answer.unwrap_or_else(|| away(symbol, at, no_follow, call))
}

/// Lets another thread make a call on a name, unless the name ends in proc.
fn away(symbol: Symbol, at: At, no_follow: c_int, call: impl Fn() -> isize + Sync) -> isize {
    let lent = Lent(at);
    let answer = offload(symbol, || {
        let at = lent.get();
        // Not `openat2`, which containers refuse, and kernels before 5.6 do not have.
        let flags = libc::O_PATH | libc::O_CLOEXEC | no_follow;
        let fd = pass!(SYS_openat, at.directory, at.name, flags, 0);
        if fd >= 0 {
            let is_proc = file_system::is_proc(fd as c_int);
            pass!(SYS_close, fd);
            if is_proc {
                return IN_PLACE;
            }
        }
        call()
    });
    if answer == IN_PLACE { call() } else { answer }
}

/// Opens a name: at once if the caches know it as a file or directory of this machine.
pub(super) fn open(symbol: Symbol, at: At, flags: c_int, call: impl Fn() -> isize + Sync) -> isize {
    // The caches never make or empty a file.
    const MAKES: c_int = libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    let no_follow = flags & libc::O_NOFOLLOW;
    if flags & MAKES != 0 {
        return if is_in_proc(at.name) { call() } else { away(symbol, at, no_follow, call) };
    }
    let cached = |_, kind| {
        if kind != libc::S_IFREG && kind != libc::S_IFDIR {
            return None;
        }
        let fd = at.open_cached(flags | libc::O_NONBLOCK);
        if fd < 0 {
            return is_answer(fd).then_some(fd);
        }
        if flags & libc::O_NONBLOCK == 0 {
            pass!(SYS_fcntl, fd, libc::F_SETFL, flags);
        }
        Some(fd)
    };
    look_up(symbol, at, no_follow, cached, call)
}
