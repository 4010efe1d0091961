//! An echo server: one coroutine a connection, plain blocking code in each.
//!
//! ```sh
//! cargo run --release --example echo_server -- 127.0.0.1:7777
//! cargo run --release --example echo_server -- --self-test
//! ```
#![forbid(unsafe_code)]

use std::io::{self, Read, Write};

use ropewalk::net::{TcpListener, TcpStream};

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept()?;
        ropewalk::spawn(move || {
            if let Err(error) = echo(stream) {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// A hundred clients, ten messages each.
fn self_test() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    ropewalk::spawn(move || serve(&listener));
    let client = move || -> io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        for n in 0..10u8 {
            stream.write_all(&[n; 64])?;
            let mut back = [0; 64];
            stream.read_exact(&mut back)?;
            assert_eq!(back, [n; 64]);
        }
        Ok(())
    };
    for result in ropewalk::join_all((0..100).map(|_| ropewalk::spawn(client))) {
        result.unwrap_or_else(|error| error.resume())?;
    }
    println!("100 clients had 10 messages each echoed");
    Ok(())
}

fn main() -> io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("--self-test") => self_test(),
        Some(address) => {
            let listener = TcpListener::bind(address)?;
            println!("listening at {}", listener.local_addr()?);
            serve(&listener)
        }
        None => {
            eprintln!("usage: echo_server ADDRESS | --self-test");
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}
