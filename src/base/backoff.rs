//! How a thread passes a short time until another thread has done its part.
//!
//! First pauses that double, so that the other one has the cache lines for itself; then turns given to
//! the kernel, so that on a busy machine the other one runs at all. After that, waiting here is a waste.
//!
//! The first pause is long enough for several values to come: whoever looks at every single one fights
//! for each cache line (a stream between two threads: 130 ns a message with a first pause of 1, 7 with 8).
#![forbid(unsafe_code)]

/// Rounds of pauses: 8, 16, 32, 64.
const PAUSES: u32 = 4;
const FIRST: u32 = 8;
/// Rounds until a party that can sleep should: about as long as waking it would take.
const ROUNDS: u32 = PAUSES + 24;

/// One wait for another thread.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    /// Begins to wait.
    #[inline]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Passes a moment, a longer one each time. False if it is time to sleep instead.
    #[inline]
    pub(crate) fn snooze(&mut self) -> bool {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        if self.0 < PAUSES {
            (0..FIRST << self.0).for_each(|_| core::hint::spin_loop());
        } else {
            crate::sys::thread::yield_now();
        }
        self.0 = self.0.saturating_add(1);
        self.0 < ROUNDS
    }
}
