//! Files on disks: answered at once where the page cache has the data, by another thread where it has not.

use super::errno::raw;
use super::offload::offload;
use super::stream::Buffers;
use super::symbols::Symbol;
use super::vectors;

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
            answer if answer == raw(libc::EAGAIN) || answer == raw(libc::EOPNOTSUPP) => {
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
