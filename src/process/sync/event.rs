//! A flag to wait for, between processes.
//!
//! The word is `sets << 1 | SET`: whoever waits goes on when it is set, and also when it was set and cleared
//! again since.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::handle::{Place, handle};
use crate::base::event_word::EventWord;
use crate::runtime::far;
use crate::shm::event::notify_all;
use crate::shm::object::{Body as SharedBody, Object};

const SET: u32 = 1;

#[repr(C)]
pub(super) struct Body {
    state: AtomicU32,
    changed: Place,
}

// SAFETY: `repr(C)`, atomics only.
unsafe impl SharedBody for Body {
    const KIND: u32 = 4;
    const EVENTS: usize = 1;

    fn event(&self, _: usize) -> &EventWord {
        &self.changed.0
    }

    fn orphan(&self, _: u64) {}
}

/// Something that happens once, or is reset: whoever waits, in any process, goes on when it is set.
///
/// # Examples
/// ```
/// let go = ropewalk::process::Event::new()?;
/// let runner = ropewalk::spawn({
///     let go = go.clone();
///     move || go.wait()
/// });
/// go.set();
/// runner.join().unwrap();
/// assert!(go.is_set());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Event(pub(super) Arc<Object<Body>>);

handle!(Event, |event, debug| {
    debug.field("set", &event.is_set());
});

impl Event {
    /// Makes an event that is not set.
    ///
    /// # Errors
    /// What the kernel says: no descriptor left, or not enough memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Object::create(0, |_| ())?))
    }

    fn state(&self) -> u32 {
        // Acquire pairs with the Release in `set`.
        self.0.body().state.load(Ordering::Acquire)
    }

    /// Tells whether it is set.
    pub fn is_set(&self) -> bool {
        self.state() & SET != 0
    }

    /// Sets it, and wakes all who wait. Never waits.
    pub fn set(&self) {
        let next = |state: u32| (state & SET == 0).then(|| state.wrapping_add(2) | SET);
        let state = &self.0.body().state;
        // Release: pairs with the Acquire in `state`. Relaxed on failure: it is set already.
        let _ = state.fetch_update(Ordering::Release, Ordering::Relaxed, next);
        notify_all(self.0.body().event(0));
    }

    /// Resets it: whoever comes now waits.
    pub fn clear(&self) {
        // Relaxed: nothing is published by it.
        self.0.body().state.fetch_and(!SET, Ordering::Relaxed);
    }

    /// Waits until it has been set. A cancellation point if it has to wait.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), but no longer than `limit`. False if that came first.
    pub fn wait_timeout(&self, limit: Duration) -> bool {
        self.wait_until(Some(far::after(limit)))
    }

    /// As [`wait`](Self::wait), but no longer than until `deadline`. False if that came first.
    ///
    /// # Examples
    /// ```
    /// use std::time::Instant;
    ///
    /// let event = ropewalk::process::Event::new()?;
    /// assert!(!event.wait_deadline(Instant::now()));
    /// event.set();
    /// assert!(event.wait_deadline(Instant::now()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let first = self.state();
        let happened = |state: u32| state & SET != 0 || state / 2 != first / 2;
        let mut in_time = true;
        while !happened(self.state()) {
            let key = self.0.body().event(0).prepare();
            if happened(self.state()) {
                break;
            }
            if !in_time {
                return false;
            }
            in_time = self.0.wait(0, key, deadline);
        }
        true
    }
}
