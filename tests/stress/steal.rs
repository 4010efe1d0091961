//! Work stealing: a burst on one worker runs once each, wherever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use crate::harness::{Round, rounds};

fn one_source(round: &Round) {
    let dice = round.dice(0);
    let handle = round.spawn(move || {
        let mut dice = dice;
        let count = 500 + dice.below(1_500);
        let marks: Arc<Vec<AtomicU8>> = Arc::new((0..count).map(|_| AtomicU8::new(0)).collect());
        let left = Arc::new(AtomicUsize::new(count));
        let mut handles = Vec::new();
        for n in 0..count {
            let (marks, left, mut own) = (Arc::clone(&marks), Arc::clone(&left), dice.clone());
            (0..n % 7).for_each(|_| _ = own.next());
            let handle = ropewalk::spawn(move || {
                if own.chance(3) {
                    own.nap();
                }
                (0..own.below(300)).for_each(|_| std::hint::spin_loop());
                assert_eq!(marks[n].fetch_add(1, Ordering::Relaxed), 0, "task {n} ran twice");
                left.fetch_sub(1, Ordering::Release);
            });
            if dice.chance(4) {
                handles.push(handle)
            } else {
                drop(handle)
            }
            if dice.chance(100) {
                dice.nap();
            }
        }
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        while left.load(Ordering::Acquire) > 0 {
            ropewalk::yield_now();
        }
        assert!(marks.iter().all(|mark| mark.load(Ordering::Relaxed) == 1));
    });
    handle.join().unwrap();
}

#[test]
fn stolen_tasks_run_exactly_once() {
    rounds("steal", one_source);
}
