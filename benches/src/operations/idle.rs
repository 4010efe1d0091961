//! A runtime that has worked, and now has nothing to do but to wait for a connection that does not come:
//! processor time and wake-ups of all its threads.

use std::thread;
use std::time::Duration;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel};
use crate::peers;

pub static GROUPS: &[Group] = &[Group {
    name: "idle",
    cpus: 2,
    rounds: 2,
    rows: &[
        Row {
            title: "idle, 2 workers: processor time",
            unit: Unit::Percent,
            targets: &[Target::AtMost(0.0)],
        },
        Row { title: "idle, 2 workers: wake-ups in 3 s", unit: Unit::Count, targets: &[Target::AtMost(0.0)] },
    ],
    contenders: &[
        Contender { name: "ropewalk", run: ropewalk },
        Contender { name: "may", run: may },
        Contender { name: "tokio", run: tokio },
    ],
}];

const SETTLE: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(3);
const UNITS: usize = 1000;

/// Watches the other threads of the process, which by now have nothing to do.
fn watch(_: Scale) -> Vec<f64> {
    thread::sleep(SETTLE);
    let (time, sleeps) = (kernel::time_of_others(), kernel::sleeps_of_others());
    thread::sleep(WATCHED);
    let time = kernel::time_of_others() - time;
    let sleeps = kernel::sleeps_of_others() - sleeps;
    vec![time.as_secs_f64() * 100.0 / WATCHED.as_secs_f64(), sleeps as f64]
}

fn ropewalk(scale: Scale) -> Vec<f64> {
    peers::ropewalk(2, || {
        ropewalk::join_all((0..UNITS).map(|_| ropewalk::spawn(ropewalk::yield_now)));
        let listener = ropewalk::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        ropewalk::spawn(move || listener.accept().map(|_| ()));
    });
    watch(scale)
}

fn may(scale: Scale) -> Vec<f64> {
    peers::may(2, || {
        let handles: Vec<_> = (0..UNITS).map(|_| peers::may_spawn(may::coroutine::yield_now)).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
        let listener = may::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        peers::may_spawn(move || listener.accept().map(|_| ()));
    });
    watch(scale)
}

fn tokio(scale: Scale) -> Vec<f64> {
    peers::tokio(2, async {
        let handles: Vec<_> = (0..UNITS).map(|_| tokio::spawn(tokio::task::yield_now())).collect();
        for handle in handles {
            handle.await.expect("it ends well");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        tokio::spawn(async move { listener.accept().await.map(|_| ()) });
    });
    watch(scale)
}
