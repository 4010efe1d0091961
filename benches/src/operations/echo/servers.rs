//! The servers, each as its users would write it.
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use super::epoll::Epoll;
use crate::peers;

const BUFFER: usize = 4096;

/// The process of a server: prints its port, and serves until it is killed.
pub fn serve(name: &str) -> ExitCode {
    match name {
        "ropewalk" | "native" => ropewalk(),
        "hooked" => hooked(),
        "threads" => accept(|serve| drop(thread::spawn(serve))),
        "may" => may(),
        "tokio" => tokio(1),
        "tokio-single" => tokio(0),
        "epoll" => epoll(),
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

/// Where a server listens: at a port that is free.
const ADDRESS: &str = "127.0.0.1:0";

/// Tells the client where.
fn announce(address: io::Result<SocketAddr>) {
    println!("{}", address.expect("it is bound").port());
}

/// Plain blocking code: what `spawn` starts for each connection.
fn accept(spawn: impl Fn(Box<dyn FnOnce() + Send>)) {
    let listener = TcpListener::bind(ADDRESS).expect("a port is free");
    announce(listener.local_addr());
    while let Ok((mut stream, _)) = listener.accept() {
        spawn(Box::new(move || {
            let mut buffer = [0; BUFFER];
            while let Ok(count) = stream.read(&mut buffer) {
                if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
        }));
    }
}

/// The same as with threads, on coroutines.
fn hooked() {
    ropewalk::monkey::patch_all().expect("the functions arrive");
    peers::ropewalk(1, || accept(|serve| drop(ropewalk::spawn(serve))));
}

fn ropewalk() {
    peers::ropewalk(1, move || {
        let listener = ropewalk::net::TcpListener::bind(ADDRESS).expect("a port is free");
        announce(listener.local_addr());
        while let Ok((mut stream, _)) = listener.accept() {
            ropewalk::spawn(move || {
                let mut buffer = [0; BUFFER];
                while let Ok(count) = stream.read(&mut buffer) {
                    if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn may() {
    peers::may(1, move || {
        let listener = may::net::TcpListener::bind(ADDRESS).expect("a port is free");
        announce(listener.local_addr());
        while let Ok((mut stream, _)) = listener.accept() {
            peers::may_spawn(move || {
                let mut buffer = [0; BUFFER];
                while let Ok(count) = stream.read(&mut buffer) {
                    if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn tokio(workers: usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    peers::tokio(workers, async move {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await.expect("a port is free");
        announce(listener.local_addr());
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER];
                while let Ok(count) = stream.read(&mut buffer).await {
                    if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

/// One loop, no units at all: what the kernel calls alone cost.
fn epoll() {
    let listener = TcpListener::bind(ADDRESS).expect("a port is free");
    announce(listener.local_addr());
    let mut epoll = Epoll::new();
    epoll.add(&listener, 0);
    let mut connections: Vec<Option<TcpStream>> = vec![None];
    let mut buffer = [0; BUFFER];
    loop {
        for key in epoll.wait(-1).collect::<Vec<_>>() {
            if key == 0 {
                let (stream, _) = listener.accept().expect("there is a connection");
                epoll.add(&stream, connections.len());
                connections.push(Some(stream));
                continue;
            }
            let Some(stream) = &mut connections[key] else { continue };
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
                _ => connections[key] = None,
            }
        }
    }
}
