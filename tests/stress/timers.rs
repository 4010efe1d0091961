//! Timers: never early, never forgotten, gone when their wait is.

use std::time::{Duration, Instant};

use crate::harness::{Round, ended, rounds};

fn sleepers(round: &Round) {
    let mut dice = round.dice(999);
    let handles: Vec<_> = (0..60)
        .map(|n| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                for _ in 0..4 {
                    let limit = match dice.below(4) {
                        0 => Duration::ZERO,
                        1 => Duration::from_nanos(1 + dice.below(900) as u64),
                        _ => dice.micros(3_000),
                    };
                    let began = Instant::now();
                    if dice.chance(2) {
                        ropewalk::sleep(limit);
                    } else {
                        assert!(!ropewalk::park_timeout(limit));
                    }
                    assert!(began.elapsed() >= limit, "{:?} of {limit:?}", began.elapsed());
                }
            })
        })
        .collect();
    // Long sleeps that end at once when cancelled; far ones that must not overflow.
    let long: Vec<_> = (0..20)
        .map(|n| {
            let far = if n % 2 == 0 { Duration::MAX } else { Duration::from_secs(1 << n) };
            round.spawn(move || ropewalk::sleep(far))
        })
        .collect();
    for handle in long {
        dice.nap();
        handle.cancel();
        assert!(ended(handle.join()).is_none());
    }
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn sleepers_wake_not_early_and_all() {
    rounds("timers", sleepers);
}

fn tickers(round: &Round) {
    use ropewalk::channel;
    let handles: Vec<_> = (0..8)
        .map(|n| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                let (period, began) = (Duration::from_micros(50 + dice.below(400) as u64), Instant::now());
                let ticks = channel::tick(period);
                for _ in 0..5 {
                    assert!(ticks.recv().unwrap() >= began);
                }
                assert!(began.elapsed() >= period * 5);
                let after = channel::after(period);
                let began = Instant::now();
                after.recv().unwrap();
                let mut interval = ropewalk::time::interval(period);
                (0..3).for_each(|_| _ = interval.tick());
                assert!(began.elapsed() >= period * 2);
            })
        })
        .collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn tickers_keep_their_period() {
    rounds("tickers", tickers);
}
