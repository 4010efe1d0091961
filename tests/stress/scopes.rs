//! Scopes: whatever happens to parent and children, none of them outlives what it borrows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Dice, Round, ended, hush, rounds};

/// Marks a frame that children borrow.
struct Frame(AtomicUsize);

impl Drop for Frame {
    fn drop(&mut self) {
        assert_eq!(*self.0.get_mut(), 0, "a child is alive after its scope");
    }
}

struct Inside<'a>(&'a Frame);

impl<'a> Inside<'a> {
    fn new(frame: &'a Frame) -> Self {
        frame.0.fetch_add(1, Ordering::Relaxed);
        Self(frame)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn nested(dice: &mut Dice, depth: usize) -> usize {
    let frame = Frame(AtomicUsize::new(0));
    let mut sums = vec![0; 1 + dice.below(4)];
    let expected = sums.len();
    ropewalk::scope(|s| {
        for (n, sum) in sums.iter_mut().enumerate() {
            let inside = Inside::new(&frame);
            let mut dice = dice.clone();
            (0..=n).for_each(|_| _ = dice.next());
            s.spawn(move || {
                let _inside = inside;
                dice.nap();
                *sum = if depth == 0 { 1 } else { nested(&mut dice, depth - 1).min(1) };
            });
        }
        dice.nap();
    });
    assert_eq!(sums.iter().sum::<usize>(), expected);
    expected
}

fn trees(round: &Round) {
    round.storm(12, |_, mut dice| {
        loop {
            nested(&mut dice, 2);
            ropewalk::yield_now();
        }
    });
}

#[test]
fn a_scope_waits_for_its_children_even_if_its_parent_is_cancelled() {
    rounds("scopes", trees);
}

fn panics(round: &Round) {
    let mut dice = round.dice(0);
    let handle = round.spawn(move || {
        let frame = Frame(AtomicUsize::new(0));
        let count = AtomicUsize::new(0);
        let bad = dice.chance(3);
        let result = catch_unwind(AssertUnwindSafe(|| {
            ropewalk::scope(|s| {
                for n in 0..6 {
                    let (inside, mut dice, count) = (Inside::new(&frame), dice.clone(), &count);
                    let handle = s.spawn(move || {
                        let _inside = inside;
                        dice.nap();
                        if bad && n == 3 {
                            std::panic::resume_unwind(Box::new("on purpose"));
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                        ropewalk::sleep(dice.micros(100));
                    });
                    if n == 5 {
                        handle.cancel();
                        let _ = ended(handle.join());
                    }
                }
            });
        }));
        assert_eq!(result.is_err(), bad);
        assert!(count.into_inner() >= 4);
    });
    handle.join().unwrap();
    // From a plain thread as well.
    let sum = Arc::new(AtomicUsize::new(0));
    let mut parts = [1usize; 16];
    ropewalk::scope(|s| {
        for part in &mut parts {
            let sum = Arc::clone(&sum);
            s.spawn(move || sum.fetch_add(std::mem::take(part), Ordering::Relaxed));
        }
    });
    assert_eq!((sum.load(Ordering::Relaxed), parts), (16, [0; 16]));
}

#[test]
fn a_scope_reports_a_panic_after_all_children_have_ended() {
    hush("scope panics");
    rounds("scope panics", panics);
}
