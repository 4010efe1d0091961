//! Coroutines and plain threads on the same primitives.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ropewalk::channel;
use ropewalk::queue::Queue;
use ropewalk::sync::{Barrier, Condvar, Event, Mutex, ReentrantMutex, RwLock, Semaphore, WaitGroup};

use crate::harness::{Alone, Dice, Round, rounds};

/// Runs `f` on four coroutines and on two threads at once.
fn on_both(round: &Round, f: impl Fn(usize, Dice) + Clone + Send + 'static) {
    let threads: Vec<_> = (0..2)
        .map(|n| {
            let (f, dice) = (f.clone(), round.dice(1_000 + n));
            thread::spawn(move || f(4 + n, dice))
        })
        .collect();
    let coroutines: Vec<_> = (0..4)
        .map(|n| {
            let (f, dice) = (f.clone(), round.dice(n));
            round.spawn(move || f(n, dice))
        })
        .collect();
    coroutines.into_iter().for_each(|handle| handle.join().unwrap());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

struct Locks {
    mutex: Mutex<usize>,
    reentrant: ReentrantMutex<Cell<usize>>,
    rw: RwLock<usize>,
    inside: [AtomicUsize; 3],
}

fn locks(round: &Round) {
    let all = Arc::new(Locks {
        mutex: Mutex::new(0),
        reentrant: ReentrantMutex::new(Cell::new(0)),
        rw: RwLock::new(0),
        inside: Default::default(),
    });
    let own = Arc::clone(&all);
    on_both(round, move |_, mut dice| {
        for _ in 0..40 {
            {
                let mut guard = own.mutex.lock();
                let _alone = Alone::enter(&own.inside[0]);
                *guard += 1;
                if dice.chance(8) {
                    dice.nap();
                }
            }
            {
                let guard = own.reentrant.lock();
                let again = own.reentrant.lock();
                again.set(guard.get() + 1);
                if dice.chance(8) {
                    dice.nap();
                }
            }
            if dice.chance(4) {
                let mut guard = own.rw.write();
                let _alone = Alone::enter(&own.inside[1]);
                *guard += 4;
                dice.nap();
            } else {
                assert_eq!(*own.rw.read() % 4, 0);
            }
            if dice.chance(4) {
                let guard = own.mutex.lock_timeout(dice.micros(100));
                assert!(guard.is_none_or(|guard| *guard <= 240));
            }
        }
    });
    assert_eq!(*all.mutex.lock(), 240);
    assert_eq!(all.reentrant.lock().get(), 240);
}

#[test]
fn locks_are_held_by_one_coroutine_or_thread() {
    rounds("mixed locks", locks);
}

fn meetings(round: &Round) {
    let barrier = Arc::new(Barrier::new(6));
    let (leaders, phase) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (own, led, at) = (Arc::clone(&barrier), Arc::clone(&leaders), Arc::clone(&phase));
    on_both(round, move |_, mut dice| {
        for turn in 0..10 {
            assert_eq!(at.load(Ordering::Acquire), turn);
            if dice.chance(3) {
                dice.nap();
            }
            if own.wait().unwrap().is_leader() {
                led.fetch_add(1, Ordering::Relaxed);
                at.store(turn + 1, Ordering::Release);
            }
            own.wait().unwrap();
        }
    });
    // Each turn has two meetings; only the first one's leader moves the phase on.
    assert_eq!((leaders.load(Ordering::Relaxed), phase.load(Ordering::Relaxed)), (10, 10));

    let event = Arc::new((Event::new(), WaitGroup::new(), AtomicUsize::new(0)));
    event.1.add(5);
    let own = Arc::clone(&event);
    on_both(round, move |n, mut dice| {
        let (event, group, woken) = &*own;
        if n == 4 {
            assert!(group.wait_timeout(Duration::from_secs(60)), "five have come");
            dice.nap();
            event.set();
        } else {
            dice.nap();
            group.done();
            event.wait();
            woken.fetch_add(1, Ordering::Relaxed);
        }
    });
    assert_eq!(event.2.load(Ordering::Relaxed), 5);
}

#[test]
fn coroutines_and_threads_meet() {
    rounds("mixed meetings", meetings);
}

fn conditions(round: &Round) {
    let shared = Arc::new((Mutex::new((0usize, 0usize)), Condvar::new(), Semaphore::new(2)));
    let own = Arc::clone(&shared);
    on_both(round, move |n, mut dice| {
        let (state, changed, permits) = &*own;
        for _ in 0..30 {
            let _permit = dice.chance(3).then(|| permits.permit());
            // Makers and takers in equal numbers: one of each kind is a thread.
            if n % 2 == 0 {
                state.lock().0 += 1;
                changed.notify_one();
            } else {
                drop(_permit);
                let mut guard = changed.wait_while(state.lock(), |(made, taken)| made == taken);
                guard.1 += 1;
            }
        }
    });
    assert_eq!(*shared.0.lock(), (90, 90));
    assert_eq!(shared.2.available(), 2);
}

#[test]
fn conditions_wake_coroutines_and_threads() {
    rounds("mixed conditions", conditions);
}

fn pipes(round: &Round) {
    let queue = Arc::new(Queue::bounded(3));
    let (sender, receiver) = channel::bounded(round.dice(0).below(3));
    let sums = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (own, received) = (Arc::clone(&queue), Arc::clone(&sums));
    on_both(round, move |n, mut dice| {
        for at in 1..=40 {
            if n % 2 == 0 {
                own.put(at).unwrap();
                sender.send(at).unwrap();
            } else {
                received.0.fetch_add(own.get().unwrap(), Ordering::Relaxed);
                received.1.fetch_add(receiver.recv().unwrap(), Ordering::Relaxed);
            }
            if dice.chance(6) {
                dice.nap();
            }
        }
    });
    let expected = 3 * 40 * 41 / 2;
    assert_eq!((sums.0.load(Ordering::Relaxed), sums.1.load(Ordering::Relaxed)), (expected, expected));
    assert!(queue.is_empty());
}

#[test]
fn queues_and_channels_join_coroutines_and_threads() {
    rounds("mixed pipes", pipes);
}
