//! Skynet: a tree of units, ten below each, a million leaves. Each leaf sends its number up a channel, each
//! inner unit the sum of what it received. (The benchmark is by Alexander Temerev.)

use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

use may::sync::mpsc as may_channel;
use ropewalk::channel;
use tokio::sync::mpsc as tokio_channel;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "skynet-1",
        cpus: 1,
        rounds: 5,
        rows: &[Row {
            title: "skynet, 1,000,000, 1 worker",
            unit: Unit::Seconds,
            targets: &[Target::AtMost(0.25)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 1) },
            Contender { name: "may", run: |scale| may(scale, 1) },
            Contender { name: "tokio", run: |scale| tokio(scale, 1) },
            Contender { name: "tokio-single", run: |scale| tokio(scale, 0) },
        ],
    },
    Group {
        name: "skynet-2",
        cpus: 2,
        rounds: 5,
        rows: &[Row {
            title: "skynet, 1,000,000, 2 workers",
            unit: Unit::Seconds,
            targets: &[Target::AtMost(0.25)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| ropewalk(scale, 2) },
            Contender { name: "may", run: |scale| may(scale, 2) },
            Contender { name: "tokio", run: |scale| tokio(scale, 2) },
        ],
    },
];

const LEAVES: u64 = 1_000_000;
const RUNS: usize = 3;

fn leaves(scale: Scale) -> u64 {
    scale.pick(LEAVES, LEAVES / 10)
}

/// Seconds of the best run for a million leaves, and a check of the sum.
fn timed(leaves: u64, mut run: impl FnMut() -> u64) -> Vec<f64> {
    let once = |_| {
        let begin = Instant::now();
        assert_eq!(run(), leaves * (leaves - 1) / 2);
        begin.elapsed().as_secs_f64() * (LEAVES / leaves) as f64
    };
    vec![(0..RUNS).map(once).fold(f64::INFINITY, f64::min)]
}

fn ropewalk_unit(out: &channel::Sender<u64>, first: u64, size: u64) {
    if size == 1 {
        out.send(first).expect("the parent receives");
        return;
    }
    let (sender, receiver) = channel::bounded(10);
    for child in 0..10 {
        let (sender, part) = (sender.clone(), size / 10);
        ropewalk::spawn(move || ropewalk_unit(&sender, first + child * part, part));
    }
    let sum = (0..10).map(|_| receiver.recv().expect("the children send")).sum();
    out.send(sum).expect("the parent receives");
}

fn ropewalk(scale: Scale, workers: usize) -> Vec<f64> {
    let leaves = leaves(scale);
    peers::ropewalk(workers, move || {
        timed(leaves, || {
            let (sender, receiver) = channel::bounded(1);
            ropewalk::spawn(move || ropewalk_unit(&sender, 0, leaves));
            receiver.recv().expect("the root sends")
        })
    })
}

fn may_unit(out: &may_channel::Sender<u64>, first: u64, size: u64) {
    if size == 1 {
        out.send(first).expect("the parent receives");
        return;
    }
    let (sender, receiver) = may_channel::channel();
    for child in 0..10 {
        let (sender, part) = (sender.clone(), size / 10);
        peers::may_spawn(move || may_unit(&sender, first + child * part, part));
    }
    let sum = (0..10).map(|_| receiver.recv().expect("the children send")).sum();
    out.send(sum).expect("the parent receives");
}

fn may(scale: Scale, workers: usize) -> Vec<f64> {
    let leaves = leaves(scale);
    peers::may(workers, move || {
        timed(leaves, || {
            let (sender, receiver) = may_channel::channel();
            peers::may_spawn(move || may_unit(&sender, 0, leaves));
            receiver.recv().expect("the root sends")
        })
    })
}

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Boxed, because the type of a future cannot contain itself.
fn tokio_inner(out: tokio_channel::Sender<u64>, first: u64, size: u64) -> Boxed {
    Box::pin(tokio_unit(out, first, size))
}

async fn tokio_unit(out: tokio_channel::Sender<u64>, first: u64, size: u64) {
    if size == 1 {
        out.send(first).await.expect("the parent receives");
        return;
    }
    let (sender, mut receiver) = tokio_channel::channel(10);
    for child in 0..10 {
        let part = size / 10;
        tokio::spawn(tokio_inner(sender.clone(), first + child * part, part));
    }
    let mut sum = 0;
    for _ in 0..10 {
        sum += receiver.recv().await.expect("the children send");
    }
    out.send(sum).await.expect("the parent receives");
}

fn tokio(scale: Scale, workers: usize) -> Vec<f64> {
    let leaves = leaves(scale);
    timed(leaves, || {
        peers::tokio(workers, async move {
            let (sender, mut receiver) = tokio_channel::channel(1);
            tokio::spawn(tokio_unit(sender, 0, leaves));
            receiver.recv().await.expect("the root sends")
        })
    })
}
