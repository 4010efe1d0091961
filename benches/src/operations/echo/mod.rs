//! A TCP server that sends back what it gets: 64 bytes at a time, 50 connections, one request under way on
//! each. The server is a process of its own on one processor, the client (`client`) a raw epoll loop on
//! another; what counts is how many requests the server answers for each second of processor time.

mod client;
mod epoll;
mod servers;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel};
pub use servers::serve;

const SIZE: usize = 64;
const CONNECTIONS: usize = 50;

pub static GROUPS: &[Group] = &[Group {
    name: "echo",
    cpus: 2,
    rounds: 5,
    rows: &[
        Row {
            title: "TCP echo 64 B × 50: requests per CPU second",
            unit: Unit::Rate,
            targets: &[
                Target::AtLeastTimes(1.1, "tokio"),
                Target::AtLeastTimes(1.1, "may"),
                Target::AtLeastTimes(0.9, "epoll"),
            ],
        },
        Row { title: "TCP echo 64 B × 50: requests per second", unit: Unit::Rate, targets: &[] },
    ],
    contenders: &[
        Contender { name: "ropewalk", run: |scale| drive(scale, "ropewalk") },
        Contender { name: "may", run: |scale| drive(scale, "may") },
        Contender { name: "tokio", run: |scale| drive(scale, "tokio") },
        Contender { name: "tokio-single", run: |scale| drive(scale, "tokio-single") },
        Contender { name: "epoll", run: |scale| drive(scale, "epoll") },
    ],
}];

/// Starts the server, loads it, and asks it for its processor time before and after.
fn drive(scale: Scale, name: &str) -> Vec<f64> {
    let program = std::env::current_exe().expect("the program knows its path");
    let mut server = Command::new(program)
        .args(["--serve", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server starts");
    // From here on only this process: the server binds itself to the first processor.
    let processors = kernel::processors();
    kernel::pin(&processors[processors.len() - 1..]);
    let mut orders = server.stdin.take().expect("piped");
    let mut answers = BufReader::new(server.stdout.take().expect("piped")).lines();
    let mut answer = || -> u64 {
        let line = answers.next().expect("the server answers").expect("in text");
        line.parse().expect("with a number")
    };
    let port = answer();
    let mut client = client::Client::connect(port as u16);
    client.run(scale.pick(Duration::from_millis(300), Duration::from_millis(50)));
    let mut processor_time = || {
        writeln!(orders, "time").expect("the server listens");
        Duration::from_nanos(answer())
    };
    let before = processor_time();
    let begin = Instant::now();
    let requests = client.run(scale.pick(Duration::from_secs(1), Duration::from_millis(200)));
    let took = begin.elapsed();
    let used = processor_time() - before;
    drop(orders);
    server.wait().expect("the server ends");
    vec![requests as f64 / used.as_secs_f64(), requests as f64 / took.as_secs_f64()]
}
