//! Time: waiting for it, and limits. Timers are entries in the waiting coroutine's worker's wheel; a
//! plain thread sleeps in the kernel.

mod interval;

#[doc(inline)]
pub use crate::runtime::{Elapsed, sleep, sleep_until, timeout};
pub use interval::{Interval, interval};
