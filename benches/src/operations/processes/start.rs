//! One process after another that does nothing: microseconds from the start to the end that was waited for.

use std::time::Instant;

use ropewalk::process::{Process, StartMethod};

use super::{python, raw};
use crate::harness::{Contender, Group, Row, Scale, Target, Unit};

pub static GROUPS: &[Group] = &[Group {
    name: "process-start",
    cpus: 2,
    rounds: 5,
    rows: &[Row {
        title: "process: start + join",
        unit: Unit::Micros,
        targets: &[Target::AtMost(600.0), Target::Times(0.5, "python-fork")],
    }],
    contenders: &[
        Contender { name: "ropewalk", run: |scale| ropewalk(scale, StartMethod::Zygote) },
        Contender { name: "ropewalk-exec", run: |scale| ropewalk(scale, StartMethod::Exec) },
        Contender { name: "ropewalk-warm", run: warm },
        Contender { name: "fork", run: |scale| micros(scale, 200, || raw::fork(|| ()).join()) },
        Contender { name: "python-fork", run: |scale| python::measure("start-fork", &[scale.pick(100, 20)]) },
        Contender {
            name: "python-forkserver",
            run: |scale| python::measure("start-forkserver", &[scale.pick(30, 5)]),
        },
        Contender { name: "procspawn", run: procspawn },
    ],
}];

/// The best of some batches of starts, each.
fn micros(scale: Scale, count: u32, one: impl Fn()) -> Vec<f64> {
    let count = scale.pick(count, count / 5);
    let batch = || {
        let begin = Instant::now();
        (0..count).for_each(|_| one());
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(count)
    };
    batch();
    vec![(0..3).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}

fn ropewalk(scale: Scale, method: StartMethod) -> Vec<f64> {
    micros(scale, 200, || {
        let child = Process::builder().start_method(method).spawn(|n: i32| -n, 1).expect("it starts");
        assert_eq!(child.join().expect("it ends well"), -1);
    })
}

/// Taken from processes that wait, which are replaced meanwhile: the starts are still paid, but not waited for.
fn warm(scale: Scale) -> Vec<f64> {
    let warm = Process::builder().warm(8).expect("they start");
    micros(scale, 200, || {
        let child = warm.spawn(|n: i32| -n, 1).expect("it starts");
        assert_eq!(child.join().expect("it ends well"), -1);
    })
}

fn procspawn(scale: Scale) -> Vec<f64> {
    micros(scale, 50, || {
        assert_eq!(procspawn::spawn(1, |n: i32| -n).join().expect("it ends well"), -1);
    })
}
