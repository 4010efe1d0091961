//! Deadlines that race with wakes: exactly one of them wins, and nothing is lost to the loser.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ropewalk::channel;
use ropewalk::queue::Queue;
use ropewalk::sync::{Event, Mutex, Semaphore};

use crate::harness::{Dice, Round, rounds};

/// A deadline near the moment at which the other side acts.
fn near(dice: &mut Dice) -> Duration {
    dice.micros(250)
}

fn takers(round: &Round) {
    let (queue, permits, lock) =
        (Arc::new(Queue::unbounded()), Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0usize)));
    let (sender, receiver) = channel::bounded(0);
    let (taken, sent) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut handles = Vec::new();
    for n in 0..8 {
        let (queue, permits, lock) = (Arc::clone(&queue), Arc::clone(&permits), Arc::clone(&lock));
        let (receiver, taken, mut dice) = (receiver.clone(), Arc::clone(&taken), round.dice(n));
        handles.push(round.spawn(move || {
            let mut sum = 0;
            let (mut items, mut tokens) = (0, 0);
            while items < 20 || tokens < 20 {
                let limit = near(&mut dice);
                let item = if dice.chance(2) {
                    ropewalk::timeout(limit, || queue.get()).ok()
                } else {
                    Some(queue.get_timeout(limit))
                };
                if let Some(Ok(value)) = item {
                    items += 1;
                    sum += value;
                }
                let limit = near(&mut dice);
                if ropewalk::timeout(limit, || permits.acquire()).is_ok() {
                    tokens += 1;
                }
                let limit = near(&mut dice);
                if let Ok(Ok(())) = ropewalk::timeout(limit, || receiver.recv()) {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                let limit = near(&mut dice);
                let _ = ropewalk::timeout(limit, || {
                    let mut guard = lock.lock();
                    *guard += 1;
                    ropewalk::sleep(limit / 2);
                    *guard -= 1;
                });
                *lock.lock() = 0;
                // What was not needed goes on to the others.
                if items > 20 {
                    items -= 1;
                    queue.put(0usize).unwrap();
                }
                if tokens > 20 {
                    tokens -= 1;
                    permits.release().unwrap();
                }
            }
            sum
        }));
    }
    drop(receiver);
    let (own, counted, mut dice) = (sender, Arc::clone(&sent), round.dice(99));
    let sending = round.spawn(move || {
        let mut left = own;
        loop {
            let limit = near(&mut dice);
            match left.send_timeout((), limit) {
                Ok(()) => drop(counted.fetch_add(1, Ordering::Relaxed)),
                Err(error) if error.is_disconnected() => return,
                Err(_) => (),
            }
            left = left.clone();
        }
    });
    let mut dice = round.dice(100);
    for n in 1..=160 {
        queue.put(n).unwrap();
        permits.release().unwrap();
        if dice.chance(4) {
            std::thread::sleep(near(&mut dice));
        }
    }
    let sum: usize = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
    sending.join().unwrap();
    assert!(queue.is_empty() && permits.available() == 0);
    assert_eq!(sum, 160 * 161 / 2, "each value was taken once");
    assert_eq!(taken.load(Ordering::Relaxed), sent.load(Ordering::Relaxed));
}

#[test]
fn a_deadline_takes_nothing_with_it() {
    rounds("timeouts", takers);
}

fn one_winner(round: &Round) {
    let mut dice = round.dice(0);
    for _ in 0..20 {
        let event = Arc::new(Event::new());
        let waiters: Vec<_> = (0..4)
            .map(|n| {
                let (event, limit) = (Arc::clone(&event), near(&mut dice));
                round.spawn(move || match n % 2 {
                    0 => event.wait_timeout(limit),
                    _ => ropewalk::timeout(limit, || event.wait()).is_ok(),
                })
            })
            .collect();
        std::thread::sleep(near(&mut dice));
        event.set();
        waiters.into_iter().for_each(|waiter| _ = waiter.join().unwrap());
    }
}

#[test]
fn a_wait_ends_once_whoever_is_first() {
    rounds("one winner", one_winner);
}

fn nested(round: &Round) {
    let handles: Vec<_> = (0..8)
        .map(|n| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                for _ in 0..10 {
                    let (outer, inner) = (near(&mut dice), near(&mut dice));
                    let mut inner_result = None;
                    let outer_result = ropewalk::timeout(outer, || {
                        inner_result = Some(ropewalk::timeout(inner, || {
                            ropewalk::sleep(Duration::from_secs(3_600));
                        }));
                        ropewalk::sleep(Duration::from_secs(3_600));
                    });
                    assert!(outer_result.is_err(), "the outer deadline always comes");
                    assert!(inner_result.is_none_or(|result| result.is_err()));
                }
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn nested_deadlines_each_end_their_own_part() {
    rounds("nested timeouts", nested);
}
