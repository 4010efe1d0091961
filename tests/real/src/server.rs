//! Real servers on a loopback port, their data in a temporary folder; both are gone with their owner.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A server that runs as a child.
#[derive(Debug)]
pub struct Server {
    child: Child,
    folder: PathBuf,
    /// What it is told to end with.
    stop: i32,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: a child that has not been waited for. The signal says: end now, in order.
        unsafe { libc::kill(self.child.id().cast_signed(), self.stop) };
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Says that a test was skipped; where that is not to happen, fails.
fn skip(what: &str, why: &str) {
    assert!(std::env::var_os("ROPEWALK_ALL_SERVERS").is_none(), "{what} is to be tested, but {why}");
    println!("SKIPPED: {what}: {why}");
    eprintln!("SKIPPED: {what}: {why}");
}

fn folder(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("ropewalk-{name}-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback is free");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn listens(_: &Path, port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Starts a server that listens on the port it is given, and waits until it is ready; again, if another was quicker to take
/// the port.
fn start(
    folder: PathBuf,
    is_ready: impl Fn(&Path, u16) -> bool,
    command: impl Fn(&Path, u16) -> Command,
) -> Server {
    for _ in 0..5 {
        let port = free_port();
        let mut command = command(&folder, port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // SAFETY: one system call.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            })
        };
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut server = Server { child, folder: PathBuf::new(), stop: libc::SIGTERM, port };
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end && server.child.try_wait().is_ok_and(|status| status.is_none()) {
            if is_ready(&folder, port) {
                server.folder = folder;
                return server;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    panic!("the server does not start; its data is in {}", folder.display());
}

/// Starts a Redis server; `None`, with a word, if there is none.
pub fn redis() -> Option<Server> {
    if Command::new("redis-server").arg("--version").output().is_err() {
        skip("Redis", "redis-server is not installed");
        return None;
    }
    Some(start(folder("redis"), listens, |folder, port| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(folder);
        command
    }))
}

/// Starts a MySQL server (MariaDB) that lets anybody in; `None`, with a word, if there is none.
pub fn mysql() -> Option<Server> {
    if Command::new("mariadbd").arg("--version").output().is_err() {
        skip("MySQL", "mariadbd is not installed");
        return None;
    }
    let folder = folder("mysql");
    // SAFETY: takes nothing.
    let user = if unsafe { libc::geteuid() } == 0 { &["--user=mysql"][..] } else { &[] };
    let mut install = Command::new("mariadb-install-db");
    install
        .args(["--no-defaults", "--skip-test-db"])
        .args(user)
        .arg(format!("--datadir={}", folder.display()));
    let made = install.output().unwrap_or_else(|error| panic!("{install:?}: {error}"));
    assert!(made.status.success(), "{install:?}: {}", String::from_utf8_lossy(&made.stderr));
    Some(start(folder, listens, |folder, port| {
        let mut command = Command::new("mariadbd");
        command.arg("--no-defaults").args(user).args(["--bind-address=127.0.0.1", "--skip-grant-tables"]);
        command.arg(format!("--port={port}")).arg("--skip-networking=0");
        command.arg(format!("--datadir={}", folder.display()));
        command.arg(format!("--socket={}", folder.join("socket").display()));
        command
    }))
}

/// A program of the newest PostgreSQL that is installed, to be run as a user that is not root: as root it refuses.
fn postgres_program(name: &str) -> Option<Command> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin").join(name));
    let program = programs.filter(|path| path.exists()).max()?;
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return Some(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    Some(command)
}

/// Starts a PostgreSQL server without a password; `None`, with a word, if there is none.
pub fn postgres() -> Option<Server> {
    let Some(mut initdb) = postgres_program("initdb") else {
        skip("PostgreSQL", "there is no initdb in /usr/lib/postgresql");
        return None;
    };
    let folder = folder("postgres");
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } == 0 {
        let given = Command::new("chown").arg("postgres:").arg(&folder).status();
        assert!(given.is_ok_and(|status| status.success()), "there is no user postgres");
    }
    let made =
        initdb.current_dir("/").args(["-A", "trust", "-U", "postgres", "-N", "-D"]).arg(&folder).output();
    let made = made.unwrap_or_else(|error| panic!("{initdb:?}: {error}"));
    assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    // It listens some time before it lets anybody in.
    let is_ready = |folder: &Path, _| {
        fs::read_to_string(folder.join("postmaster.pid")).is_ok_and(|text| text.contains("ready"))
    };
    let mut server = start(folder, is_ready, |folder, port| {
        let mut command = postgres_program("postgres").expect("it is beside initdb");
        command.current_dir("/").arg("-D").arg(folder).args(["-p", &port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "max_connections=120"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", folder.display()));
        command
    });
    // SIGTERM would wait for all clients.
    server.stop = libc::SIGINT;
    Some(server)
}
