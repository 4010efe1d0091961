//! Model checks of the shared words, on loom's atomics: `RUSTFLAGS="--cfg loom" cargo test --release --test loom`.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use ropewalk::base::ticket::{Outcome, TicketWord};

#[test]
fn one_of_waker_and_timer_wins_a_ticket() {
    loom::model(|| {
        let word = Arc::new(TicketWord::new());
        let wins = Arc::new(AtomicU32::new(0));
        let ticket = word.open();
        let racers: Vec<_> = [Outcome::Notified, Outcome::TimedOut]
            .into_iter()
            .map(|outcome| {
                let (word, wins) = (word.clone(), wins.clone());
                thread::spawn(move || {
                    if word.claim(ticket, outcome) {
                        wins.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for racer in racers {
            racer.join().unwrap();
        }
        assert_eq!(wins.load(Ordering::Relaxed), 1);
        assert!(word.outcome().is_some());
    });
}

#[test]
fn a_ticket_of_an_older_wait_never_wins() {
    loom::model(|| {
        let word = Arc::new(TicketWord::new());
        let old = word.open();
        assert!(word.claim(old, Outcome::Notified));
        let new = word.open();
        let late = {
            let word = word.clone();
            thread::spawn(move || word.claim(old, Outcome::TimedOut))
        };
        assert!(!late.join().unwrap());
        assert_eq!(word.outcome(), None);
        assert!(word.claim(new, Outcome::Notified));
    });
}

#[test]
fn a_ring_gives_each_value_once_and_in_order() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(1));
        let pusher = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut pushed = 0;
                while pushed < 2 {
                    match ring.push(pushed) {
                        Ok(()) => pushed += 1,
                        Err(_) => thread::yield_now(),
                    }
                }
            })
        };
        for expected in 0..2 {
            let value = loop {
                match ring.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(value, expected);
        }
        pusher.join().unwrap();
        assert_eq!(ring.pop(), None);
    });
}

#[test]
fn a_closed_ring_keeps_what_was_pushed_before_and_takes_nothing_after() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(2));
        let pusher = {
            let ring = ring.clone();
            thread::spawn(move || ring.push(1).is_ok())
        };
        ring.close();
        let early = ring.pop();
        let pushed = pusher.join().unwrap();
        // Whatever went in is found, by the first look after the close or by a later one.
        assert_eq!(early.or_else(|| ring.pop()).is_some(), pushed);
        assert!(ring.push(2).is_err());
    });
}

#[test]
fn a_deque_gives_each_item_to_its_owner_or_to_one_thief() {
    use ropewalk::base::deque::Deque;
    use std::ptr::NonNull;
    loom::model(|| {
        let deque = Arc::new(Deque::<u8>::new());
        let item = |n: usize| NonNull::new(std::ptr::without_provenance_mut::<u8>(n)).unwrap();
        // SAFETY: this thread owns it.
        unsafe { deque.push(item(1)) }.unwrap();
        // SAFETY: as above.
        unsafe { deque.push(item(2)) }.unwrap();
        let thief = {
            let deque = deque.clone();
            thread::spawn(move || {
                let own = Deque::new();
                // SAFETY: this thread owns `own`.
                let first = unsafe { deque.steal_into(&own) };
                // SAFETY: as above.
                let second = unsafe { own.pop() };
                [first, second].into_iter().flatten().map(|p| p.addr().get()).collect::<Vec<_>>()
            })
        };
        let mut all = Vec::new();
        // SAFETY: this thread owns it.
        while let Some(taken) = unsafe { deque.pop() } {
            all.push(taken.addr().get());
        }
        all.extend(thief.join().unwrap());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

#[test]
fn a_mutex_word_has_one_owner_and_an_unlock_sees_who_waits() {
    use loom::sync::Mutex;
    use ropewalk::base::owner_word::{Found, OwnerWord};
    loom::model(|| {
        // The queue under its lock, as a count of waiters.
        let shared = Arc::new((OwnerWord::new(), Mutex::new(0u32), AtomicU32::new(0)));
        let (word, _, inside) = &*shared;
        assert!(word.try_fast(1));
        inside.store(1, Ordering::Relaxed);
        let locker = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (word, queue, inside) = &*shared;
                loop {
                    match word.try_barge(2) {
                        Found::Taken => break,
                        Found::Held { owner, .. } => {
                            if !word.contend(owner) {
                                continue;
                            }
                            let mut waiting = queue.lock().unwrap();
                            if word.is_contended() {
                                *waiting += 1;
                                return false;
                            }
                        }
                    }
                }
                assert_eq!(inside.swap(2, Ordering::Relaxed), 0, "two owners at once");
                true
            })
        };
        let (word, queue, inside) = &*shared;
        inside.store(0, Ordering::Relaxed);
        let mut woken = 0;
        if !word.unlock_fast(1) {
            let mut waiting = queue.lock().unwrap();
            woken = std::mem::take(&mut *waiting);
            word.hand_over(0);
            word.settle();
        }
        let got = locker.join().unwrap();
        // The locker has the mutex, or it waited and was found waiting.
        assert!(got != (woken == 1), "a waiter was missed");
    });
}

#[test]
fn promised_room_is_never_taken_by_another() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(1));
        let other = {
            let ring = ring.clone();
            thread::spawn(move || ring.push(1).is_ok())
        };
        let promised = ring.promise();
        if promised {
            assert_eq!(ring.push_promised(2), Ok(()));
        }
        let pushed = other.join().unwrap();
        assert!(promised != pushed, "room for one was used {}", if pushed { "twice" } else { "by nobody" });
        assert_eq!((ring.pop(), ring.pop()), (Some(if pushed { 1 } else { 2 }), None));
    });
}

#[test]
fn a_list_gives_each_value_once_and_in_order_over_its_blocks() {
    // Blocks of two slots: each side crosses a border.
    loom::model(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        let pusher = {
            let list = list.clone();
            thread::spawn(move || (0..3).for_each(|value| list.push(Box::new(value)).unwrap()))
        };
        for expected in 0..3 {
            let value = loop {
                match list.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        pusher.join().unwrap();
        assert!(list.pop().is_none());
    });
}

#[test]
fn two_poppers_of_a_list_share_its_values_and_its_blocks_are_freed() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        (0..3).for_each(|value| list.push(value).unwrap());
        let popper = {
            let list = list.clone();
            thread::spawn(move || [list.pop(), list.pop()])
        };
        let own = [list.pop(), list.pop()];
        let mut all: Vec<_> = popper.join().unwrap().into_iter().chain(own).flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        // A block that was used is used again.
        (3..6).for_each(|value| list.push(value).unwrap());
        assert_eq!([list.pop(), list.pop(), list.pop(), list.pop()], [Some(3), Some(4), Some(5), None]);
    });
}

#[test]
fn two_pushers_of_a_list_and_a_close_agree() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        list.push(0).unwrap();
        let pushers: Vec<_> = (1..3)
            .map(|value| {
                let list = list.clone();
                thread::spawn(move || usize::from(list.push(value).is_ok()))
            })
            .collect();
        list.close();
        let pushed: usize = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
        assert_eq!(std::iter::from_fn(|| list.pop()).count(), 1 + pushed);
        assert!(list.push(3).is_err());
    });
}

/// The kernel's futex, as a model: sleepers on one word.
#[derive(Default)]
struct Kernel {
    /// Sleeping, and of those how many are woken.
    sleepers: loom::sync::Mutex<(u32, u32)>,
    woken: loom::sync::Condvar,
}

impl Kernel {
    fn wait(&self, event: &ropewalk::base::event_word::EventWord, key: u32) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if event.word().load(Ordering::SeqCst) != key {
            return;
        }
        sleepers.0 += 1;
        while sleepers.1 == 0 {
            sleepers = self.woken.wait(sleepers).unwrap();
        }
        sleepers.0 -= 1;
        sleepers.1 -= 1;
    }

    fn wake(&self, most: u32) -> u32 {
        let mut sleepers = self.sleepers.lock().unwrap();
        let count = most.min(sleepers.0 - sleepers.1);
        sleepers.1 += count;
        self.woken.notify_all();
        count
    }
}

#[test]
fn no_wake_for_an_event_between_processes_is_lost() {
    use ropewalk::base::event_word::EventWord;
    // (event, kernel, items): two put one item each, one takes both, and sleeps while there is none.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let shared = Arc::new((EventWord::new(), Kernel::default(), AtomicU32::new(0)));
        let putters: Vec<_> = (0..2)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (event, kernel, items) = &*shared;
                    items.fetch_add(1, Ordering::Release);
                    if event.has_sleepers() {
                        let seen = event.count_one();
                        if kernel.wake(1) == 0 && event.clear(seen).is_some() {
                            kernel.wake(u32::MAX);
                        }
                    }
                })
            })
            .collect();
        let (event, kernel, items) = &*shared;
        for _ in 0..2 {
            let take = |n: u32| n.checked_sub(1);
            while items.fetch_update(Ordering::AcqRel, Ordering::Relaxed, take).is_err() {
                let key = event.prepare();
                if items.load(Ordering::Relaxed) == 0 {
                    kernel.wait(event, key);
                }
            }
        }
        putters.into_iter().for_each(|putter| putter.join().unwrap());
    });
}

#[test]
fn a_lock_of_the_dead_is_inherited_once_and_a_late_mark_hurts_nobody() {
    use ropewalk::base::robust_word::{Attempt, RobustWord};
    const DEAD: u64 = 7;
    // Two watchers mark the lock of the dead process, and each then takes it and gives it back.
    loom::model(|| {
        let shared = Arc::new((RobustWord::new(), AtomicU32::new(0), AtomicU32::new(0)));
        let (word, inside, inherited) = &*shared;
        assert_eq!(word.attempt(DEAD), Attempt::Taken);
        let live = |own: u64, (word, inside, inherited): &(RobustWord, AtomicU32, AtomicU32)| {
            word.orphan(DEAD);
            match word.attempt(own) {
                Attempt::Held => return,
                Attempt::Inherited => assert_eq!(inherited.fetch_add(1, Ordering::Relaxed), 0),
                Attempt::Taken => {}
            }
            assert_eq!(inside.swap(1, Ordering::Relaxed), 0, "two holders at once");
            inside.store(0, Ordering::Relaxed);
            word.release();
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || live(2, &shared))
        };
        live(1, &shared);
        other.join().unwrap();
        assert_eq!(inherited.load(Ordering::Relaxed), 1);
        assert_eq!(inside.load(Ordering::Relaxed), 0);
        assert_eq!(word.attempt(3), Attempt::Taken);
    });
}

/// The hand-over past a queue's buffer (`queue::takers`): the lock of the waiters, the taker's ticket, and the
/// place where it waits for a value. The queue's lock is loom's: what is checked is the order around it.
mod hand_over {
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
}
