//! Putters and getters are killed at random moments; every message is counted.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Queue;
use crate::process::Process;
use crate::process::testing::{Random, ends_well, kill, number};
use crate::shm::Array;

/// Putter, number, padding.
type Message = (u32, u32, Vec<u8>);

/// The most messages of one putter.
const MOST: u32 = 20_000;
/// Of each kind, alive at once.
const ALIVE: usize = 3;
const STOP: usize = 0;

/// What all processes of the test share.
#[derive(Clone, Serialize, Deserialize)]
struct Shared {
    queue: Queue<Message>,
    /// `[STOP]`, then for each putter: begun, done.
    board: Array<u32>,
    /// For each putter and number: how often it was got.
    receipts: Array<u8>,
}

impl Shared {
    fn start(&self, role: &str, id: u32) -> Process<()> {
        Process::spawn(child, (role.to_owned(), id, self.clone())).unwrap()
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

fn child((role, id, shared): (String, u32, Shared)) {
    match role.as_str() {
        "putter" => shared.put_all(id),
        "getter" => shared.get_all(),
        "coroutine putter" => crate::scope(|s| drop(s.spawn(|| shared.put_all(id)))),
        "coroutine getters" => crate::scope(|s| (0..3).for_each(|_| drop(s.spawn(|| shared.get_all())))),
        other => panic!("no role {other}"),
    }
}

#[test]
fn killed_putters_and_getters_lose_one_message_each_at_most() {
    let kills = number("KILLS", 150) as u32;
    let mut random = Random::new();
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
    let mut putters: Vec<Process<()>> = (0..ALIVE).map(|_| putter(&mut random)).collect();
    let mut getters: Vec<(Process<()>, &str)> = (0..ALIVE).map(|_| getter(&mut random)).collect();
    // How many messages killed getters may have had in their hands.
    let mut lost_at_most = 0;
    for _ in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        let victim = random.below(ALIVE as u64) as usize;
        if random.below(2) == 0 {
            kill(std::mem::replace(&mut putters[victim], putter(&mut random)));
        } else {
            let (child, role) = std::mem::replace(&mut getters[victim], getter(&mut random));
            kill(child);
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
