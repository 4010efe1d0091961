//! A web server in plain blocking code on `std::net` and `std::fs`: a coroutine for each connection.
//!
//! ```sh
//! cargo run --release --example plain_server -- 127.0.0.1:8080 some/directory
//! cargo run --release --example plain_server -- --self-test
//! ```
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest line of a request.
const LONGEST: u64 = 8 * 1024;

/// The file below `root` that a request names; `None` if it points elsewhere.
fn file_of(root: &Path, target: &str) -> Option<PathBuf> {
    let name = Path::new(target.split(['?', '#']).next()?.trim_start_matches('/'));
    let stays_below = name.components().all(|part| matches!(part, Component::Normal(_)));
    let path = root.join(name);
    stays_below.then(|| if path.is_dir() { path.join("index.html") } else { path })
}

fn answer(stream: &mut TcpStream, status: &str, mut body: impl Read, length: u64) -> io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n")?;
    io::copy(&mut body, stream).map(drop)
}

/// Serves one connection: request after request, until the client has had enough.
fn serve(mut stream: TcpStream, root: &Path) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = String::new();
        if (&mut lines).take(LONGEST).read_line(&mut request)? == 0 {
            return Ok(());
        }
        // The headers say nothing that matters here; an empty line ends them.
        let mut header = String::new();
        while (&mut lines).take(LONGEST).read_line(&mut header)? > 0 && !header.trim().is_empty() {
            header.clear();
        }
        let mut words = request.split_whitespace();
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or("/"));
        if method != "GET" {
            return answer(&mut stream, "405 Method Not Allowed", io::empty(), 0);
        }
        let file = file_of(root, target).and_then(|path| File::open(path).ok());
        match file.map(|file| file.metadata().map(|known| (file, known.len()))) {
            Some(Ok((file, length))) => answer(&mut stream, "200 OK", file, length)?,
            _ => answer(&mut stream, "404 Not Found", io::empty(), 0)?,
        }
    }
}

fn listen(listener: TcpListener, root: Arc<Path>) {
    for stream in listener.incoming().flatten() {
        let root = Arc::clone(&root);
        ropewalk::spawn(move || {
            if let Err(error) = serve(stream, &root) {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

/// A hundred clients, plain blocking code as well, three requests each.
fn self_test() -> io::Result<()> {
    let root = std::env::temp_dir().join(format!("ropewalk-plain-server-{}", std::process::id()));
    fs::create_dir_all(&root)?;
    fs::write(root.join("index.html"), "it works")?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let below: Arc<Path> = root.as_path().into();
    ropewalk::spawn(move || listen(listener, below));
    let client = move || {
        let mut stream = TcpStream::connect(address)?;
        for (target, expected) in
            [("/", "200 OK\r\nContent-Length: 8\r\n\r\nit works"), ("/../x", "404"), ("/none", "404")]
        {
            write!(stream, "GET {target} HTTP/1.1\r\nHost: here\r\n\r\n")?;
            let mut answer = vec![0; if expected == "404" { 45 } else { 46 }];
            stream.read_exact(&mut answer)?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if !answer.contains(expected) {
                return Err(io::Error::other(format!("{target}: {answer}")));
            }
        }
        Ok(())
    };
    for result in ropewalk::join_all((0..100).map(|_| ropewalk::spawn(client))) {
        result.map_err(|error| io::Error::other(error.to_string()))??;
    }
    fs::remove_dir_all(&root)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    ropewalk::monkey::patch_all()?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--self-test"] => Ok(self_test()?),
        [address, root] => {
            let listener = TcpListener::bind(address.parse::<SocketAddr>()?)?;
            println!("http://{address}/ serves {root}");
            let root: Arc<Path> = Path::new(root).into();
            ropewalk::spawn(move || listen(listener, root)).join()?;
            Ok(())
        }
        _ => Err("give an address and a directory, or --self-test".into()),
    }
}
