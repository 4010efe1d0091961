//! The futex: wait while a word has a value, wake those who wait for a word.
//!
//! The kernel's idea in user space, for coroutines and plain threads alike: a table of wait queues,
//! found by the word's address. Waiting allocates nothing, and waking a coroutine of the same worker is
//! no kernel call. An address may be used anew while somebody waits for the old word there; then wakes
//! may be spurious, as they always may.
//!
//! Source: Franke, Russell, Kirkwood, "Fuss, futexes and furwocks", OLS 2002.
#![forbid(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::runtime::park::{Claimed, Outcome, Reason, raise_cancelled, thread_calls};
use crate::runtime::wait_queue::{How, WaitQueue};

const SHARDS: usize = 1024;

/// On cache lines of its own.
#[repr(align(128))]
#[derive(Debug)]
struct Shard(WaitQueue<()>);

static TABLE: [Shard; SHARDS] = [const { Shard(WaitQueue::new(())) }; SHARDS];

/// The queue for an address.
pub(super) fn shard(address: usize) -> &'static WaitQueue<()> {
    // Fibonacci hashing: the upper bits of the product are well mixed.
    let mixed = (address as u64 >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    &TABLE[(mixed >> 54) as usize % SHARDS].0
}

/// How a [`wait`] has ended.
///
/// # Examples
/// ```
/// use ropewalk::sync::futex::{self, Waited};
/// use std::{sync::atomic::AtomicU32, time::Instant};
///
/// assert_eq!(futex::wait(&AtomicU32::new(0), 0, Some(Instant::now())), Waited::TimedOut);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Somebody called [`wake`].
    Woken,
    /// The word had another value, so there was no wait.
    Changed,
    /// The deadline came first.
    TimedOut,
}

/// The kernel calls that waits have cost, as [`stats`] gives them.
///
/// # Examples
/// ```
/// use ropewalk::sync::{Event, futex};
///
/// let (event, before) = (Event::new(), futex::stats());
/// std::thread::scope(|s| {
///     s.spawn(|| event.wait());
///     while futex::stats().sleeps == before.sleeps { std::thread::yield_now(); }
///     event.set();
/// });
/// assert!(futex::stats().wakes > before.wakes);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Times that a plain thread asked the kernel to sleep.
    pub sleeps: u64,
    /// Times that the kernel was asked to wake a plain thread.
    pub wakes: u64,
}

/// Tells how many kernel calls the waits of plain threads have cost in this process so far, whatever they
/// waited for: locks, queues, channels, results. Never waits.
///
/// What nobody has to wait for costs none, and so do the waits of coroutines: what their workers sleep
/// counts in [`Runtime::metrics`](crate::Runtime::metrics).
///
/// # Examples
/// ```
/// use ropewalk::sync::{Mutex, futex};
///
/// let (total, before) = (Mutex::new(0), futex::stats());
/// (0..1000).for_each(|n| *total.lock() += n);
/// assert_eq!(futex::stats(), before);
/// ```
pub fn stats() -> Stats {
    let (sleeps, wakes) = thread_calls();
    Stats { sleeps, wakes }
}

/// Waits while `*word == expected`, until woken, and at most until `deadline`. A cancellation point.
///
/// The comparison and the beginning of the wait are one step for [`wake`]: a wake after a change of the
/// word is not missed.
///
/// # Examples
/// ```
/// use ropewalk::sync::futex::{self, Waited};
/// use std::sync::atomic::AtomicU32;
///
/// let word = AtomicU32::new(1);
/// assert_eq!(futex::wait(&word, 0, None), Waited::Changed);
/// assert_eq!(futex::wake(&word, 1), 0);
/// ```
pub fn wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) -> Waited {
    let address = ptr::from_ref(word).addr();
    let how = How { key: address, ..How::new(Reason::Futex, deadline) };
    // SeqCst: no weaker than what the kernel's futex gives.
    match shard(address).wait_if(how, |(), _| word.load(Ordering::SeqCst) == expected) {
        None => Waited::Changed,
        Some(Outcome::Notified) => Waited::Woken,
        Some(Outcome::TimedOut) => Waited::TimedOut,
        Some(Outcome::Cancelled) => raise_cancelled(),
    }
}

/// Wakes up to `count` of the parties that wait for `word` now, the oldest first, and tells how many. Never waits.
///
/// # Examples
/// ```
/// use ropewalk::sync::futex;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// static WORD: AtomicU32 = AtomicU32::new(0);
/// let waiter = ropewalk::spawn(|| {
///     while WORD.load(Ordering::Acquire) == 0 { futex::wait(&WORD, 0, None); }
/// });
/// WORD.store(1, Ordering::Release);
/// assert!(futex::wake(&WORD, 1) <= 1);
/// waiter.join().unwrap();
/// ```
pub fn wake(word: &AtomicU32, count: usize) -> usize {
    wake_address(ptr::from_ref(word).addr(), count)
}

/// As [`wake`]. The address is only a key.
pub(super) fn wake_address(address: usize, count: usize) -> usize {
    shard(address).claim_each(count, |seen| seen.key == address, Claimed::wake)
}
