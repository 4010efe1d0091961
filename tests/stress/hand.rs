//! Hand-resumed coroutines inside scheduled ones: what waits inside suspends the scheduled one, and a
//! cancellation unwinds both.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ropewalk::coroutine::{Boost, Coroutine, DefaultSwitch, State, Switch};
use ropewalk::sync::Mutex;

use crate::harness::{Dice, Round, rounds};

struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn generator<S: Switch>(
    live: &Arc<AtomicUsize>,
    lock: &Arc<Mutex<u64>>,
    mut dice: Dice,
) -> Coroutine<u64, u64, (), S> {
    let (live, lock) = (Arc::clone(live), Arc::clone(lock));
    Coroutine::new(move |out, mut input| {
        let _outer = Live::new(&live);
        loop {
            let _inner = Live::new(&live);
            match dice.below(4) {
                0 => dice.nap(),
                1 => {
                    let mut guard = lock.lock();
                    dice.nap();
                    *guard += 1;
                }
                2 => {
                    let nested = generator_of_three();
                    assert_eq!(nested.sum::<u64>(), 3);
                }
                _ => (),
            }
            input = out.suspend(input + 1);
        }
    })
}

fn generator_of_three() -> Coroutine<(), u64> {
    Coroutine::new(|out, ()| {
        for n in 0..3 {
            ropewalk::yield_now();
            out.suspend(n);
        }
    })
}

fn victim<S: Switch>(live: &Arc<AtomicUsize>, lock: &Arc<Mutex<u64>>, dice: &mut Dice) {
    let mut all: Vec<_> = (0..3).map(|_| generator::<S>(live, lock, dice.clone())).collect();
    for n in 0..50 {
        let at = dice.below(all.len());
        if dice.chance(12) {
            // Dropped while it is suspended, or before it has started.
            all[at] = generator::<S>(live, lock, dice.clone());
        }
        assert_eq!(all[at].resume(n), State::Yielded(n + 1));
        dice.nap();
    }
}

fn nested(round: &Round) {
    let (live, lock) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0)));
    let (counted, locked) = (Arc::clone(&live), Arc::clone(&lock));
    round.storm(12, move |n, mut dice| {
        loop {
            if n % 2 == 0 {
                victim::<DefaultSwitch>(&counted, &locked, &mut dice);
            } else {
                victim::<Boost>(&counted, &locked, &mut dice);
            }
        }
    });
    assert_eq!(live.load(Ordering::Relaxed), 0, "every frame was left");
    assert!(lock.try_lock().is_some());
}

#[test]
fn coroutines_by_hand_live_and_end_inside_scheduled_ones() {
    rounds("hand", nested);
}
