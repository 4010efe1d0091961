//! Section 11: images from a server, all at once; files on disk, compared byte by byte.
//!
//! Server and client are plain blocking code on `std::net`, `std::thread::sleep` and `std::fs`: after `patch_all` its
//! calls of libc park the coroutine.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use ropewalk::monkey;

use crate::Outcome;
use crate::show::timed;

/// Name, bytes, and the delay with which the server answers.
const IMAGES: [(&str, &[u8], u64); 4] = [
    ("rope.png", include_bytes!("images/rope.png"), 120),
    ("knot.png", include_bytes!("images/knot.png"), 80),
    ("walk.png", include_bytes!("images/walk.png"), 150),
    ("spiral.png", include_bytes!("images/spiral.png"), 100),
];

/// Answers one GET.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 512];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&piece[..n]),
        }
    }
    let text = String::from_utf8_lossy(&request);
    let wanted = text.split_whitespace().nth(1).unwrap_or("/").trim_start_matches('/');
    match IMAGES.iter().find(|image| image.0 == wanted) {
        Some((_, bytes, delay)) => {
            std::thread::sleep(Duration::from_millis(*delay));
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                bytes.len()
            )?;
            stream.write_all(bytes)
        }
        None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    ropewalk::spawn(move || {
        for stream in listener.incoming().flatten() {
            ropewalk::spawn(move || answer(stream));
        }
    });
    Ok(address)
}

/// Fetches one URL with plain blocking code.
fn fetch(url: &str) -> io::Result<Vec<u8>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{url}: {what}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("only http:// can be fetched here"))?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end =
        answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(|| bad("no HTTP answer"))?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    if head.split_whitespace().nth(1) != Some("200") {
        return Err(bad(head.lines().next().unwrap_or("no status")));
    }
    let body = answer.split_off(end + 4);
    let announced = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    match announced {
        Some(length) if body.len() != length => Err(bad("the body is not as long as announced")),
        _ if head.contains("transfer-encoding: chunked") => {
            Err(bad("chunked answers are beyond this example"))
        }
        _ => Ok(body),
    }
}

fn download(url: &str, directory: &Path) -> io::Result<(String, usize)> {
    let body = fetch(url)?;
    let name = url.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or("index").to_owned();
    std::fs::write(directory.join(&name), &body)?;
    Ok((name, body.len()))
}

pub(crate) fn run(urls: &[String]) -> Outcome {
    monkey::patch_all()?;
    let own = urls.is_empty();
    let urls = if own {
        let address = serve()?;
        IMAGES.map(|image| format!("http://{address}/{}", image.0)).to_vec()
    } else {
        urls.to_vec()
    };
    let directory = std::env::temp_dir().join(format!("ropewalk-notes-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    println!("{} images, one coroutine each, into {}:", urls.len(), directory.display());
    let (results, took) = timed(|| {
        let start = |url: String| {
            let directory = directory.clone();
            ropewalk::spawn(move || timed(|| download(&url, &directory)))
        };
        ropewalk::join_all(urls.into_iter().map(start))
    });
    let mut sum = Duration::ZERO;
    for result in results {
        let (result, took) = result?;
        sum += took;
        match result {
            Ok((name, length)) => println!("  {name:<12} {length:>6} bytes  {took:>8.1?}"),
            Err(error) => println!("  failed: {error}"),
        }
    }
    println!("  all of them took {took:.1?}; one after the other would be {sum:.1?}");
    if own {
        for (name, bytes, _) in IMAGES {
            if std::fs::read(directory.join(name))? != bytes {
                return Err(format!("{name} differs from the original").into());
            }
        }
        println!("  every file is equal to its original, byte by byte");
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}
