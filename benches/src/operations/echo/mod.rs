//! A TCP server that sends back what it gets: 64 bytes at a time, one request under way on each connection. The
//! server is a process of its own on one processor, the client (`client`) a raw epoll loop on another; what counts
//! is how many requests the server answers for each second of processor time.

mod client;
mod epoll;
mod servers;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, count_calls_of, kernel};
use crate::peers;
use client::Client;
pub use servers::serve;

const SIZE: usize = 64;

/// One contender for each server; servers in plain blocking code, on coroutines with hooks ("hooked" is ropewalk's
/// figure) and on threads, beside others.
macro_rules! each_server {
    ($measure:ident, $connections:literal: $($name:literal)*) => {
        &[$(Contender { name: $name, run: |scale| $measure(scale, $name, $connections).to_vec() }),*]
    };
    ($measure:ident, $connections:literal) => {
        each_server!(
            $measure, $connections: "hooked" "native" "threads" "may" "tokio" "epoll" "gevent" "go"
        )
    };
}

/// Many rounds: how fast the same code is differs by more from minute to minute than the contenders do.
macro_rules! hooked {
    ($name:literal, $connections:literal, $text:literal) => {
        Group {
            name: $name,
            cpus: 2,
            rounds: 15,
            rows: &[
                Row {
                    title: concat!("std::net echo × ", $text, ": requests per CPU second"),
                    unit: Unit::Rate,
                    targets: &[
                        Target::AtLeastTimes(0.9, "native"),
                        Target::AtLeastTimes(1.0, "tokio"),
                        Target::AtLeastTimes(1.0, "go"),
                        Target::AtLeastTimes(5.0, "gevent"),
                    ],
                },
                Row {
                    title: concat!("std::net echo × ", $text, ": requests per second"),
                    unit: Unit::Rate,
                    targets: &[],
                },
            ],
            contenders: each_server!(rates, $connections),
        }
    };
}

/// What the servers of `hooked` call the kernel for: counted apart, because counting takes its time.
macro_rules! hooked_calls {
    ($name:literal, $connections:literal, $text:literal) => {
        Group {
            name: $name,
            cpus: 2,
            rounds: 3,
            rows: &[Row {
                title: concat!("std::net echo × ", $text, ": kernel calls per request"),
                unit: Unit::Count,
                targets: &[Target::Times(1.1, "epoll")],
            }],
            contenders: each_server!(calls, $connections),
        }
    };
}

pub static GROUPS: &[Group] = &[
    Group {
        name: "echo",
        cpus: 2,
        rounds: 15,
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
            Contender { name: "ropewalk", run: |scale| rates(scale, "ropewalk", 50).to_vec() },
            Contender { name: "may", run: |scale| rates(scale, "may", 50).to_vec() },
            Contender { name: "tokio", run: |scale| rates(scale, "tokio", 50).to_vec() },
            Contender { name: "tokio-single", run: |scale| rates(scale, "tokio-single", 50).to_vec() },
            Contender { name: "epoll", run: |scale| rates(scale, "epoll", 50).to_vec() },
        ],
    },
    hooked!("echo-hooked-1", 1, "1"),
    hooked!("echo-hooked-50", 50, "50"),
    hooked!("echo-hooked-1000", 1000, "1,000"),
    hooked_calls!("echo-hooked-calls-1", 1, "1"),
    hooked_calls!("echo-hooked-calls-50", 50, "50"),
    hooked_calls!("echo-hooked-calls-1000", 1000, "1,000"),
];

/// Starts a server on the first processor, and moves this process to the last; the server's port.
fn start(name: &str) -> (Child, u16) {
    kernel::allow_many_files();
    let mut command = match name {
        "gevent" | "go" => peers::foreign(name, &["serve"]),
        _ => {
            let mut own = Command::new(std::env::current_exe().expect("the program knows its path"));
            own.args(["--serve", name]);
            own
        }
    };
    let processors = kernel::processors();
    kernel::pin(&processors[..1]);
    let mut server = command.stdout(Stdio::piped()).spawn().expect("the server starts");
    kernel::pin(&processors[processors.len() - 1..]);
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("the server answers");
    (server, line.trim().parse().expect("with its port"))
}

/// Requests that the server answers per second of its processor time, and per second.
fn rates(scale: Scale, name: &str, connections: usize) -> [f64; 2] {
    let (mut server, port) = start(name);
    let mut client = Client::connect(port, connections);
    client.run(scale.pick(Duration::from_millis(100), Duration::from_millis(50)));
    let (before, begin) = (kernel::processor_time(server.id()), Instant::now());
    let requests = client.run(scale.pick(Duration::from_millis(300), Duration::from_millis(150)));
    let (took, used) = (begin.elapsed(), kernel::processor_time(server.id()) - before);
    server.kill().expect("it runs");
    server.wait().expect("it was this process's child");
    [used, took].map(|time| requests as f64 / time.as_secs_f64())
}

/// Kernel calls that the server makes for each request, of all its threads.
fn calls(scale: Scale, name: &str, connections: usize) -> [f64; 1] {
    let (server, port) = start(name);
    let calls = count_calls_of(server.id(), |counter| {
        let mut client = Client::connect(port, connections);
        client.run(Duration::from_millis(50));
        let mut requests = 0;
        let calls = counter.count(|| {
            requests = client.run(scale.pick(Duration::from_millis(300), Duration::from_millis(50)))
        });
        calls / requests as f64
    });
    [calls.unwrap_or(f64::NAN)]
}
