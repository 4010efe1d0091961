//! For tests of what is shared: processes to be killed, and a seeded generator.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::Process;

/// A number from the environment.
pub(super) fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Waits for a process to end well, for some time.
pub(super) fn ends_well(process: Process<()>, what: &str) {
    match process.join_timeout(Duration::from_secs(20)) {
        Ok(result) => result.unwrap_or_else(|error| panic!("a {what} failed: {error}")),
        Err(process) => {
            process.kill().unwrap();
            panic!("a {what} hangs");
        }
    }
}

/// Kills, and waits for the death.
pub(super) fn kill(process: Process<()>) {
    process.kill().unwrap();
    process.wait().unwrap();
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
