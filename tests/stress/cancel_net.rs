//! Cancellation at random moments of socket calls: no byte and no connection is lost.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ropewalk::net::{TcpListener, TcpStream, UnixStream};

use crate::harness::{Round, ended, rounds};

fn reads(round: &Round) {
    const BYTES: usize = 20_000;
    let (near, far) = UnixStream::pair().unwrap();
    let mut dice = round.dice(0);
    let writer = round.spawn(move || {
        let mut next = 0;
        while next < BYTES {
            let part: Vec<u8> = (next..BYTES).take(1 + dice.below(700)).map(|n| (n % 251) as u8).collect();
            (&near).write_all(&part).unwrap();
            next += part.len();
            dice.nap();
        }
        near.shutdown(Shutdown::Write).unwrap();
        near
    });
    let (far, seen) = (Arc::new(far), Arc::new(Mutex::new(Vec::new())));
    let mut dice = round.dice(1);
    let mut ended_at_end = false;
    while !ended_at_end {
        let (stream, bytes, mut own) = (Arc::clone(&far), Arc::clone(&seen), dice.clone());
        let reader = round.spawn(move || {
            loop {
                let mut buffer = [0; 300];
                let count = (&*stream).read(&mut buffer).unwrap();
                bytes.lock().unwrap().extend_from_slice(&buffer[..count]);
                if count == 0 {
                    return;
                }
                own.nap();
            }
        });
        (0..4).for_each(|_| dice.nap());
        reader.cancel();
        ended_at_end = ended(reader.join()).is_some();
    }
    let _near = writer.join().unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), BYTES);
    assert!(seen.iter().enumerate().all(|(at, byte)| *byte == (at % 251) as u8));
}

#[test]
fn a_cancelled_read_takes_no_byte_with_it() {
    rounds("cancel read", reads);
}

fn accepts(round: &Round) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..6)
        .map(|n: usize| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                for _ in 0..4 {
                    dice.nap();
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.write_all(&[n as u8; 3]).unwrap();
                    let mut answer = [0; 3];
                    stream.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [n as u8 + 1; 3]);
                }
            })
        })
        .collect();
    let mut dice = round.dice(99);
    while served.load(Ordering::Acquire) < 24 {
        let acceptors: Vec<_> = (0..3)
            .map(|_| {
                let (listener, served) = (Arc::clone(&listener), Arc::clone(&served));
                round.spawn(move || {
                    loop {
                        let (mut stream, _) = listener.accept().unwrap();
                        ropewalk::shield(|| {
                            let mut bytes = [0; 3];
                            stream.read_exact(&mut bytes).unwrap();
                            bytes.iter_mut().for_each(|byte| *byte += 1);
                            stream.write_all(&bytes).unwrap();
                            served.fetch_add(1, Ordering::Release);
                        });
                    }
                })
            })
            .collect();
        (0..3).for_each(|_| dice.nap());
        acceptors.iter().for_each(|acceptor| acceptor.cancel());
        acceptors.into_iter().for_each(|acceptor| assert!(ended(acceptor.join()).is_none()));
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    assert_eq!(served.load(Ordering::Acquire), 24);
}

#[test]
fn a_cancelled_accept_leaves_the_connection_to_the_next() {
    rounds("cancel accept", accepts);
}

fn connects(round: &Round) {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let own = Arc::clone(&listener);
    let acceptor = round.spawn(move || {
        while let Ok((mut stream, _)) = own.accept() {
            ropewalk::spawn(move || {
                // A client that was cancelled just hangs up.
                let mut all = Vec::new();
                let _ = stream.read_to_end(&mut all);
                let _ = stream.write_all(&all);
            });
        }
    });
    round.storm(10, move |n, mut dice| {
        for _ in 0..50 {
            let mut stream = TcpStream::connect(address).unwrap();
            dice.nap();
            stream.write_all(&[n as u8; 100]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut echo = Vec::new();
            stream.read_to_end(&mut echo).unwrap();
            assert_eq!(echo, [n as u8; 100]);
        }
    });
    listener.close();
    acceptor.join().unwrap();
}

#[test]
fn cancelled_connects_and_writes_leave_the_listener_working() {
    rounds("cancel connect", connects);
}
