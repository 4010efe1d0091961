//! Two units of one worker that send a message to and fro: nanoseconds for each round trip.

use std::time::Instant;

use may::sync::mpsc as may_channel;
use ropewalk::channel;
use tokio::sync::mpsc as tokio_channel;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "ping-pong-1",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "channel ping-pong, capacity 1, 1 worker",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(80.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 1) },
            Contender { name: "may", run: may },
            Contender { name: "tokio", run: |scale| tokio(scale, 1) },
            Contender { name: "tokio-single", run: |scale| tokio(scale, 0) },
            Contender { name: "crossbeam", run: |scale| crossbeam(scale, 1) },
        ],
    },
    Group {
        name: "ping-pong-0",
        cpus: 1,
        rounds: 9,
        rows: &[Row { title: "channel ping-pong, capacity 0, 1 worker", unit: Unit::Nanos, targets: &[] }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 0) },
            Contender { name: "crossbeam", run: |scale| crossbeam(scale, 0) },
        ],
    },
];

fn ropewalk(scale: Scale, capacity: usize) -> Vec<f64> {
    peers::ropewalk(1, move || {
        let (to, at_other) = channel::bounded(capacity);
        let (back, from) = channel::bounded(capacity);
        ropewalk::spawn(move || at_other.iter().for_each(|n: u64| back.send(n).expect("the other receives")));
        let batch = |count| {
            let begin = Instant::now();
            for n in 0..count {
                to.send(n).expect("the other receives");
                assert_eq!(from.recv(), Ok(n));
            }
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn may(scale: Scale) -> Vec<f64> {
    peers::may(1, move || {
        let (to, at_other) = may_channel::channel();
        let (back, from) = may_channel::channel();
        peers::may_spawn(move || {
            at_other.iter().for_each(|n: u64| back.send(n).expect("the other receives"))
        });
        let batch = |count| {
            let begin = Instant::now();
            for n in 0..count {
                to.send(n).expect("the other receives");
                assert_eq!(from.recv(), Ok(n));
            }
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn tokio(scale: Scale, workers: usize) -> Vec<f64> {
    let batch = move |count| {
        peers::tokio(workers, async move {
            let (to, mut at_other) = tokio_channel::channel(1);
            let (back, mut from) = tokio_channel::channel(1);
            tokio::spawn(async move {
                while let Some(n) = at_other.recv().await {
                    back.send(n).await.expect("the other receives");
                }
            });
            let begin = Instant::now();
            for n in 0..count {
                to.send(n).await.expect("the other receives");
                assert_eq!(from.recv().await, Some(n));
            }
            begin.elapsed()
        })
    };
    vec![per_operation(scale, batch)]
}

/// Two threads on one processor.
fn crossbeam(scale: Scale, capacity: usize) -> Vec<f64> {
    let (to, at_other) = crossbeam_channel::bounded(capacity);
    let (back, from) = crossbeam_channel::bounded(capacity);
    std::thread::spawn(move || at_other.iter().for_each(|n: u64| back.send(n).expect("the other receives")));
    let batch = |count| {
        let begin = Instant::now();
        for n in 0..count {
            to.send(n).expect("the other receives");
            assert_eq!(from.recv(), Ok(n));
        }
        begin.elapsed()
    };
    vec![per_operation(scale, batch)]
}
