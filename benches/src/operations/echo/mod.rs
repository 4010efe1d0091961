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

/// Servers in plain blocking code, on coroutines with hooks ("hooked" is ropewalk's figure) and on threads, beside others.
macro_rules! hooked {
    ($name:literal, $connections:literal, $text:literal) => {
        Group {
            name: $name,
            cpus: 2,
            rounds: 5,
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
                Row {
                    title: concat!("std::net echo × ", $text, ": kernel calls per request"),
                    unit: Unit::Count,
                    targets: &[Target::Times(1.1, "epoll")],
                },
            ],
            contenders: &[
                Contender { name: "hooked", run: |scale| measure(scale, "hooked", $connections) },
                Contender { name: "native", run: |scale| measure(scale, "native", $connections) },
                Contender { name: "threads", run: |scale| measure(scale, "threads", $connections) },
                Contender { name: "may", run: |scale| measure(scale, "may", $connections) },
                Contender { name: "tokio", run: |scale| measure(scale, "tokio", $connections) },
                Contender { name: "epoll", run: |scale| measure(scale, "epoll", $connections) },
                Contender { name: "gevent", run: |scale| measure(scale, "gevent", $connections) },
                Contender { name: "go", run: |scale| measure(scale, "go", $connections) },
            ],
        }
    };
}

pub static GROUPS: &[Group] = &[
    Group {
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
    client.run(scale.pick(Duration::from_millis(300), Duration::from_millis(50)));
    let (before, begin) = (kernel::processor_time(server.id()), Instant::now());
    let requests = client.run(scale.pick(Duration::from_secs(1), Duration::from_millis(200)));
    let (took, used) = (begin.elapsed(), kernel::processor_time(server.id()) - before);
    server.kill().expect("it runs");
    server.wait().expect("it was this process's child");
    [used, took].map(|time| requests as f64 / time.as_secs_f64())
}

/// Kernel calls that the server makes for each request, of all its threads.
fn calls(scale: Scale, name: &str, connections: usize) -> f64 {
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
    calls.unwrap_or(f64::NAN)
}

fn measure(scale: Scale, name: &str, connections: usize) -> Vec<f64> {
    let [per_time_used, per_time] = rates(scale, name, connections);
    vec![per_time_used, per_time, calls(scale, name, connections)]
}
