//! A thousand fetches at once from a server that takes 100 ms for each: connect, ask, read to the end. The server is a
//! process of its own, the client has one processor, and for runtimes one worker.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Target, Unit, kernel};
use crate::peers;

const COUNT: usize = 1000;
const DELAY: Duration = Duration::from_millis(100);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
const END: &[u8] = b"here it is\n";

pub static GROUPS: &[Group] = &[Group {
    name: "fetch",
    cpus: 2,
    rounds: 7,
    rows: &[Row {
        title: "1,000 fetches from a server that takes 100 ms",
        unit: Unit::Seconds,
        targets: &[Target::AtMost(0.2), Target::Times(1.0, "gevent"), Target::Times(1.0, "threads")],
    }],
    contenders: &[
        Contender { name: "hooked", run: |_| with_server(|port| peers::ropewalk(1, move || hooked(port))) },
        Contender { name: "native", run: |_| with_server(|port| peers::ropewalk(1, move || native(port))) },
        Contender { name: "threads", run: |_| with_server(threads) },
        Contender { name: "tokio", run: |_| with_server(|port| peers::tokio(1, tokio(port))) },
        Contender { name: "gevent", run: |_| with_server(|port| foreign("gevent", port)) },
        Contender { name: "go", run: |_| with_server(|port| foreign("go", port)) },
    ],
}];

/// The server: the same for all.
pub fn serve() -> ExitCode {
    peers::ropewalk(1, || {
        let listener = ropewalk::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        println!("{}", listener.local_addr().expect("it is bound").port());
        while let Ok((mut stream, _)) = listener.accept() {
            ropewalk::spawn(move || {
                let mut request = [0; 256];
                let mut come = 0;
                while !request[..come].ends_with(b"\r\n\r\n") {
                    match stream.read(&mut request[come..]) {
                        Ok(count) if count > 0 => come += count,
                        _ => return,
                    }
                }
                ropewalk::coroutine::sleep(DELAY);
                // A client that has gone is seen by itself.
                let _ = stream.write_all(&[b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", END].concat());
            });
        }
    });
    ExitCode::SUCCESS
}

/// Runs `client` on the first processor with a server on the last; its seconds.
fn with_server(client: impl FnOnce(u16) -> Duration) -> Vec<f64> {
    kernel::allow_many_files();
    let processors = kernel::processors();
    kernel::pin(&processors[processors.len() - 1..]);
    let program = std::env::current_exe().expect("the program knows its path");
    let mut command = Command::new(program);
    let mut server =
        command.args(["--serve", "slow"]).stdout(Stdio::piped()).spawn().expect("the server starts");
    kernel::pin(&processors[..1]);
    let mut line = String::new();
    BufReader::new(server.stdout.take().expect("piped")).read_line(&mut line).expect("the server answers");
    let took = client(line.trim().parse().expect("with its port"));
    server.kill().expect("it runs");
    server.wait().expect("it was this process's child");
    vec![took.as_secs_f64()]
}

/// What every client does, on sockets of its own.
fn fetch(mut stream: impl Read + Write) {
    stream.write_all(REQUEST).expect("the server lives");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server lives");
    assert!(answer.ends_with(END), "the server sends something else");
}

fn fetch_std(port: u16) {
    fetch(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens"));
}

fn on_coroutines(one: impl Fn() + Copy + Send + 'static) -> Duration {
    let begin = Instant::now();
    let done = ropewalk::join_all((0..COUNT).map(|_| ropewalk::spawn(one)));
    let took = begin.elapsed();
    done.into_iter().for_each(|done| done.expect("it ends well"));
    took
}

fn hooked(port: u16) -> Duration {
    ropewalk::monkey::patch_all().expect("the functions arrive");
    on_coroutines(move || fetch_std(port))
}

fn native(port: u16) -> Duration {
    let connect = move || ropewalk::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    on_coroutines(move || fetch(connect().expect("the server listens")))
}

fn threads(port: u16) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| (0..COUNT).for_each(|_| drop(scope.spawn(|| fetch_std(port)))));
    begin.elapsed()
}

async fn tokio(port: u16) -> Duration {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let begin = Instant::now();
    let one = move || async move {
        let connected = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
        let mut stream = connected.expect("the server listens");
        stream.write_all(REQUEST).await.expect("the server lives");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("the server lives");
        assert!(answer.ends_with(END), "the server sends something else");
    };
    let all: Vec<_> = (0..COUNT).map(|_| tokio::spawn(one())).collect();
    for one in all {
        one.await.expect("it ends well");
    }
    begin.elapsed()
}

/// The peer measures itself, once it has started.
fn foreign(name: &str, port: u16) -> Duration {
    let mut command = peers::foreign(name, &["fetch", &port.to_string(), &COUNT.to_string()]);
    let done = command.stderr(Stdio::inherit()).output().expect("the peer starts");
    assert!(done.status.success(), "{name} fails");
    let text = String::from_utf8(done.stdout).expect("it is text");
    Duration::from_secs_f64(text.trim().parse().expect("it is a number"))
}
