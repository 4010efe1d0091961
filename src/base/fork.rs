//! Which process of a line of forks this is: a number that differs between a program and the children that it forks.
//!
//! The number lies on a page of its own, which the kernel wipes in the child of any fork, however that is made. The
//! child then counts on from its parent's number. Kernels that refuse to wipe leave it to `pthread_atfork`.
#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;

use crate::sys::memory::{self, Page};

static WIPED: Page = Page::new();
/// The last number of this process or of one that it was forked from; a fork keeps it.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The number of the calling process, 1 or more.
#[inline]
pub(crate) fn generation() -> u32 {
    // Relaxed, here and below: the number is all that is read, and all threads of a process find the same.
    match WIPED.word().load(Ordering::Relaxed) {
        0 => begin(),
        number => number,
    }
}

#[cold]
fn begin() -> u32 {
    static ARMED: OnceLock<()> = OnceLock::new();
    ARMED.get_or_init(|| memory::wipe_on_fork(&WIPED, forget));
    let next = LAST.load(Ordering::Relaxed) + 1;
    match WIPED.word().compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            LAST.store(next, Ordering::Relaxed);
            next
        }
        Err(other) => other,
    }
}

extern "C" fn forget() {
    // Relaxed: the child has one thread.
    WIPED.word().store(0, Ordering::Relaxed);
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays() {
        assert_eq!(generation(), generation());
        assert!(generation() > 0);
    }
}
