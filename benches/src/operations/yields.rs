//! Units of one worker that do nothing but give way to each other: nanoseconds for each yield.

use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "yield-2",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "yield, 2 coroutines, 1 worker",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(12.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 2) },
            Contender { name: "may", run: |scale| may(scale, 2) },
            Contender { name: "tokio", run: |scale| tokio(scale, 1, 2) },
            Contender { name: "tokio-single", run: |scale| tokio(scale, 0, 2) },
            Contender { name: "std", run: threads },
        ],
    },
    Group {
        name: "yield-1000",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "yield, 1,000 coroutines, 1 worker",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(25.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 1000) },
            Contender { name: "may", run: |scale| may(scale, 1000) },
            Contender { name: "tokio", run: |scale| tokio(scale, 1, 1000) },
            Contender { name: "tokio-single", run: |scale| tokio(scale, 0, 1000) },
        ],
    },
];

/// Yields of each unit, so that all together do at least `count`, scaled to `count` in the result.
fn scaled(count: u64, units: u64, run: impl FnOnce(u64) -> Duration) -> Duration {
    let each = count.div_ceil(units);
    run(each).mul_f64(count as f64 / (each * units) as f64)
}

fn ropewalk(scale: Scale, units: u64) -> Vec<f64> {
    peers::ropewalk(1, move || {
        let batch = |each| {
            let begin = Instant::now();
            let unit = move |_| ropewalk::spawn(move || (0..each).for_each(|_| ropewalk::yield_now()));
            ropewalk::join_all((0..units).map(unit));
            begin.elapsed()
        };
        vec![per_operation(scale, |count| scaled(count, units, batch))]
    })
}

fn may(scale: Scale, units: u64) -> Vec<f64> {
    peers::may(1, move || {
        let batch = |each| {
            let begin = Instant::now();
            let unit = |_| peers::may_spawn(move || (0..each).for_each(|_| may::coroutine::yield_now()));
            let handles: Vec<_> = (0..units).map(unit).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
            begin.elapsed()
        };
        vec![per_operation(scale, |count| scaled(count, units, batch))]
    })
}

fn tokio(scale: Scale, workers: usize, units: u64) -> Vec<f64> {
    let batch = move |each| {
        peers::tokio(workers, async move {
            let begin = Instant::now();
            let unit = |_| {
                tokio::spawn(async move {
                    for _ in 0..each {
                        tokio::task::yield_now().await;
                    }
                })
            };
            let handles: Vec<_> = (0..units).map(unit).collect();
            for handle in handles {
                handle.await.expect("it ends well");
            }
            begin.elapsed()
        })
    };
    vec![per_operation(scale, |count| scaled(count, units, batch))]
}

fn threads(scale: Scale) -> Vec<f64> {
    let batch = |each| {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || (0..each).for_each(|_| std::thread::yield_now()));
            }
        });
        begin.elapsed()
    };
    vec![per_operation(scale, |count| scaled(count, 2, batch))]
}
