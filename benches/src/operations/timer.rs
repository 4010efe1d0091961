//! A deadline that is set and then not needed: what the timer structure costs, and what a wait costs more
//! with a deadline than without.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ropewalk::base::wheel::Wheel;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "timer-structure",
        cpus: 1,
        rounds: 7,
        rows: &[Row {
            title: "timer insert + cancel among 1,000",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(60.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: wheel },
            Contender { name: "tokio", run: tokio_sleep },
            Contender { name: "BTreeMap", run: tree },
        ],
    },
    Group {
        name: "timer-wait",
        cpus: 1,
        rounds: 7,
        rows: &[Row {
            title: "what a timeout adds to a receive that waits",
            unit: Unit::Nanos,
            targets: &[Target::AtMost(60.0)],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: ropewalk },
            Contender { name: "may", run: may },
            Contender { name: "tokio", run: tokio },
        ],
    },
];

const OTHERS: u64 = 1000;
const LONG: Duration = Duration::from_secs(10);

/// Deadlines between some milliseconds and a minute.
fn deadline(n: u64) -> u64 {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 28) % 60_000_000_000 + 5_000_000
}

fn repeated(scale: Scale, mut once: impl FnMut(u64)) -> Vec<f64> {
    let batch = |count| {
        let begin = Instant::now();
        (0..count).for_each(&mut once);
        begin.elapsed()
    };
    vec![per_operation(scale, batch)]
}

fn wheel(scale: Scale) -> Vec<f64> {
    let mut wheel = Wheel::new(0);
    for n in 0..OTHERS {
        wheel.insert(deadline(n + 7), [n; 2]);
    }
    repeated(scale, |n| {
        let key = wheel.insert(deadline(n), [n; 2]);
        assert!(wheel.remove(key));
    })
}

fn tree(scale: Scale) -> Vec<f64> {
    let mut tree: BTreeMap<(u64, u64), ()> = (0..OTHERS).map(|n| ((deadline(n + 7), n), ())).collect();
    repeated(scale, |n| {
        let key = (deadline(n), OTHERS + n);
        tree.insert(key, ());
        tree.remove(&key);
    })
}

/// A sleep that is polled once and dropped, as by a `select!` that something else has won.
fn tokio_sleep(scale: Scale) -> Vec<f64> {
    peers::tokio(1, async move {
        let begin = tokio::time::Instant::now();
        for n in 0..OTHERS {
            tokio::spawn(tokio::time::sleep(Duration::from_nanos(deadline(n + 7)) + LONG));
        }
        tokio::task::yield_now().await;
        let mut context = Context::from_waker(Waker::noop());
        repeated(scale, |n| {
            let sleep = pin!(tokio::time::sleep_until(begin + LONG + Duration::from_nanos(deadline(n))));
            assert!(sleep.poll(&mut context).is_pending());
        })
    })
}

/// The difference of two ways to go to and fro; both measured in turns, the best of each taken.
fn difference(
    scale: Scale,
    mut plain: impl FnMut(u64) -> Duration,
    mut timed: impl FnMut(u64) -> Duration,
) -> Vec<f64> {
    let mut best = [f64::INFINITY; 2];
    for _ in 0..3 {
        best[0] = best[0].min(per_operation(scale, &mut plain));
        best[1] = best[1].min(per_operation(scale, &mut timed));
    }
    vec![best[1] - best[0]]
}

fn ropewalk(scale: Scale) -> Vec<f64> {
    peers::ropewalk(1, move || {
        let (to, at_other) = ropewalk::channel::bounded(1);
        let (back, from) = ropewalk::channel::bounded(1);
        ropewalk::spawn(move || at_other.iter().for_each(|n: u64| back.send(n).expect("the other receives")));
        let trips = |receive: fn(&ropewalk::channel::Receiver<u64>) -> Option<u64>| {
            let (to, from) = (&to, &from);
            move |count| {
                let begin = Instant::now();
                for n in 0..count {
                    to.send(n).expect("the other receives");
                    assert_eq!(receive(from), Some(n));
                }
                begin.elapsed()
            }
        };
        difference(scale, trips(|from| from.recv().ok()), trips(|from| from.recv_timeout(LONG).ok()))
    })
}

fn may(scale: Scale) -> Vec<f64> {
    peers::may(1, move || {
        let (to, at_other) = may::sync::mpsc::channel();
        let (back, from) = may::sync::mpsc::channel();
        peers::may_spawn(move || {
            at_other.iter().for_each(|n: u64| back.send(n).expect("the other receives"))
        });
        let trips = |receive: fn(&may::sync::mpsc::Receiver<u64>) -> Option<u64>| {
            let (to, from) = (&to, &from);
            move |count| {
                let begin = Instant::now();
                for n in 0..count {
                    to.send(n).expect("the other receives");
                    assert_eq!(receive(from), Some(n));
                }
                begin.elapsed()
            }
        };
        difference(scale, trips(|from| from.recv().ok()), trips(|from| from.recv_timeout(LONG).ok()))
    })
}

fn tokio(scale: Scale) -> Vec<f64> {
    let trips = |timed: bool| {
        move |count| {
            peers::tokio(1, async move {
                let (to, mut at_other) = tokio::sync::mpsc::channel(1);
                let (back, mut from) = tokio::sync::mpsc::channel(1);
                tokio::spawn(async move {
                    while let Some(n) = at_other.recv().await {
                        back.send(n).await.expect("the other receives");
                    }
                });
                let begin = Instant::now();
                for n in 0..count {
                    to.send(n).await.expect("the other receives");
                    let came = if timed {
                        tokio::time::timeout(LONG, from.recv()).await.expect("in time")
                    } else {
                        from.recv().await
                    };
                    assert_eq!(came, Some(n));
                }
                begin.elapsed()
            })
        }
    };
    difference(scale, trips(false), trips(true))
}
