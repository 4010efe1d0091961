//! The hand-over past a queue's buffer (`queue::takers`): the lock of the waiters, the taker's ticket, and the
//! place where it waits for a value. The queue's lock is loom's: what is checked is the order around it.

use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use ropewalk::base::ring::Ring;
use ropewalk::base::ticket::{Outcome, Ticket, TicketWord};

struct Queue {
    ring: Ring<u32>,
    /// The one that waits, as the list holds it.
    waiting: Mutex<Option<Ticket>>,
    word: TicketWord,
    place: UnsafeCell<Option<u32>>,
}

impl Queue {
    fn claim(&self, outcome: Outcome) -> bool {
        let waiting = self.waiting.lock().unwrap().take();
        waiting.is_some_and(|ticket| self.word.claim(ticket, outcome))
    }

    fn put(&self, value: u32) {
        let handed = {
            let mut waiting = self.waiting.lock().unwrap();
            match *waiting {
                Some(ticket) if self.ring.is_empty() => {
                    // SAFETY: the taker is in the queue, whose lock is held.
                    self.place.with_mut(|place| unsafe { *place = Some(value) });
                    *waiting = None;
                    let won = self.word.claim(ticket, Outcome::Notified);
                    if !won {
                        // SAFETY: its wait had ended; it locks the queue before it looks.
                        self.place.with_mut(|place| unsafe { *place = None });
                    }
                    won
                }
                _ => false,
            }
        };
        if !handed {
            self.ring.push(value).unwrap();
            self.claim(Outcome::Notified);
        }
    }

    /// Takes a value, or gives up when its time is over.
    fn take(&self) -> Option<u32> {
        if let Some(value) = self.ring.pop() {
            return Some(value);
        }
        let ticket = {
            let mut waiting = self.waiting.lock().unwrap();
            if !self.ring.is_empty() {
                return self.ring.pop();
            }
            let ticket = self.word.open();
            *waiting = Some(ticket);
            ticket
        };
        // Its own timer: on the taker's thread, as a coroutine's is on its worker.
        thread::yield_now();
        if self.word.claim(ticket, Outcome::TimedOut) {
            // The list's lock, before the place may be left.
            *self.waiting.lock().unwrap() = None;
        }
        let outcome = self.word.outcome().expect("the wait has ended");
        // SAFETY: it has: the claim of a giver, or the lock, comes before.
        let handed = self.place.with_mut(|place| unsafe { (*place).take() });
        assert!(outcome == Outcome::Notified || handed.is_none(), "a value goes with one that gave up");
        handed.or_else(|| self.ring.pop())
    }
}

#[test]
fn a_value_is_handed_over_or_in_the_buffer_and_never_overtakes() {
    loom::model(|| {
        let queue = Arc::new(Queue {
            ring: Ring::new(2),
            waiting: Mutex::new(None),
            word: TicketWord::new(),
            place: UnsafeCell::new(None),
        });
        let giver = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || (1..=2).for_each(|value| queue.put(value)))
        };
        let mut taken: Vec<_> = (0..2).filter_map(|_| queue.take()).collect();
        giver.join().unwrap();
        taken.extend(core::iter::from_fn(|| queue.ring.pop()));
        assert_eq!(taken, [1, 2]);
    });
}
