//! Fetches a list of URLs: so many at once, each try with a time limit, failures tried again, a summary at the end.
//!
//! ```sh
//! cargo run --release --example crawl -- https://example.org/ http://example.org/missing
//! cargo run --release --example crawl -- --at-once 50 --tries 5 --timeout 2.5 --file urls.txt
//! cargo run --release --example crawl                  # a server of its own, with all that goes wrong
//! cargo run --release --example crawl -- --self-test
//! ```
//!
//! The client is ureq, which blocks and knows nothing of coroutines. After `patch_all` its calls of libc park the
//! coroutine, and a `ropewalk::timeout` around it ends whatever it is waiting for: a name, a connection, a handshake, the
//! next byte.
#![forbid(unsafe_code)]

use std::error::Error;
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use ropewalk::sync::Semaphore;

#[derive(Clone, Copy)]
struct Limits {
    at_once: usize,
    tries: u32,
    /// For one try: from looking up the name to the last byte.
    timeout: Duration,
    /// Before the second try; twice as long before each further one.
    pause: Duration,
}

/// How a URL ended.
struct Page {
    /// The status, or what went wrong at the last try.
    end: Result<u16, String>,
    bytes: u64,
    took: Duration,
    tries: u32,
}

impl Page {
    fn is_good(&self) -> bool {
        self.end.as_ref().is_ok_and(|status| (200..300).contains(status))
    }

    /// Tells whether another try may end better.
    fn may_improve(&self) -> bool {
        match &self.end {
            Ok(status) => matches!(status, 408 | 429 | 500..),
            Err(_) => true,
        }
    }
}

fn fetch(agent: &ureq::Agent, url: &str) -> Result<(u16, u64), ureq::Error> {
    let answer = agent.get(url).call()?;
    let status = answer.status().as_u16();
    let bytes = io::copy(&mut answer.into_body().into_reader(), &mut io::sink())?;
    Ok((status, bytes))
}

fn try_once(agent: &ureq::Agent, url: &str, limit: Duration) -> Page {
    let began = Instant::now();
    let result = ropewalk::timeout(limit, || fetch(agent, url));
    let took = began.elapsed();
    let (end, bytes) = match result {
        Ok(Ok((status, bytes))) => (Ok(status), bytes),
        Ok(Err(error)) => (Err(error.to_string()), 0),
        Err(_) => (Err("timed out".to_owned()), 0),
    };
    Page { end, bytes, took, tries: 1 }
}

/// Half of `pause` at least, by chance up to all of it, so that what failed together does not come back together.
fn jittered(pause: Duration) -> Duration {
    let chance = std::hash::RandomState::new().hash_one(()) as u32;
    pause.mul_f64(0.5 + 0.5 * f64::from(chance) / f64::from(u32::MAX))
}

fn crawl_one(agent: &ureq::Agent, url: &str, limits: Limits) -> Page {
    let began = Instant::now();
    let mut pause = limits.pause;
    for tries in 1.. {
        let page = try_once(agent, url, limits.timeout);
        if tries >= limits.tries || !page.may_improve() {
            return Page { took: began.elapsed(), tries, ..page };
        }
        sleep(jittered(pause));
        pause = pause.saturating_mul(2).min(Duration::from_secs(60));
    }
    unreachable!("the last try returns")
}

/// Fetches all; the pages are in the order of the URLs.
fn crawl(urls: &[String], limits: Limits) -> Result<Vec<Page>, Box<dyn Error>> {
    // Any status is an answer.
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}, {eta} left {msg}")?;
    let bar = ProgressBar::new(urls.len() as u64).with_style(style);
    let (free, failed) = (Semaphore::new(limits.at_once), AtomicUsize::new(0));
    let pages = ropewalk::scope(|scope| {
        let running = urls.iter().map(|url| {
            // Taken before the coroutine is there: of a long list only so many are.
            let permit = free.permit();
            let (agent, bar, failed) = (&agent, &bar, &failed);
            scope.spawn(move || {
                let page = crawl_one(agent, url, limits);
                drop(permit);
                if !page.is_good() {
                    // Relaxed: a figure.
                    bar.set_message(format!("({} failed)", failed.fetch_add(1, Ordering::Relaxed) + 1));
                }
                bar.inc(1);
                page
            })
        });
        // All are started before the first is waited for.
        running.collect::<Vec<_>>().into_iter().map(|page| page.join()).collect::<Result<_, _>>()
    });
    bar.finish_and_clear();
    Ok(pages?)
}

fn print(urls: &[String], pages: &[Page], took: Duration) {
    println!("{:>6} {:>10} {:>9} {:>5}  url", "status", "bytes", "time", "tries");
    for (url, page) in urls.iter().zip(pages) {
        let status = page.end.as_ref().map_or("-".to_owned(), u16::to_string);
        let Page { bytes, took, tries, .. } = page;
        let why = page.end.as_ref().err().map_or(String::new(), |error| format!("  {error}"));
        println!("{status:>6} {bytes:>10} {:>7.3} s {tries:>5}  {url}{why}", took.as_secs_f64());
    }
    let good = pages.iter().filter(|page| page.is_good()).count();
    let bytes: u64 = pages.iter().map(|page| page.bytes).sum();
    let sum: Duration = pages.iter().map(|page| page.took).sum();
    println!(
        "{good} of {} fetched, {bytes} bytes, in {took:.2?}; their times add up to {sum:.2?}",
        pages.len()
    );
}

/// A server with good pages and bad ones; plain blocking code, a coroutine for each connection.
#[derive(Default)]
struct Site {
    now: AtomicUsize,
    /// The most requests it has had at once.
    most: AtomicUsize,
    /// The paths that have failed so far.
    failed: Mutex<Vec<String>>,
}

impl Site {
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut lines = BufReader::new(&stream).lines();
        while let Some(request) = lines.next().transpose()? {
            while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
            // Relaxed, here and below: figures.
            self.most.fetch_max(self.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_millis(20));
            // Before the answer: once it is there, the client may ask for the next.
            self.now.fetch_sub(1, Ordering::Relaxed);
            self.page(request.split(' ').nth(1).unwrap_or("/"), &stream)?;
        }
        Ok(())
    }

    fn page(&self, path: &str, mut stream: &TcpStream) -> io::Result<()> {
        let body = format!("{path}\n").repeat(200);
        let (status, text) = match path.split('/').nth(1) {
            Some("page") => ("200 OK", body.as_str()),
            Some("busy") => {
                let mut failed = self.failed.lock().unwrap_or_else(|broken| broken.into_inner());
                failed.push(path.to_owned());
                match failed.iter().filter(|other| *other == path).count() {
                    1..=2 => ("503 Service Unavailable", ""),
                    _ => ("200 OK", body.as_str()),
                }
            }
            // A byte now and then: none of the client's waits is long, all of them are.
            Some("slow") => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
                loop {
                    stream.write_all(b".")?;
                    sleep(Duration::from_millis(10));
                }
            }
            // Until the client has gone.
            Some("silent") => return io::copy(&mut stream, &mut io::sink()).map(drop),
            _ => ("404 Not Found", ""),
        };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        stream.write_all(answer.as_bytes())
    }

    /// Starts one; it lives as long as the program.
    fn serve() -> io::Result<(&'static Self, SocketAddr)> {
        let site: &'static Self = Box::leak(Box::default());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        ropewalk::spawn(move || {
            for stream in listener.incoming().flatten() {
                ropewalk::spawn(|| site.answer(stream));
            }
        });
        Ok((site, address))
    }
}

/// URLs of a server of this program's own: 40 good pages, and one each of what goes wrong.
fn own_urls(address: SocketAddr) -> io::Result<Vec<String>> {
    // Bound and closed again: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut urls: Vec<String> = (1..=40).map(|n| format!("http://{address}/page/{n}")).collect();
    urls.extend(["busy/1", "silent", "slow", "missing"].map(|path| format!("http://{address}/{path}")));
    urls.push(format!("http://{nobody}/"));
    Ok(urls)
}

fn self_test() -> Result<(), Box<dyn Error>> {
    let (site, address) = Site::serve()?;
    let urls = own_urls(address)?;
    let (timeout, pause) = (Duration::from_secs(1), Duration::from_millis(20));
    let limits = Limits { at_once: 8, tries: 3, timeout, pause };
    let began = Instant::now();
    let pages = crawl(&urls, limits)?;
    print(&urls, &pages, began.elapsed());
    let (good, rest) = pages.split_at(40);
    for (n, page) in (1..).zip(good) {
        let bytes = format!("/page/{n}\n").len() as u64 * 200;
        assert_eq!((&page.end, page.bytes), (&Ok(200), bytes), "page {n}");
    }
    let [busy, silent, slow, missing, refused] = rest else { panic!("five more URLs") };
    assert_eq!((&busy.end, busy.bytes), (&Ok(200), 8 * 200), "twice busy, then there");
    assert!(busy.tries >= 3, "{} tries", busy.tries);
    for late in [silent, slow] {
        assert_eq!((&late.end, late.tries), (&Err("timed out".to_owned()), 3));
        assert!(late.took >= 3 * timeout, "each try has its whole time");
    }
    assert_eq!(missing.end, Ok(404));
    assert!(!missing.may_improve(), "what is not there is not asked for again");
    assert!(refused.end.as_ref().is_err_and(|error| error.contains("refused")), "{:?}", refused.end);
    assert_eq!(refused.tries, 3);
    let most = site.most.load(Ordering::Relaxed);
    assert!((2..=limits.at_once).contains(&most), "{most} requests at once");
    Ok(())
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    ropewalk::monkey::patch_all()?;
    let (timeout, pause) = (Duration::from_secs(10), Duration::from_millis(200));
    let mut limits = Limits { at_once: 20, tries: 3, timeout, pause };
    let mut urls = Vec::new();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--self-test" => return self_test().map(|()| ExitCode::SUCCESS),
            "--at-once" => limits.at_once = value()?.parse::<usize>()?.max(1),
            "--tries" => limits.tries = value()?.parse()?,
            "--timeout" => limits.timeout = Duration::try_from_secs_f64(value()?.parse()?)?,
            "--file" => {
                let text = std::fs::read_to_string(value()?)?;
                let lines =
                    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                urls.extend(lines.map(str::to_owned));
            }
            option if option.starts_with("--") => {
                return Err(format!(
                    "{option}: there are --at-once, --tries, --timeout, --file, --self-test"
                )
                .into());
            }
            _ => urls.push(word),
        }
    }
    if let Some(other) = urls.iter().find(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
        return Err(format!("{other}: neither http:// nor https://").into());
    }
    if urls.is_empty() {
        limits.timeout = Duration::from_secs(1);
        urls = own_urls(Site::serve()?.1)?;
    }
    let began = Instant::now();
    let pages = crawl(&urls, limits)?;
    print(&urls, &pages, began.elapsed());
    Ok(if pages.iter().all(Page::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
