//! The words that processes share: the event, and the lock whose holder may have died.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use ropewalk::base::event_word::EventWord;

/// The kernel's futex, as a model: sleepers on one word.
#[derive(Default)]
struct Kernel {
    /// Sleeping, and of those how many are woken.
    sleepers: loom::sync::Mutex<(u32, u32)>,
    woken: loom::sync::Condvar,
}

impl Kernel {
    fn wait(&self, event: &EventWord, key: u32) {
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
                        event.wake_one(|count| kernel.wake(count));
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

/// What the other parties do after a party has been killed between the store that clears the sleepers' bit and
/// the wake in the kernel.
fn a_killed_waker(after: fn(&EventWord, &Kernel)) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        // (event, kernel, items): one takes an item, and sleeps while there is none.
        let shared = Arc::new((EventWord::new(), Kernel::default(), AtomicU32::new(0)));
        let killed = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (event, ..) = &*shared;
                if event.has_sleepers() {
                    event.begin_wake();
                }
            })
        };
        let putter = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (event, kernel, items) = &*shared;
                items.fetch_add(1, Ordering::Release);
                after(event, kernel);
            })
        };
        let (event, kernel, items) = &*shared;
        loop {
            let key = event.prepare();
            if items.load(Ordering::Acquire) == 1 {
                break;
            }
            kernel.wait(event, key);
        }
        killed.join().unwrap();
        putter.join().unwrap();
        // The next party to wake all leaves nothing behind but what a sleeper has set.
        event.wake_all(|count| kernel.wake(count));
        assert!(!event.has_sleepers());
    });
}

#[test]
fn a_waker_killed_before_it_wakes_takes_no_later_wake_of_one_along() {
    a_killed_waker(|event, kernel| {
        if event.has_sleepers() {
            event.wake_one(|count| kernel.wake(count));
        }
    });
}

#[test]
fn a_waker_killed_before_it_wakes_takes_no_later_wake_of_all_along() {
    a_killed_waker(|event, kernel| {
        if event.has_sleepers() {
            event.wake_all(|count| kernel.wake(count));
        }
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
