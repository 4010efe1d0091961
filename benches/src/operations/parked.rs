//! A million units that wait for something that does not come: what each occupies, pages and page tables,
//! and how long it takes to create one and have it wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel};
use crate::peers;

pub static GROUPS: &[Group] = &[Group {
    name: "parked",
    cpus: 1,
    rounds: 3,
    rows: &[
        Row { title: "1,000,000 parked: memory each", unit: Unit::KiB, targets: &[Target::AtMost(4.8)] },
        Row {
            title: "1,000,000 parked: creation of each",
            unit: Unit::Micros,
            targets: &[Target::AtMost(4.5)],
        },
    ],
    contenders: &[
        Contender { name: "ropewalk", run: |scale| ropewalk(scale, |_, never| never.wait()) },
        Contender { name: "ropewalk-park", run: |scale| ropewalk(scale, |_, _| ropewalk::park()) },
        Contender { name: "may", run: |scale| may(scale.pick(MANY, MANY / 10)) },
        Contender { name: "may-30,000", run: |_| may(30_000) },
        Contender { name: "tokio", run: tokio },
    ],
}];

const MANY: u64 = 1_000_000;

/// KiB and µs for each of `count` units that `create` makes, returning when all of them wait.
fn each(count: u64, create: impl FnOnce()) -> Vec<f64> {
    let (memory, begin) = (kernel::memory(), Instant::now());
    create();
    let took = begin.elapsed();
    let memory = kernel::memory() - memory;
    vec![memory as f64 / count as f64, took.as_secs_f64() * 1e6 / count as f64]
}

fn ropewalk(scale: Scale, wait: fn(u64, &ropewalk::sync::Event)) -> Vec<f64> {
    let count = scale.pick(MANY, MANY / 10);
    peers::ropewalk(1, move || {
        let shared =
            Arc::new((AtomicU64::new(0), ropewalk::sync::Event::new(), ropewalk::sync::Event::new()));
        each(count, || {
            for n in 0..count {
                let shared = Arc::clone(&shared);
                ropewalk::spawn(move || {
                    let (waiting, all, never) = &*shared;
                    // With one worker the next one to run finds this one waiting.
                    if waiting.fetch_add(1, Ordering::Relaxed) + 1 == count {
                        all.set();
                    }
                    wait(n, never);
                });
            }
            shared.1.wait();
        })
    })
}

fn may(count: u64) -> Vec<f64> {
    peers::may(1, move || {
        let waiting = Arc::new(AtomicU64::new(0));
        let all = Arc::new(may::sync::SyncFlag::new());
        each(count, || {
            for _ in 0..count {
                let (waiting, all) = (Arc::clone(&waiting), Arc::clone(&all));
                peers::may_spawn(move || {
                    if waiting.fetch_add(1, Ordering::Relaxed) + 1 == count {
                        all.fire();
                    }
                    may::coroutine::park();
                });
            }
            all.wait();
        })
    })
}

fn tokio(scale: Scale) -> Vec<f64> {
    let count = scale.pick(MANY, MANY / 10);
    peers::tokio(1, async move {
        let shared = Arc::new((AtomicU64::new(0), tokio::sync::Notify::new(), tokio::sync::Notify::new()));
        let (memory, begin) = (kernel::memory(), Instant::now());
        for _ in 0..count {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let (waiting, all, never) = &*shared;
                if waiting.fetch_add(1, Ordering::Relaxed) + 1 == count {
                    all.notify_one();
                }
                never.notified().await;
            });
        }
        shared.1.notified().await;
        let took = begin.elapsed();
        let memory = kernel::memory() - memory;
        vec![memory as f64 / count as f64, took.as_secs_f64() * 1e6 / count as f64]
    })
}
