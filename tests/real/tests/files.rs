//! A directory walk, a compression crate over pipes, a hundred children at once.

use std::fs;
use std::io::{self, Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ropewalk::{channel, spawn};
use ropewalk_real::{on_one_worker, on_one_worker_with};

/// A tree whose sizes are known, removed with its owner.
struct Tree(std::path::PathBuf);

impl Tree {
    fn grow() -> Self {
        let root = std::env::temp_dir().join(format!("ropewalk-walk-{}", std::process::id()));
        for a in 0..10 {
            for b in 0..10 {
                let folder = root.join(format!("{a}/{b}"));
                fs::create_dir_all(&folder).unwrap();
                (0..5)
                    .for_each(|c| fs::write(folder.join(c.to_string()), vec![b'x'; a * 10 + b + c]).unwrap());
            }
        }
        Self(root)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn many_walk_a_tree() {
    const WALKERS: u32 = 20;
    let tree = Arc::new(Tree::grow());
    let walked = Arc::clone(&tree);
    let (sums, shown) = on_one_worker("walk", move || {
        let walk = || {
            let tree = Arc::clone(&walked);
            spawn(move || {
                let (mut files, mut folders, mut bytes) = (0u64, 0u64, 0u64);
                for entry in walkdir::WalkDir::new(&tree.0).sort_by_file_name() {
                    let entry = entry.unwrap();
                    let about = entry.metadata().unwrap();
                    if about.is_dir() {
                        folders += 1;
                    } else {
                        files += 1;
                        bytes += about.len();
                        assert_eq!(fs::read(entry.path()).unwrap().len() as u64, about.len());
                    }
                }
                (files, folders, bytes)
            })
        };
        let all: Vec<_> = (0..WALKERS).map(|_| walk()).collect();
        all.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
    });
    // 99 * 100 / 2 for the folders' numbers, five times, and ten a folder.
    assert!(sums.iter().all(|sum| *sum == (500, 111, 4950 * 5 + 1000)), "{sums:?}");
    println!("walkdir: {WALKERS} walks of 611 entries took {:?}", shown.took);
    assert!(shown.reports.is_empty(), "{:?}", shown.reports);
    let looked = ["statx", "stat64", "lstat64", "fstatat64", "open", "open64", "openat", "openat64"];
    let (calls, offloads) = (shown.calls(&looked), shown.offloads(&looked));
    // The names were made just now, so the kernel's caches answer nearly all.
    assert!(calls >= u64::from(WALKERS) * 500 && offloads < calls / 10, "{offloads} of {calls} by threads");
}

/// A debug build of the compressor moves its tables over the stack, hence the size.
///
/// One coroutine squeezes into a pipe, which holds 64 KiB; the other end is read by one that waits first.
#[test]
fn compression_through_pipes() {
    const PAIRS: u32 = 20;
    let ((), shown) = on_one_worker_with("pipes", 2 << 20, || {
        let (open_gate, gate) = channel::bounded::<()>(0);
        let pair = |seed: u32| {
            let (reading, writing) = io::pipe().unwrap();
            let gate = gate.clone();
            let bytes = move || {
                let next = |state: &mut u32| {
                    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    Some((*state >> 24) as u8)
                };
                (0..300_000).scan(seed, move |state, _| next(state)).collect::<Vec<_>>()
            };
            let squeezer = spawn(move || {
                let mut squeezed = flate2::write::GzEncoder::new(writing, flate2::Compression::fast());
                // In pieces, so that a debug build does not compute for long in one go.
                for piece in bytes().chunks(10_000) {
                    squeezed.write_all(piece).unwrap();
                    ropewalk::yield_now();
                }
                drop(squeezed.finish().unwrap());
            });
            let reader = spawn(move || {
                // Until all pipes are full and all writers wait, nobody reads.
                let _ = gate.recv();
                let mut back = Vec::new();
                let mut plain = flate2::read::GzDecoder::new(reading);
                let mut piece = vec![0; 10_000];
                while let count @ 1.. = plain.read(&mut piece).unwrap() {
                    back.extend_from_slice(&piece[..count]);
                    ropewalk::yield_now();
                }
                assert!(back == bytes());
            });
            [squeezer, reader]
        };
        let all: Vec<_> = (0..PAIRS).flat_map(pair).collect();
        thread::sleep(Duration::from_millis(100));
        drop(open_gate);
        all.into_iter().for_each(|handle| handle.join().unwrap());
    });
    println!("flate2: {PAIRS} pipes took {:?}", shown.took);
    assert!(shown.reports.is_empty(), "{:?}", shown.reports);
    assert!(shown.parks(&["write"]) >= u64::from(PAIRS), "every writer finds its pipe full");
    assert!(shown.parks(&["read"]) > 0);
}

#[test]
fn a_hundred_children_at_once() {
    const CHILDREN: u32 = 100;
    let delay = Duration::from_millis(500);
    let ((), shown) = on_one_worker("children", move || {
        let run = |number: u32| {
            spawn(move || {
                let script = format!("sleep {}; echo {number}; echo oops >&2; exit 3", delay.as_secs_f64());
                let output = Command::new("sh").args(["-c", &script]).output().unwrap();
                assert_eq!(output.status.code(), Some(3));
                assert_eq!(output.stdout, format!("{number}\n").into_bytes());
                assert_eq!(output.stderr, b"oops\n");
            })
        };
        let all: Vec<_> = (0..CHILDREN).map(run).collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
    });
    shown.check("Command::output", CHILDREN, delay);
    assert!(shown.parks(&["poll"]) >= u64::from(CHILDREN));
}
