//! Room in a ring for a value that is still to come.
//!
//! A select that has chosen to send makes its message only then, in user code, which may take any time and
//! may panic. So the promise is of room, not of a slot: receivers never wait for it, and it can be given back.

use super::{MOST_PROMISES, POSITION, PROMISE, Ring};
use crate::base::atomic::Ordering;
use crate::base::backoff::Backoff;

impl<T> Ring<T> {
    /// Promises room for one value, to be used by [`push_promised`](Self::push_promised) or given back by
    /// [`break_promise`](Self::break_promise). False if there is none, or the ring is closed.
    pub fn promise(&self) -> bool {
        let mut tail = self.tail.0.load(Ordering::SeqCst);
        loop {
            if tail & self.mark != 0 || tail >= PROMISE * MOST_PROMISES {
                return false;
            }
            match self.is_used_up(tail) {
                Some(false) => {}
                Some(true) => return false,
                None => {
                    tail = self.tail.0.load(Ordering::SeqCst);
                    continue;
                }
            }
            // SeqCst: as in `push`. The answer holds as long as the word is the same: `head` only makes room.
            match self.tail.0.compare_exchange(tail, tail + PROMISE, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => tail = now,
            }
        }
    }

    /// Pushes a value for which room was promised. Uses the promise up.
    ///
    /// # Errors
    /// The value, if the ring has been closed.
    pub fn push_promised(&self, value: T) -> Result<(), T> {
        let mut backoff = Backoff::new();
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            if tail & self.mark != 0 {
                self.break_promise();
                return Err(value);
            }
            let position = tail & POSITION;
            // Acquire: as in `push`.
            if self.slot(position).stamp.load(Ordering::Acquire) == position {
                let next = ((tail & !POSITION) - PROMISE) | self.after(position);
                // SeqCst: as in `push`.
                match self.tail.0.compare_exchange_weak(tail, next, Ordering::SeqCst, Ordering::Relaxed) {
                    Ok(_) => {
                        // SAFETY: as in `push`.
                        unsafe { self.fill(position, value) };
                        return Ok(());
                    }
                    Err(now) => tail = now,
                }
            } else {
                // There is room (I2): a pop is in the middle of making it, or another push is faster.
                backoff.snooze();
                tail = self.tail.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Gives promised room back.
    pub fn break_promise(&self) {
        self.tail.0.fetch_sub(PROMISE, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::base::ring::{PushError, Ring};

    #[test]
    fn promised_room_is_kept_for_the_one_who_has_the_promise() {
        let ring = Ring::new(2);
        assert!(ring.promise());
        assert_eq!((ring.push(1), ring.push(2)), (Ok(()), Err(PushError::Full(2))));
        assert!(ring.is_full() && !ring.promise());
        assert_eq!((ring.push_promised(3), ring.len()), (Ok(()), 2));
        assert_eq!((ring.pop(), ring.promise(), ring.push(4)), (Some(1), true, Err(PushError::Full(4))));
        ring.break_promise();
        assert_eq!((ring.push(5), ring.pop(), ring.pop(), ring.pop()), (Ok(()), Some(3), Some(5), None));
        assert!(ring.promise() && ring.close());
        assert_eq!((ring.push_promised(6), ring.promise(), ring.len()), (Err(6), false, 0));
    }
}
