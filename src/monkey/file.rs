//! Files on disks: answered at once where the page cache has the data, by another thread where it has not.
//!
//! A write into the page cache hardly ever waits, but several file systems refuse to try one without waiting
//! (`RWF_NOWAIT`: ext4 answers EOPNOTSUPP). So the calling thread makes it, and measures it. After a slow one, which
//! the kernel has held up because too much is unwritten, another thread makes those of the next second.

use core::sync::atomic::Ordering;

use super::errno::raw;
use super::file_system;
use super::hook::pass;
use super::offload::offload;
use super::slot::{BUFFERED, Known, WRITES_KNOWN};
use super::stream::Buffers;
use super::symbols::Symbol;
use super::vectors;
use crate::sys;

/// The longest write that the calling thread makes: the copy alone takes it less than a millisecond.
const MOST_IN_PLACE: usize = 1 << 20;
/// A write that takes longer, in nanoseconds, has waited, or its thread was without a processor.
const SLOW: u64 = 10_000_000;
/// For how long, in nanoseconds, a slow write counts.
const PAUSE: u64 = 1_000_000_000;
/// Beside the moment until which a slow write counts: another one has waited, so another thread makes the writes.
const WAITS: u64 = 1;

/// Tells whether the calling thread makes a write of `total` bytes: into the page cache of a file whose writes have
/// not been slow lately.
pub(super) fn writes_in_place(known: Known, total: usize) -> bool {
    if total > MOST_IN_PLACE {
        return false;
    }
    let mut flags = known.flags();
    if flags & WRITES_KNOWN == 0 {
        let found = if file_system::is_buffered(known.fd()) { BUFFERED } else { 0 };
        known.update(BUFFERED, WRITES_KNOWN | found);
        flags = found;
    }
    // Relaxed, here and below: a hint.
    let until = known.slot.slow_until.load(Ordering::Relaxed);
    flags & BUFFERED != 0 && (until & WAITS == 0 || now() >= until)
}

/// Makes a write that goes to the page cache, and notes if it was slow.
///
/// A thread without a processor is slow as well. So after the first slow write, the kernel is asked for each whether the
/// thread has waited.
pub(super) fn timed(known: Known, write: impl Fn() -> isize) -> isize {
    let began = now();
    let suspected = known.slot.slow_until.load(Ordering::Relaxed) > began;
    let waits_before = if suspected { waits() } else { 0 };
    let answer = write();
    let ended = now();
    if ended - began > SLOW {
        let waited = suspected && waits() > waits_before;
        let until = (ended + PAUSE) & !WAITS | if waited { WAITS } else { 0 };
        known.slot.slow_until.store(until, Ordering::Relaxed);
    }
    answer
}

/// How often the calling thread has given its processor up to wait.
fn waits() -> i64 {
    // SAFETY: all zeros is a usage.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    pass!(SYS_getrusage, libc::RUSAGE_THREAD, &raw mut usage);
    usage.ru_nvcsw
}

/// The monotonic clock, in nanoseconds.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time lives through the call, and the clock exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Tells whether an answer to `preadv2` or `pwritev2` with `RWF_NOWAIT` says that this cannot be tried: not on this
/// kind of file, or not at all. What else answers `EPERM` does so again without the flag.
pub(super) fn cannot_try(answer: isize) -> bool {
    answer == raw(libc::EOPNOTSUPP) || sys::raw::is_refused(answer)
}

/// Moves data with `attempt`, which never waits, as far as that goes, and the rest with `block` on another thread. Both
/// are told how much was moved before.
///
/// An attempt may move a part: what the cache holds. The end of the file is one that moves nothing.
pub(super) fn transfer(
    symbol: Symbol,
    buffers: Buffers,
    attempt: impl Fn(Buffers, usize) -> isize,
    block: impl Fn(Buffers, usize) -> isize + Sync,
) -> isize {
    let (mut done, mut left) = (0, buffers);
    let mut rest;
    loop {
        let answer = match attempt(left, done) {
            answer if answer == raw(libc::EAGAIN) || cannot_try(answer) => {
                let answer = offload(symbol, || block(left, done));
                return if answer >= 0 { done as isize + answer } else { partial(done, answer) };
            }
            answer => answer,
        };
        if answer <= 0 {
            return partial(done, answer);
        }
        done += answer.unsigned_abs();
        if done >= buffers.total {
            return done as isize;
        }
        // SAFETY: the list holds `total` bytes, of which `done` were moved.
        rest = unsafe { vectors::rest(buffers.list, buffers.count, done, buffers.total) };
        left = Buffers { list: rest.as_ptr(), count: rest.len(), total: buffers.total - done };
    }
}

/// What was moved counts, if anything was.
fn partial(done: usize, answer: isize) -> isize {
    if done > 0 { done as isize } else { answer }
}
