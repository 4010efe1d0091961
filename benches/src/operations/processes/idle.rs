//! A pool of two processes that have worked, and one more process that waits for a message: processor time and
//! wake-ups of all of them while nothing happens.

use std::thread;
use std::time::Duration;

use ropewalk::process::{Pool, Process, Queue, children};

use super::python;
use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel};

const SETTLE: Duration = Duration::from_secs(1);
const WATCHED: Duration = Duration::from_secs(3);

pub static GROUPS: &[Group] = &[Group {
    name: "processes-idle",
    cpus: 2,
    rounds: 2,
    rows: &[
        Row {
            title: "idle processes (pool, queue): processor time",
            unit: Unit::Percent,
            targets: &[Target::AtMost(0.0)],
        },
        Row {
            title: "idle processes (pool, queue): wake-ups in 3 s",
            unit: Unit::Count,
            targets: &[Target::AtMost(0.0)],
        },
    ],
    contenders: &[
        Contender { name: "ropewalk", run: ropewalk },
        Contender { name: "python-pool", run: |_| python::measure("idle-pool", &seconds()) },
        Contender { name: "python-futures", run: |_| python::measure("idle-futures", &seconds()) },
    ],
}];

fn seconds() -> [usize; 2] {
    [SETTLE, WATCHED].map(|time| time.as_secs() as usize)
}

fn ropewalk(_: Scale) -> Vec<f64> {
    let pool = Pool::new(2).expect("it starts");
    pool.map(|n: i64| -n, 0..1000).expect("all is well");
    let queue = Queue::<u64>::bounded(1).expect("a queue");
    let waiting = Process::spawn(|queue: Queue<u64>| queue.get().is_ok(), queue.clone()).expect("it starts");
    // This side waits as well: a thread for a message, another one for a result.
    let own = Queue::<u64>::bounded(1).expect("a queue");
    let never = pool.apply_async(|()| thread::park(), ()).expect("it is open");
    thread::spawn(move || own.get().is_ok());
    thread::spawn(move || never.wait());
    thread::sleep(SETTLE);
    let pids: Vec<u32> = children().into_iter().map(|child| child.pid).collect();
    assert_eq!(pids.len(), 3);
    let look = || {
        let others = pids.iter().map(|pid| kernel::usage_of(*pid));
        others.fold((kernel::time_of_others(), kernel::sleeps_of_others()), |sum, other| {
            (sum.0 + other.0, sum.1 + other.1)
        })
    };
    let before = look();
    thread::sleep(WATCHED);
    let after = look();
    let time = after.0.saturating_sub(before.0);
    waiting.kill().expect("it can be killed");
    vec![time.as_secs_f64() * 100.0 / WATCHED.as_secs_f64(), (after.1 - before.1) as f64]
}
