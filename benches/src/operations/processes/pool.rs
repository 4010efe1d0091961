//! A pool of two processes whose workers are warm: one task after another, and very many at once.

use std::time::Instant;

use ropewalk::process::Pool;

use super::python;
use crate::harness::{Contender, Group, Row, Scale, Target, Unit};

const WORKERS: usize = 2;
const BATCH: usize = 100_000;
/// concurrent.futures takes too long for the whole batch; a task costs it the same in a smaller one.
const FUTURES: usize = 20_000;

pub static GROUPS: &[Group] = &[
    Group {
        name: "pool-trip",
        cpus: 2,
        rounds: 5,
        rows: &[Row {
            title: "process pool: round trip of a task",
            unit: Unit::Micros,
            targets: &[
                Target::AtMost(70.0),
                Target::Times(0.2, "python-pool"),
                Target::Times(0.2, "python-futures"),
            ],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| trip(scale, 0) },
            // Pauses let the workers fall asleep: two wakes across processors are part of each trip.
            Contender { name: "ropewalk-asleep", run: |scale| trip(scale, 2000) },
            Contender {
                name: "python-pool",
                run: |scale| python::measure("trip-pool", &[scale.pick(2000, 300)]),
            },
            Contender {
                name: "python-futures",
                run: |scale| python::measure("trip-futures", &[scale.pick(2000, 300)]),
            },
            Contender { name: "procspawn", run: procspawn },
        ],
    },
    Group {
        name: "pool-batch",
        cpus: 2,
        rounds: 5,
        rows: &[Row {
            title: "process pool: 100,000 small tasks, each",
            unit: Unit::Micros,
            targets: &[Target::AtMost(1.5), Target::Times(0.2, "python-pool")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: batch },
            Contender { name: "ropewalk-map", run: map },
            Contender {
                name: "python-pool",
                run: |scale| python::measure("batch-pool", &[scale.pick(BATCH, BATCH / 10)]),
            },
            Contender {
                name: "python-futures",
                run: |scale| python::measure("batch-futures", &[scale.pick(FUTURES, FUTURES / 10)]),
            },
        ],
    },
];

fn pool() -> Pool {
    let pool = Pool::new(WORKERS).expect("it starts");
    pool.map(|n: i64| -n, 0..100).expect("all is well");
    pool
}

fn trip(scale: Scale, pause: u64) -> Vec<f64> {
    let pool = pool();
    let count = scale.pick(2000, 300);
    let batch = || {
        let mut took = 0.0;
        for n in 0..count {
            if pause > 0 {
                std::thread::sleep(std::time::Duration::from_micros(pause));
            }
            let begin = Instant::now();
            assert_eq!(pool.apply(|n: i64| -n, n).expect("all is well"), -n);
            took += begin.elapsed().as_secs_f64();
        }
        took * 1e6 / count as f64
    };
    vec![(0..if pause > 0 { 1 } else { 3 }).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}

fn batch(scale: Scale) -> Vec<f64> {
    let pool = pool();
    let count = scale.pick(BATCH, BATCH / 10) as i64;
    let batch = || {
        let begin = Instant::now();
        let tasks: Vec<_> =
            (0..count).map(|n| pool.apply_async(|n: i64| -n, n).expect("it is open")).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.get().expect("all is well"), -n);
        }
        begin.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    vec![(0..3).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}

fn map(scale: Scale) -> Vec<f64> {
    let pool = pool();
    let count = scale.pick(BATCH, BATCH / 10) as i64;
    let batch = || {
        let begin = Instant::now();
        let values = pool.map(|n: i64| -n, 0..count).expect("all is well");
        assert!(values.into_iter().eq((0..count).map(|n| -n)));
        begin.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    vec![(0..3).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}

fn procspawn(scale: Scale) -> Vec<f64> {
    let pool = procspawn::Pool::new(WORKERS).expect("it starts");
    let count = scale.pick(1000, 200);
    let batch = || {
        let begin = Instant::now();
        for n in 0..count {
            assert_eq!(procspawn::spawn!(in pool, (n) || -n).join().expect("all is well"), -n);
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    };
    batch();
    vec![(0..3).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}
