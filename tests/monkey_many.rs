//! As many connections as the limit on descriptors allows, up to ten thousand, to a plain echo server of coroutines.
//!
//! Client and server are one process, so each connection takes two descriptors.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier};

use common::on_one_worker;
use ropewalk::spawn;

/// Connections that fit, with some descriptors to spare.
fn most() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the place lives through the call.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: as above.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } == 0;
    assert!(raised, "the limit on descriptors cannot be raised to its own maximum");
    ((limit.rlim_cur as usize).saturating_sub(200) / 2).min(10_000)
}

#[test]
fn ten_thousand_connections_are_open_at_once() {
    let count = most();
    println!("{count} connections");
    on_one_worker(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // std asks for a queue of 128, which a burst overruns.
        // SAFETY: takes numbers.
        unsafe { libc::listen(listener.as_raw_fd(), 4096) };
        let address = listener.local_addr().unwrap();
        spawn(move || {
            for stream in listener.incoming().take(count) {
                let mut stream = stream.unwrap();
                spawn(move || {
                    let mut buffer = [0; 64];
                    while let Ok(n @ 1..) = stream.read(&mut buffer) {
                        stream.write_all(&buffer[..n]).unwrap();
                    }
                });
            }
        });
        let all_open = Arc::new(Barrier::new(count));
        let client = |n: usize| {
            let all_open = Arc::clone(&all_open);
            spawn(move || {
                // One port is good for some 28,000 connections from each address.
                let mut stream = TcpStream::connect(address).unwrap();
                all_open.wait();
                for round in 0..2usize {
                    let sent = (n ^ round).to_le_bytes();
                    stream.write_all(&sent).unwrap();
                    let mut back = [0; 8];
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(back, sent);
                }
            })
        };
        let clients: Vec<_> = (0..count).map(client).collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
}
