//! What C has beside `read` and `write` for descriptors of some kinds: `eventfd_read`, `eventfd_write`, `tcdrain`.

use libc::{c_int, iovec};

use super::errno::raw;
use super::hook::{hook, pass};
use super::offload::offload;
use super::stream::{Buffers, Way};
use super::symbols::Symbol;

/// The bytes of a count.
const COUNT: usize = size_of::<u64>();

/// What has moved a whole count has succeeded.
fn whole(answer: isize) -> isize {
    match answer {
        0.. if answer.unsigned_abs() == COUNT => 0,
        // Less than a count, from a descriptor that is no eventfd; glibc fails without a reason.
        0.. => raw(libc::EINVAL),
        error => error,
    }
}

hook! {
    EventfdRead: fn eventfd_read(fd: c_int, value: *mut u64) -> c_int;
    kernel whole(pass!(SYS_read, fd, value, COUNT));
    parking {
        let single = iovec { iov_base: value.cast(), iov_len: COUNT };
        whole(Way::read(Symbol::EventfdRead).run(fd, Buffers::one(&single)))
    }
}

hook! {
    EventfdWrite: fn eventfd_write(fd: c_int, value: u64) -> c_int;
    kernel whole(pass!(SYS_write, fd, &raw const value, COUNT));
    parking {
        let single = iovec { iov_base: (&raw const value).cast_mut().cast(), iov_len: COUNT };
        whole(Way::write(Symbol::EventfdWrite).run(fd, Buffers::one(&single)))
    }
}

hook! {
    Tcdrain: fn tcdrain(fd: c_int) -> c_int;
    kernel pass!(SYS_ioctl, fd, libc::TCSBRK, 1);
    parking offload(Symbol::Tcdrain, || pass!(SYS_ioctl, fd, libc::TCSBRK, 1))
}
