//! The load: every connection sends its next request when the answer to the last has come.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::SIZE;
use super::epoll::Epoll;

pub struct Client {
    epoll: Epoll,
    /// Each with the bytes of an answer that have come.
    connections: Vec<(TcpStream, usize)>,
}

impl Client {
    pub fn connect(port: u16, connections: usize) -> Self {
        let epoll = Epoll::new();
        let connect = |key| {
            // A server that falls behind is given time: std lets 128 connections wait, and the kernel tries again a
            // second after one too many.
            if key > 0 && key % 64 == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            stream.set_nodelay(true).expect("a TCP socket can do that");
            epoll.add(&stream, key);
            (stream, 0)
        };
        let connections = (0..connections).map(connect).collect();
        Self { epoll, connections }
    }

    /// Loads the server for so long, until every request is answered; the number of requests.
    pub fn run(&mut self, time: Duration) -> u64 {
        let end = Instant::now() + time;
        let request = [7; SIZE];
        let mut buffer = [0; SIZE];
        for (stream, _) in &mut self.connections {
            stream.write_all(&request).expect("the server lives");
        }
        let (mut answered, mut under_way) = (0, self.connections.len());
        let mut go_on = true;
        while under_way > 0 {
            for key in self.epoll.wait(-1) {
                let (stream, come) = &mut self.connections[key];
                let count = stream.read(&mut buffer[*come..]).expect("the server lives");
                assert_ne!(count, 0, "the server has closed a connection");
                *come += count;
                if *come < SIZE {
                    continue;
                }
                assert_eq!(buffer, request, "the server sends back something else");
                *come = 0;
                answered += 1;
                if go_on {
                    stream.write_all(&request).expect("the server lives");
                } else {
                    under_way -= 1;
                }
            }
            go_on = go_on && Instant::now() < end;
        }
        answered
    }
}
