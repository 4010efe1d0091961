//! Lists of buffers, and what is left of them after a part was moved.

use libc::iovec;

/// What one call moves at most, however much it is given.
pub(super) const MOST: usize = 0x7fff_f000;

/// How many bytes a list holds; `None` if the list is not a valid one, which the kernel then says.
///
/// # Safety
/// * `list` is null or points to `count` vectors.
pub(super) unsafe fn total(list: *const iovec, count: usize) -> Option<usize> {
    if list.is_null() || count > libc::UIO_MAXIOV as usize {
        return None;
    }
    // SAFETY: the caller's duty.
    let list = unsafe { core::slice::from_raw_parts(list, count) };
    list.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.iov_len))
}

/// A list without its first `done` bytes, up to its byte `total`.
///
/// # Safety
/// * `list` points to `count` vectors.
pub(super) unsafe fn rest(list: *const iovec, count: usize, mut done: usize, total: usize) -> Vec<iovec> {
    // SAFETY: the caller's duty.
    let list = unsafe { core::slice::from_raw_parts(list, count) };
    let (mut left, mut wanted) = (Vec::with_capacity(count), total.saturating_sub(done));
    for piece in list {
        let skipped = done.min(piece.iov_len);
        done -= skipped;
        let len = (piece.iov_len - skipped).min(wanted);
        wanted -= len;
        if len > 0 {
            left.push(iovec { iov_base: piece.iov_base.wrapping_byte_add(skipped), iov_len: len });
        }
    }
    left
}
