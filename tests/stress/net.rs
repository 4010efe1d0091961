//! Sockets: echoes with many connections, and closing under a read.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use ropewalk::net::{TcpListener, TcpStream, UdpSocket, UnixStream};

use crate::harness::{Round, rounds};

fn echoes(round: &Round) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let own = Arc::clone(&listener);
    let server = round.spawn(move || {
        while let Ok((stream, _)) = own.accept() {
            ropewalk::spawn(move || {
                let mut buffer = [0; 512];
                while let Ok(count @ 1..) = (&stream).read(&mut buffer) {
                    (&stream).write_all(&buffer[..count]).unwrap();
                }
            });
        }
    });
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                let stream = TcpStream::connect(address).unwrap();
                let reading = stream.try_clone().unwrap();
                let total = 500 + dice.below(60_000);
                // Written and read by two coroutines at once.
                let reader = ropewalk::spawn(move || {
                    let mut all = Vec::new();
                    (&reading).read_to_end(&mut all).unwrap();
                    all
                });
                let sent: Vec<u8> = (0..total).map(|n| (n % 253) as u8).collect();
                for part in sent.chunks(1 + dice.below(9_000)) {
                    (&stream).write_all(part).unwrap();
                    dice.nap();
                }
                stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(reader.join().unwrap(), sent);
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    listener.close();
    server.join().unwrap();
}

#[test]
fn many_echoes_arrive_whole() {
    rounds("net echoes", echoes);
}

fn closes(round: &Round) {
    let mut dice = round.dice(0);
    for _ in 0..6 {
        let (near, far) = UnixStream::pair().unwrap();
        let (near, far) = (Arc::new(near), Arc::new(far));
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let near = Arc::clone(&near);
                round.spawn(move || {
                    let mut buffer = [0; 64];
                    loop {
                        match (&*near).read(&mut buffer) {
                            Ok(0) => return "end",
                            Ok(_) => (),
                            Err(_) => return "error",
                        }
                    }
                })
            })
            .collect();
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        let own = Arc::clone(&socket);
        let datagrams = round.spawn(move || {
            let mut buffer = [0; 64];
            while own.recv_from(&mut buffer).is_ok() {}
        });
        let own = Arc::clone(&far);
        let mut writes = dice.clone();
        let writer = round.spawn(move || {
            while (&*own).write(&[7; 50]).is_ok() {
                writes.nap();
            }
        });
        (0..3).for_each(|_| dice.nap());
        match dice.below(3) {
            0 => near.close(),
            1 => far.close(),
            _ => far.shutdown(Shutdown::Both).unwrap(),
        }
        if dice.chance(2) {
            dice.nap();
        }
        far.close();
        near.close();
        socket.close();
        for reader in readers {
            assert!(["end", "error"].contains(&reader.join().unwrap()));
        }
        writer.join().unwrap();
        datagrams.join().unwrap();
    }
}

#[test]
fn closing_ends_every_wait() {
    rounds("net closes", closes);
}
