//! Ten thousand connections to a plain `std::net` echo server of coroutines on one worker.
//!
//! The clients are another process, this program again, so that a limit on descriptors holds for each side alone. Half of
//! the clients are coroutines, half are plain sockets of one thread.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};

use common::on_one_worker;
use ropewalk::spawn;

const WANTED: usize = 10_000;
/// Descriptors that both sides have besides.
const SPARE: usize = 100;
const ROUNDS: usize = 2;

/// Raises the limit on descriptors to what the process may have, and tells how many connections fit.
fn most() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
    assert!(raised, "the limit on descriptors cannot be raised to its own maximum");
    (limit.rlim_cur as usize).saturating_sub(SPARE).min(WANTED)
}

fn exchange(stream: &mut TcpStream, number: usize) {
    for round in 0..ROUNDS {
        let sent = (number ^ round).to_le_bytes();
        stream.write_all(&sent).unwrap();
        let mut back = [0; 8];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
    }
}

/// The other process: all connections are open before the first byte is sent, and stay so until the last came back.
fn clients(address: SocketAddr, count: usize) {
    most();
    let all_open = Arc::new(Barrier::new(count / 2 + 1));
    let all_done = Arc::new(Barrier::new(count / 2 + 1));
    let client = |number: usize| {
        let (all_open, all_done) = (Arc::clone(&all_open), Arc::clone(&all_done));
        spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            all_open.wait();
            exchange(&mut stream, number);
            all_done.wait();
        })
    };
    let coroutines: Vec<_> = (0..count / 2).map(client).collect();
    let mut plain: Vec<_> = (count / 2..count).map(|_| TcpStream::connect(address).unwrap()).collect();
    all_open.wait();
    for (number, stream) in plain.iter_mut().enumerate() {
        exchange(stream, number);
    }
    all_done.wait();
    drop(plain);
    coroutines.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn ten_thousand_connections_are_open_at_once() {
    if let Ok(told) = std::env::var("ROPEWALK_CONNECT") {
        let (address, count) = told.split_once(' ').unwrap();
        let (address, count) = (address.parse().unwrap(), count.parse().unwrap());
        ropewalk::monkey::patch_all().unwrap();
        return common::watched(move || common::runtime(1).run(move || clients(address, count)));
    }
    let count = most();
    if count < WANTED {
        println!(
            "skipped in part: {count} of {WANTED} connections, the hard limit on descriptors allows no more"
        );
    }
    let served = on_one_worker(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // std asks for a queue of 128, which a burst overruns.
        // SAFETY: takes numbers.
        unsafe { libc::listen(listener.as_raw_fd(), 4096) };
        let address = listener.local_addr().unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["ten_thousand_connections_are_open_at_once", "--exact", "--nocapture"])
            .env("ROPEWALK_CONNECT", format!("{address} {count}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let echo = |mut stream: TcpStream| {
            let (mut buffer, mut bytes) = ([0; 64], 0);
            while let n @ 1.. = stream.read(&mut buffer).unwrap() {
                stream.write_all(&buffer[..n]).unwrap();
                bytes += n;
            }
            bytes
        };
        // All are accepted before the first is given a coroutine, so that they are open at the same time for sure.
        let streams: Vec<_> = listener.incoming().take(count).map(Result::unwrap).collect();
        let servers: Vec<_> = streams.into_iter().map(|stream| spawn(move || echo(stream))).collect();
        let bytes: usize = servers.into_iter().map(|server| server.join().unwrap()).sum();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "the clients: {}", output.status);
        bytes
    });
    assert_eq!(served, count * ROUNDS * 8);
    println!("{count} connections");
}
