//! The server of section 11: a few images, each with a delay, over HTTP and over HTTPS.
//!
//! Plain blocking code on `std::net`, a coroutine for each connection.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Name, bytes, and the delay with which the server answers.
pub(crate) const IMAGES: [(&str, &[u8], u64); 4] = [
    ("rope.png", include_bytes!("images/rope.png"), 120),
    ("knot.png", include_bytes!("images/knot.png"), 80),
    ("walk.png", include_bytes!("images/walk.png"), 150),
    ("spiral.png", include_bytes!("images/spiral.png"), 100),
];

/// Answers one GET.
fn answer(mut stream: impl Read + Write) -> io::Result<()> {
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
    let (status, body) = match IMAGES.iter().find(|image| image.0 == wanted) {
        Some((_, bytes, delay)) => {
            std::thread::sleep(Duration::from_millis(*delay));
            ("200 OK", *bytes)
        }
        None => ("404 Not Found", &[][..]),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Accepts for ever; the port. `wrap` is what lies over the socket.
fn listen<S: Read + Write + 'static>(
    wrap: impl Fn(TcpStream) -> Result<S, rustls::Error> + Send + Sync + 'static,
) -> io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let wrap = Arc::new(wrap);
    ropewalk::spawn(move || {
        for stream in listener.incoming().flatten() {
            let wrap = Arc::clone(&wrap);
            ropewalk::spawn(move || answer(wrap(stream).map_err(io::Error::other)?));
        }
    });
    Ok(port)
}

/// Starts both servers: where the images are, every other one behind `https://`, and the certificate to be trusted.
pub(crate) fn serve() -> Result<(Vec<String>, CertificateDer<'static>), Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)?;
    let config = Arc::new(config);
    let plain = listen(Ok)?;
    let secure = listen(move |stream| {
        Ok(rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config))?, stream))
    })?;
    let bases = [format!("http://127.0.0.1:{plain}"), format!("https://127.0.0.1:{secure}")];
    let urls = IMAGES.iter().zip(bases.iter().cycle()).map(|(image, base)| format!("{base}/{}", image.0));
    Ok((urls.collect(), certificate))
}
