//! An echo server of std's sockets, and who talks to it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use ropewalk::spawn;

/// Sends back what comes, until nothing does.
pub fn echo(mut stream: impl Read + Write) {
    let mut buffer = [0; 512];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

/// Starts a server that does so, in coroutines; where it listens.
pub fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            spawn(move || echo(stream));
        }
    });
    address
}

/// Sends numbers to such a server, and expects them back.
pub fn talk(address: SocketAddr, seed: u32, rounds: u32) {
    let mut stream = TcpStream::connect(address).unwrap();
    for round in 0..rounds {
        let sent = (seed ^ round).to_le_bytes();
        stream.write_all(&sent).unwrap();
        let mut back = [0; 4];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent);
    }
}
