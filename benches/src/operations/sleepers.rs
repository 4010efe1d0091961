//! A million units asleep: how late those whose time comes run on.
//!
//! At rest, every tenth is due within five seconds, 20,000 in each of them, and the rest an hour later; in
//! the rush all are due within these five seconds. Deadlines begin only when all of them sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "sleepers",
        cpus: 2,
        rounds: 2,
        rows: &[
            Row {
                title: "1,000,000 sleepers, 20,000 due a second: p50 late",
                unit: Unit::Micros,
                targets: &[],
            },
            Row {
                title: "1,000,000 sleepers, 20,000 due a second: p99 late",
                unit: Unit::Micros,
                targets: &[Target::AtMost(1000.0)],
            },
            Row { title: "1,000,000 sleepers, 20,000 due a second: most", unit: Unit::Micros, targets: &[] },
        ],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 10) },
            Contender { name: "tokio", run: |scale| tokio(scale, 10) },
        ],
    },
    Group {
        name: "rush",
        cpus: 2,
        rounds: 2,
        rows: &[
            Row {
                title: "1,000,000 sleepers, 200,000 due a second: p50 late",
                unit: Unit::Micros,
                targets: &[],
            },
            Row {
                title: "1,000,000 sleepers, 200,000 due a second: p99 late",
                unit: Unit::Micros,
                targets: &[],
            },
            Row { title: "1,000,000 sleepers, 200,000 due a second: most", unit: Unit::Micros, targets: &[] },
        ],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 1) },
            Contender { name: "tokio", run: |scale| tokio(scale, 1) },
        ],
    },
];

/// Between the deadlines that are watched and those of the other sleepers.
const LATER: Duration = Duration::from_secs(3600);

/// What all sleepers share.
struct Dormitory {
    count: u64,
    /// One of so many is due in the time that is watched.
    one_of: u64,
    begin: Instant,
    spread: Duration,
    /// Microseconds by which each was late that was due.
    late: Vec<AtomicU32>,
    left: AtomicU64,
}

impl Dormitory {
    fn new(scale: Scale, one_of: u64) -> Self {
        let count = scale.pick(1_000_000, 100_000);
        let begin = Instant::now() + scale.pick(Duration::from_secs(7), Duration::from_secs(1));
        let spread = scale.pick(Duration::from_secs(5), Duration::from_millis(500));
        let due = count / one_of;
        let late = (0..due).map(|_| AtomicU32::new(0)).collect();
        Self { count, one_of, begin, spread, late, left: AtomicU64::new(due) }
    }

    /// Neighbours in time were not created one after another.
    fn deadline(&self, n: u64) -> Instant {
        if !n.is_multiple_of(self.one_of) {
            return self.begin + LATER;
        }
        let share = (n * 7919 % self.count) as f64 / self.count as f64;
        self.begin + self.spread.mul_f64(share)
    }

    fn falls_asleep(&self) {
        assert!(Instant::now() < self.begin, "creation took longer than there is time for it");
    }

    /// Notes how late number `n` is; true for the last one.
    fn wakes_up(&self, n: u64) -> bool {
        let late = Instant::now().duration_since(self.deadline(n));
        // Relaxed: read after the last one has told so.
        self.late[(n / self.one_of) as usize].store(late.as_micros() as u32, Ordering::Relaxed);
        // AcqRel: the last one has seen what all others noted.
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    fn figures(&self) -> Vec<f64> {
        let mut late: Vec<u32> = self.late.iter().map(|late| late.load(Ordering::Relaxed)).collect();
        late.sort_unstable();
        let at = |share: f64| f64::from(late[((late.len() - 1) as f64 * share) as usize]);
        vec![at(0.5), at(0.99), at(1.0)]
    }
}

fn ropewalk(scale: Scale, one_of: u64) -> Vec<f64> {
    peers::ropewalk(2, move || {
        let dormitory = Arc::new(Dormitory::new(scale, one_of));
        let done = Arc::new(ropewalk::sync::Event::new());
        for n in 0..dormitory.count {
            let (dormitory, done) = (Arc::clone(&dormitory), Arc::clone(&done));
            ropewalk::spawn(move || {
                dormitory.falls_asleep();
                ropewalk::coroutine::sleep_until(dormitory.deadline(n));
                if dormitory.wakes_up(n) {
                    done.set();
                }
            });
        }
        done.wait();
        dormitory.figures()
    })
}

fn tokio(scale: Scale, one_of: u64) -> Vec<f64> {
    peers::tokio(2, async move {
        let dormitory = Arc::new(Dormitory::new(scale, one_of));
        let done = Arc::new(tokio::sync::Notify::new());
        for n in 0..dormitory.count {
            let (dormitory, done) = (Arc::clone(&dormitory), Arc::clone(&done));
            tokio::spawn(async move {
                dormitory.falls_asleep();
                tokio::time::sleep_until(dormitory.deadline(n).into()).await;
                if dormitory.wakes_up(n) {
                    done.notify_one();
                }
            });
        }
        done.notified().await;
        dormitory.figures()
    })
}
