//! One sends, one receives: nanoseconds for each message through a channel of capacity 128.

use std::time::Instant;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel, per_operation};
use crate::peers;

const CAPACITY: usize = 128;

pub static GROUPS: &[Group] = &[
    Group {
        name: "stream-1",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "channel stream, capacity 128, coroutines, 1 worker",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(35.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: ropewalk },
            // Its channels have no bound: the sender never waits.
            Contender { name: "may", run: may },
            Contender { name: "tokio", run: |scale| tokio(scale, 1) },
            Contender { name: "tokio-single", run: |scale| tokio(scale, 0) },
            Contender { name: "kanal+tokio", run: kanal },
            Contender { name: "flume+tokio", run: flume },
        ],
    },
    Group {
        name: "stream-threads",
        cpus: 2,
        rounds: 15,
        rows: &[Row {
            title: "channel stream, capacity 128, two threads",
            unit: Unit::Nanos,
            targets: &[Target::TimesBest(1.0, &["crossbeam", "kanal", "flume"])],
        }],
        contenders: &[
            Contender {
                name: "ropewalk",
                run: |scale| {
                    threads(scale, ropewalk::channel::bounded, |s, n| s.send(n).is_ok(), |r| r.recv().ok())
                },
            },
            Contender {
                name: "crossbeam",
                run: |scale| {
                    threads(scale, crossbeam_channel::bounded, |s, n| s.send(n).is_ok(), |r| r.recv().ok())
                },
            },
            Contender {
                name: "kanal",
                run: |scale| threads(scale, kanal::bounded, |s, n| s.send(n).is_ok(), |r| r.recv().ok()),
            },
            Contender {
                name: "flume",
                run: |scale| threads(scale, flume::bounded, |s, n| s.send(n).is_ok(), |r| r.recv().ok()),
            },
            Contender {
                name: "std",
                run: |scale| {
                    threads(scale, std::sync::mpsc::sync_channel, |s, n| s.send(n).is_ok(), |r| r.recv().ok())
                },
            },
        ],
    },
];

fn ropewalk(scale: Scale) -> Vec<f64> {
    peers::ropewalk(1, move || {
        let batch = |count| {
            let (sender, receiver) = ropewalk::channel::bounded(CAPACITY);
            let begin = Instant::now();
            ropewalk::spawn(move || (0..count).for_each(|n| sender.send(n).expect("the other receives")));
            assert_eq!(receiver.iter().map(|n: u64| n & 1).sum::<u64>(), count / 2);
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn may(scale: Scale) -> Vec<f64> {
    peers::may(1, move || {
        let batch = |count| {
            let (sender, receiver) = may::sync::mpsc::channel();
            let begin = Instant::now();
            peers::may_spawn(move || (0..count).for_each(|n| sender.send(n).expect("the other receives")));
            assert_eq!(receiver.iter().map(|n: u64| n & 1).sum::<u64>(), count / 2);
            begin.elapsed()
        };
        vec![per_operation(scale, batch)]
    })
}

fn tokio(scale: Scale, workers: usize) -> Vec<f64> {
    let batch = move |count| {
        peers::tokio(workers, async move {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
            let begin = Instant::now();
            tokio::spawn(async move {
                for n in 0..count {
                    sender.send(n).await.expect("the other receives");
                }
            });
            let mut sum = 0;
            while let Some(n) = receiver.recv().await {
                sum += n & 1;
            }
            assert_eq!(sum, count / 2);
            begin.elapsed()
        })
    };
    vec![per_operation(scale, batch)]
}

fn kanal(scale: Scale) -> Vec<f64> {
    let batch = move |count| {
        peers::tokio(1, async move {
            let (sender, receiver) = kanal::bounded_async(CAPACITY);
            let begin = Instant::now();
            tokio::spawn(async move {
                for n in 0..count {
                    sender.send(n).await.expect("the other receives");
                }
            });
            let mut sum = 0;
            while let Ok(n) = receiver.recv().await {
                sum += n & 1;
            }
            assert_eq!(sum, count / 2);
            begin.elapsed()
        })
    };
    vec![per_operation(scale, batch)]
}

fn flume(scale: Scale) -> Vec<f64> {
    let batch = move |count| {
        peers::tokio(1, async move {
            let (sender, receiver) = flume::bounded(CAPACITY);
            let begin = Instant::now();
            tokio::spawn(async move {
                for n in 0..count {
                    sender.send_async(n).await.expect("the other receives");
                }
            });
            let mut sum = 0;
            while let Ok(n) = receiver.recv_async().await {
                sum += n & 1;
            }
            assert_eq!(sum, count / 2);
            begin.elapsed()
        })
    };
    vec![per_operation(scale, batch)]
}

/// Two plain threads, each on a processor of its own, with whatever channel.
fn threads<S: Send, R: Send>(
    scale: Scale,
    channel: fn(usize) -> (S, R),
    send: fn(&S, u64) -> bool,
    receive: fn(&R) -> Option<u64>,
) -> Vec<f64> {
    let batch = |count| {
        let (sender, receiver) = channel(CAPACITY);
        std::thread::scope(|scope| {
            let send_all = move || {
                kernel::pin_thread(1);
                (0..count).for_each(|n| assert!(send(&sender, n)));
            };
            let receive_all = move || {
                kernel::pin_thread(0);
                // From the first message on: a thread's start is not part of the stream.
                assert_eq!(receive(&receiver), Some(0));
                let begin = Instant::now();
                let sum: u64 = std::iter::from_fn(|| receive(&receiver)).map(|n| n & 1).sum();
                assert_eq!(sum, count / 2);
                begin.elapsed()
            };
            scope.spawn(send_all);
            scope.spawn(receive_all).join().expect("it ends well")
        })
    };
    vec![per_operation(scale, batch)]
}
