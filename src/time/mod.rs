//! Time: waiting for it, and limits. Timers are entries in the waiting coroutine's worker's wheel; a
//! plain thread sleeps in the kernel.
//!
//! # Examples
//! ```
//! use std::time::{Duration, Instant};
//!
//! let began = Instant::now();
//! let naps: Vec<_> = (0..1000)
//!     .map(|_| ropewalk::spawn(|| ropewalk::time::sleep(Duration::from_millis(20))))
//!     .collect();
//! ropewalk::join_all(naps).into_iter().for_each(Result::unwrap);
//! assert!(began.elapsed() >= Duration::from_millis(20));
//! assert!(ropewalk::time::timeout(Duration::from_millis(1), ropewalk::park).is_err());
//! ```

mod interval;

#[doc(inline)]
pub use crate::runtime::{Elapsed, sleep, sleep_until, timeout};
pub use interval::{Interval, interval};
