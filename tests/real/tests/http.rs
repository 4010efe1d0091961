//! ureq, over plain HTTP and over TLS, against servers on plain threads that answer once all requests are there.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use ropewalk::spawn;
use ropewalk_real::on_one_worker;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const DELAY: Duration = Duration::from_millis(300);
const CLIENTS: u32 = 40;

/// Serves `CLIENTS` connections, each on a thread; `wrap` is what lies over the socket.
fn server<S: Read + Write>(wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody is answered before all have asked: clients that took turns would wait for ever.
    let all_asked = Arc::new(Barrier::new(CLIENTS as usize));
    let wrap = Arc::new(wrap);
    thread::spawn(move || {
        for stream in listener.incoming().take(CLIENTS as usize) {
            let (stream, wrap, all_asked) = (stream.unwrap(), Arc::clone(&wrap), Arc::clone(&all_asked));
            thread::spawn(move || answer(wrap(stream), &all_asked));
        }
    });
    address
}

fn answer(mut stream: impl Read + Write, all_asked: &Barrier) {
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut piece).unwrap() {
            0 => return,
            count => request.extend_from_slice(&piece[..count]),
        }
    }
    all_asked.wait();
    thread::sleep(DELAY);
    let text = String::from_utf8(request).unwrap();
    let path = text.split(' ').nth(1).unwrap();
    let body = format!("you asked for {path}; ").repeat(4000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    stream.flush().unwrap();
}

fn fetch(agent: &ureq::Agent, url: &str, number: u32) {
    let mut answer = agent.get(&format!("{url}/page/{number}")).call().unwrap();
    let body = answer.body_mut().read_to_string().unwrap();
    assert_eq!(body, format!("you asked for /page/{number}; ").repeat(4000));
}

fn fetch_all(agent: &ureq::Agent, url: &str) {
    let one = |number: u32| {
        let (agent, url) = (agent.clone(), url.to_owned());
        spawn(move || fetch(&agent, &url, number))
    };
    let all: Vec<_> = (0..CLIENTS).map(one).collect();
    all.into_iter().for_each(|handle| handle.join().unwrap());
}

#[test]
fn plain_http() {
    let address = server(|stream| stream);
    let ((), shown) = on_one_worker("http", move || {
        fetch_all(&ureq::Agent::new_with_defaults(), &format!("http://{address}"));
    });
    shown.check("ureq, HTTP", CLIENTS, DELAY);
    assert!(shown.parks(&["recv", "read"]) >= u64::from(CLIENTS));
}

/// With a time limit, ureq looks the name up on a thread of its own and waits for that on a channel of std's.
#[test]
fn plain_http_with_a_name_and_a_time_limit() {
    let address = server(|stream| stream);
    let ((), shown) = on_one_worker("http-limit", move || {
        let limit = Some(Duration::from_secs(60));
        let agent = ureq::Agent::config_builder().timeout_global(limit).build().new_agent();
        fetch_all(&agent, &format!("http://localhost:{}", address.port()));
    });
    shown.check("ureq, HTTP, a name and a limit", CLIENTS, DELAY);
    assert!(shown.parks(&["recv", "read"]) >= u64::from(CLIENTS));
}

#[test]
fn https() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let address = server(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        rustls::StreamOwned::new(connection, stream)
    });
    let ((), shown) = on_one_worker("https", move || {
        let roots = RootCerts::from([Certificate::from_der(&certificate).to_owned()]);
        let tls = TlsConfig::builder().root_certs(roots).build();
        let agent = ureq::Agent::config_builder().tls_config(tls).build().new_agent();
        fetch_all(&agent, &format!("https://localhost:{}", address.port()));
    });
    shown.check("ureq, TLS", CLIENTS, DELAY);
    assert!(shown.parks(&["recv", "read"]) >= 2 * u64::from(CLIENTS), "a handshake and an answer each");
    assert!(shown.offloads(&["getaddrinfo"]) >= u64::from(CLIENTS));
}
