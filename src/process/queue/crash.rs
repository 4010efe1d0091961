//! Putters and getters are killed at random moments; every message is counted.
#![forbid(unsafe_code)]

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Queue;
use super::core::Core;
use crate::shm::Array;

/// Putter, number, padding.
type Message = (u32, u32, Vec<u8>);

/// The most messages of one putter.
const MOST: u32 = 20_000;
/// Of each kind, alive at once.
const ALIVE: usize = 3;
const STOP: usize = 0;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What all processes of the test share.
struct Shared {
    queue: Queue<Message>,
    /// `[STOP]`, then for each putter: begun, done.
    board: Array<u32>,
    /// For each putter and number: how often it was got.
    receipts: Array<u8>,
}

impl Shared {
    fn opened() -> Self {
        let files = std::env::var("ROPEWALK_CRASH_FILES").unwrap();
        let mut files = files
            .split(' ')
            .map(|path| OwnedFd::from(OpenOptions::new().read(true).write(true).open(path).unwrap()));
        Self {
            queue: Queue::with(Core::open(files.next().unwrap()).unwrap()),
            board: Array::open(files.next().unwrap()).unwrap(),
            receipts: Array::open(files.next().unwrap()).unwrap(),
        }
    }

    fn start(&self, role: &str, id: u32) -> Child {
        let files = [self.queue.core.object.file(), self.board.file(), self.receipts.file()];
        let files =
            files.map(|file| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())).join(" ");
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::queue::crash::child", "--nocapture"])
            .env("ROPEWALK_CRASH_FILES", files)
            .env("ROPEWALK_CRASH_ROLE", role)
            .env("ROPEWALK_CRASH_ID", id.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn put_all(&self, id: u32) {
        let at = 1 + 2 * id as usize;
        for seq in 0..MOST {
            if self.board.load(STOP) != 0 {
                break;
            }
            self.board.store(at, seq + 1);
            let pad = vec![seq as u8; (seq.wrapping_mul(2_654_435_761) >> 22) as usize];
            self.queue.put((id, seq, pad)).unwrap();
            self.board.store(at + 1, seq + 1);
        }
    }

    fn get_all(&self) {
        let mut last = std::collections::HashMap::new();
        while let Ok((id, seq, pad)) = self.queue.get() {
            assert!(pad.iter().all(|byte| *byte == seq as u8), "message {id}:{seq} is spoilt");
            self.receipts.update((id * MOST + seq) as usize, |n| n + 1);
            assert!(last.insert(id, seq).is_none_or(|last| last < seq), "{id}:{seq} comes out of order");
            self.queue.task_done();
        }
    }
}

#[test]
fn child() {
    let Ok(role) = std::env::var("ROPEWALK_CRASH_ROLE") else { return };
    let shared = Shared::opened();
    let id = number("ROPEWALK_CRASH_ID", 0) as u32;
    match role.as_str() {
        "putter" => shared.put_all(id),
        "getter" => shared.get_all(),
        "coroutine putter" => crate::scope(|s| drop(s.spawn(|| shared.put_all(id)))),
        "coroutine getters" => crate::scope(|s| (0..3).for_each(|_| drop(s.spawn(|| shared.get_all())))),
        other => panic!("no role {other}"),
    }
}

fn ends_well(mut child: Child, what: &str) {
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

#[test]
fn killed_putters_and_getters_lose_one_message_each_at_most() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("SEED", clock.as_nanos() as u64 | 1);
    let kills = number("KILLS", 150) as u32;
    println!("seed: SEED={seed} KILLS={kills}");
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let most_putters = kills as usize + ALIVE;
    let shared = Shared {
        queue: Queue::with_ring(50, 8192).unwrap(),
        board: Array::new(1 + 2 * most_putters).unwrap(),
        receipts: Array::new(most_putters * MOST as usize).unwrap(),
    };
    let mut next_putter = 0;
    let mut putter = |random: &mut Random| {
        let role = if random.below(2) == 0 { "putter" } else { "coroutine putter" };
        next_putter += 1;
        shared.start(role, next_putter - 1)
    };
    let getter = |random: &mut Random| {
        let role = if random.below(2) == 0 { "getter" } else { "coroutine getters" };
        (shared.start(role, 0), role)
    };
    let mut putters: Vec<Child> = (0..ALIVE).map(|_| putter(&mut random)).collect();
    let mut getters: Vec<(Child, &str)> = (0..ALIVE).map(|_| getter(&mut random)).collect();
    // How many messages killed getters may have had in their hands.
    let mut lost_at_most = 0;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        let victim = random.below(ALIVE as u64) as usize;
        if random.below(2) == 0 {
            let mut child = std::mem::replace(&mut putters[victim], putter(&mut random));
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            let (mut child, role) = std::mem::replace(&mut getters[victim], getter(&mut random));
            child.kill().unwrap();
            child.wait().unwrap();
            lost_at_most += if role == "getter" { 1 } else { 3 };
        }
    }
    shared.board.store(STOP, 1);
    putters.into_iter().for_each(|child| ends_well(child, "putter"));
    shared.queue.close();
    getters.into_iter().for_each(|(child, role)| ends_well(child, role));
    assert_eq!((shared.queue.len(), shared.queue.is_empty(), shared.queue.is_full()), (0, true, false));
    assert!(shared.queue.join_timeout(Duration::from_secs(10)), "tasks of the dead are still open");
    assert_eq!(shared.queue.unfinished_tasks(), 0);
    assert_eq!(shared.queue.users(), [std::process::id()]);

    let (mut put, mut lost) = (0u32, 0u32);
    for id in 0..next_putter {
        let at = 1 + 2 * id as usize;
        let (begun, done) = (shared.board.load(at), shared.board.load(at + 1));
        put += done;
        for seq in 0..MOST {
            let got = shared.receipts.load((id * MOST + seq) as usize);
            assert!(got <= 1, "message {id}:{seq} was got {got} times");
            assert!(got == 0 || seq < begun, "message {id}:{seq} was never put");
            lost += u32::from(seq < done && got == 0);
        }
    }
    println!("{put} messages, {kills} kills, {lost} messages lost in the hands of killed getters");
    assert!(put > 0);
    assert!(lost <= lost_at_most, "{lost} messages are lost, {lost_at_most} at most were in dead hands");
}
