//! Park and unpark: a token is never lost, and never counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ropewalk::coroutine::Handle;

use crate::harness::{Dice, Round, rounds};

/// One side: waits until the counter has its parity, moves it on, wakes the other.
fn rally(ball: &AtomicUsize, own: usize, other: &Handle, mut dice: Dice, end: usize) {
    loop {
        let now = ball.load(Ordering::Acquire);
        if now >= end {
            other.unpark();
            return;
        }
        if now % 2 == own {
            if dice.chance(4) {
                dice.nap();
            }
            assert_eq!(ball.fetch_add(1, Ordering::AcqRel), now);
            other.unpark();
        } else if dice.chance(3) {
            ropewalk::park_timeout(dice.micros(2_000));
        } else {
            ropewalk::park();
        }
    }
}

fn pairs(round: &Round) {
    let mut sides = Vec::new();
    let mut threads = Vec::new();
    for n in 0..6 {
        let ball = Arc::new(AtomicUsize::new(0));
        let (to_other, other) = std::sync::mpsc::channel::<Handle>();
        let (dice, balls) = (round.dice(n), Arc::clone(&ball));
        let (to_own, own) = std::sync::mpsc::channel::<Handle>();
        let first = move || {
            to_other.send(ropewalk::current()).unwrap();
            let other = own.recv().unwrap();
            rally(&balls, 0, &other, dice, 200);
        };
        let dice = round.dice(100 + n);
        let second = move |other: Handle| rally(&ball, 1, &other, dice, 200);
        if n % 3 == 0 {
            threads.push(thread::spawn(first));
        } else {
            // The coroutine learns of its partner before it starts: a blocking receive would hold its worker.
            let (to_first, partner) = ropewalk::channel::bounded::<Handle>(1);
            let (ball, dice) = (Arc::new(AtomicUsize::new(0)), round.dice(200 + n));
            let own_ball = Arc::clone(&ball);
            let a = round.spawn(move || rally(&own_ball, 0, &partner.recv().unwrap(), dice, 200));
            let (a_handle, dice) = (a.handle(), round.dice(300 + n));
            let b = round.spawn(move || rally(&ball, 1, &a_handle, dice, 200));
            to_first.send(b.handle()).unwrap();
            sides.extend([a, b]);
            continue;
        }
        let thread_handle = other.recv().unwrap();
        let coroutine = round.spawn(move || second(thread_handle));
        to_own.send(coroutine.handle()).unwrap();
        sides.push(coroutine);
    }
    sides.into_iter().for_each(|side| side.join().unwrap());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn tokens_pass_between_coroutines_and_threads() {
    rounds("parking", pairs);
}

fn one_token(round: &Round) {
    let mut dice = round.dice(0);
    let given = dice.below(5);
    let handle = round.spawn(move || {
        while !ropewalk::park_timeout(Duration::from_secs(60)) {}
        ropewalk::park_timeout(Duration::ZERO)
    });
    let go = handle.handle();
    (0..=given).for_each(|_| go.unpark());
    // The second token can only be there if the first was taken before the last was given.
    let second = handle.join().unwrap();
    assert!(given > 0 || !second);
}

#[test]
fn a_token_counts_once() {
    rounds("one token", one_token);
}
