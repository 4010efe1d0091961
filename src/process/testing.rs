//! For tests of what is shared: other processes of this test binary, which open what they are told.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Starts this binary again, to run the one test `name` in the role `role`.
pub(super) fn start(name: &str, role: &str, number: u32, files: &[BorrowedFd<'_>]) -> Child {
    let path = |file: &BorrowedFd<'_>| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env("ROPEWALK_TEST_FILES", files.iter().map(path).collect::<Vec<_>>().join(" "))
        .env("ROPEWALK_TEST_ROLE", role)
        .env("ROPEWALK_TEST_NUMBER", number.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// In the other process: the role, the number and the files. `None` in an ordinary run of the tests.
pub(super) fn role() -> Option<(String, u32, Vec<OwnedFd>)> {
    let role = std::env::var("ROPEWALK_TEST_ROLE").ok()?;
    let open = |path| OpenOptions::new().read(true).write(true).open(path).unwrap();
    let files = std::env::var("ROPEWALK_TEST_FILES").unwrap();
    let files = files.split(' ').map(|path| open(path).into()).collect();
    Some((role, number("ROPEWALK_TEST_NUMBER", 0) as u32, files))
}

/// A number from the environment.
pub(super) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Waits for a process to end well, for some time.
pub(super) fn ends_well(mut child: Child, what: &str) {
    let give_up = Instant::now() + Duration::from_secs(20);
    while Instant::now() < give_up {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a {what} failed: {status}");
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    panic!("a {what} hangs");
}

/// Kills and reaps.
pub(super) fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// xorshift64; prints its seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = number("SEED", clock.as_nanos() as u64 | 1);
        println!("seed: SEED={seed}");
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
