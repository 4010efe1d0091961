//! Units that do nothing: spawned and joined one after another, and a million at once.

use std::time::Instant;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};
use crate::peers;

const LOOP: &[Target] = &[Target::AtMost(120.0)];
const LOOP_2: &[Target] = &[Target::AtMost(120.0), Target::TimesOwn(1.5, "spawn-join-1")];
const BURST: &[Target] = &[Target::AtMost(150.0)];

pub static GROUPS: &[Group] = &[
    Group {
        name: "spawn-join-1",
        cpus: 1,
        rounds: 9,
        rows: &[Row { title: "spawn + join in a loop, 1 worker", unit: Unit::Nanos, targets: LOOP }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk_loop(scale, 1) },
            Contender { name: "may", run: |scale| may_loop(scale, 1) },
            Contender { name: "tokio", run: |scale| tokio_loop(scale, 1) },
            Contender { name: "tokio-single", run: |scale| tokio_loop(scale, 0) },
            Contender { name: "std", run: thread_loop },
        ],
    },
    Group {
        name: "spawn-join-2",
        cpus: 2,
        rounds: 9,
        rows: &[Row { title: "spawn + join in a loop, 2 workers", unit: Unit::Nanos, targets: LOOP_2 }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk_loop(scale, 2) },
            Contender { name: "may", run: |scale| may_loop(scale, 2) },
            Contender { name: "tokio", run: |scale| tokio_loop(scale, 2) },
        ],
    },
    Group {
        name: "burst-1",
        cpus: 1,
        rounds: 5,
        rows: &[
            Row { title: "spawn 1,000,000, then join, 1 worker: first", unit: Unit::Nanos, targets: BURST },
            Row { title: "spawn 1,000,000, then join, 1 worker: warmed", unit: Unit::Nanos, targets: BURST },
        ],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk_burst(scale, 1) },
            Contender { name: "may", run: |scale| may_burst(scale, 1) },
            Contender { name: "tokio", run: |scale| tokio_burst(scale, 1) },
            Contender { name: "tokio-single", run: |scale| tokio_burst(scale, 0) },
        ],
    },
    Group {
        name: "burst-2",
        cpus: 2,
        rounds: 5,
        rows: &[
            Row { title: "spawn 1,000,000, then join, 2 workers: first", unit: Unit::Nanos, targets: BURST },
            Row { title: "spawn 1,000,000, then join, 2 workers: warmed", unit: Unit::Nanos, targets: BURST },
        ],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk_burst(scale, 2) },
            Contender { name: "may", run: |scale| may_burst(scale, 2) },
            Contender { name: "tokio", run: |scale| tokio_burst(scale, 2) },
        ],
    },
];

fn ropewalk_loop(scale: Scale, workers: usize) -> Vec<f64> {
    peers::ropewalk(workers, move || {
        let batch = |count| {
            let begin = Instant::now();
            for n in 0..count {
                assert_eq!(ropewalk::spawn(move || n).join().expect("it ends well"), n);
            }
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn may_loop(scale: Scale, workers: usize) -> Vec<f64> {
    peers::may(workers, move || {
        let batch = |count| {
            let begin = Instant::now();
            for n in 0..count {
                assert_eq!(peers::may_spawn(move || n).join().expect("it ends well"), n);
            }
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn tokio_loop(scale: Scale, workers: usize) -> Vec<f64> {
    let batch = move |count| {
        peers::tokio(workers, async move {
            let begin = Instant::now();
            for n in 0..count {
                assert_eq!(tokio::spawn(async move { n }).await.expect("it ends well"), n);
            }
            begin.elapsed()
        })
    };
    vec![per_operation(scale, batch)]
}

fn thread_loop(scale: Scale) -> Vec<f64> {
    let batch = |count| {
        let begin = Instant::now();
        for n in 0..count {
            assert_eq!(std::thread::spawn(move || n).join().expect("it ends well"), n);
        }
        begin.elapsed()
    };
    vec![per_operation(scale, batch)]
}

/// How many at once; and after how many bursts a runtime counts as warmed.
const BURST_SIZE: u64 = 1_000_000;
const BURSTS: usize = 4;

/// The first burst, and the best of those after it.
fn first_and_warmed(bursts: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut bursts = bursts.into_iter();
    let first = bursts.next().expect("there is a first one");
    vec![first, bursts.fold(f64::INFINITY, f64::min)]
}

fn ropewalk_burst(scale: Scale, workers: usize) -> Vec<f64> {
    let size = scale.pick(BURST_SIZE, BURST_SIZE / 10);
    peers::ropewalk(workers, move || {
        first_and_warmed((0..BURSTS).map(|_| {
            let begin = Instant::now();
            let handles: Vec<_> = (0..size).map(|n| ropewalk::spawn(move || n)).collect();
            let sum: u64 = handles.into_iter().map(|handle| handle.join().expect("it ends well")).sum();
            assert_eq!(sum, size * (size - 1) / 2);
            begin.elapsed().as_secs_f64() * 1e9 / size as f64
        }))
    })
}

fn may_burst(scale: Scale, workers: usize) -> Vec<f64> {
    let size = scale.pick(BURST_SIZE, BURST_SIZE / 10);
    peers::may(workers, move || {
        first_and_warmed((0..BURSTS).map(|_| {
            let begin = Instant::now();
            let handles: Vec<_> = (0..size).map(|n| peers::may_spawn(move || n)).collect();
            let sum: u64 = handles.into_iter().map(|handle| handle.join().expect("it ends well")).sum();
            assert_eq!(sum, size * (size - 1) / 2);
            begin.elapsed().as_secs_f64() * 1e9 / size as f64
        }))
    })
}

fn tokio_burst(scale: Scale, workers: usize) -> Vec<f64> {
    let size = scale.pick(BURST_SIZE, BURST_SIZE / 10);
    peers::tokio(workers, async move {
        let mut bursts = Vec::new();
        for _ in 0..BURSTS {
            let begin = Instant::now();
            let handles: Vec<_> = (0..size).map(|n| tokio::spawn(async move { n })).collect();
            let mut sum = 0;
            for handle in handles {
                sum += handle.await.expect("it ends well");
            }
            assert_eq!(sum, size * (size - 1) / 2);
            bursts.push(begin.elapsed().as_secs_f64() * 1e9 / size as f64);
        }
        first_and_warmed(bursts)
    })
}
