//! What a replaced `read` costs where nothing has to wait: outside of coroutines, and on a file in the page cache.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek};
use std::mem::transmute;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "read-outside",
        cpus: 1,
        rounds: 9,
        rows: &[
            Row { title: "read of /dev/null, plain thread, replaced", unit: Unit::Nanos, targets: &[] },
            Row { title: "the same, libc's own function", unit: Unit::Nanos, targets: &[] },
            Row { title: "the difference", unit: Unit::Nanos, targets: &[Target::AtMost(3.0)] },
            Row {
                title: "the difference, while a runtime's threads exist",
                unit: Unit::Nanos,
                targets: &[Target::AtMost(3.0)],
            },
        ],
        contenders: &[Contender { name: "ropewalk", run: outside }],
    },
    Group {
        name: "read-file",
        cpus: 1,
        rounds: 9,
        rows: &[
            Row { title: "read of 4 KiB, page cache, coroutine", unit: Unit::Nanos, targets: &[] },
            Row {
                title: "divided by that of a plain thread",
                unit: Unit::Count,
                targets: &[Target::AtMost(1.3)],
            },
            Row { title: "pread of 4 KiB, page cache, coroutine", unit: Unit::Nanos, targets: &[] },
            Row {
                title: "divided by that of a plain thread",
                unit: Unit::Count,
                targets: &[Target::AtMost(1.3)],
            },
        ],
        contenders: &[Contender { name: "ropewalk", run: file }],
    },
];

/// Two ways to do the same in one process, in turns, because they differ less than two processes do: nanoseconds for
/// one operation of each, the best of many short batches.
fn in_turns<const N: usize>(
    scale: Scale,
    count: u64,
    mut batch: impl FnMut(usize, u64) -> Duration,
) -> [f64; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..scale.pick(100, 20) {
        for (way, best) in best.iter_mut().enumerate() {
            *best = batch(way, count).min(*best);
        }
    }
    best.map(|best| best.as_secs_f64() * 1e9 / count as f64)
}

type ReadFunction = unsafe extern "C" fn(i32, *mut libc::c_void, usize) -> isize;

fn outside(scale: Scale) -> Vec<f64> {
    ropewalk::monkey::patch_all().expect("the functions arrive");
    // SAFETY: asks for a name.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"read".as_ptr()) };
    assert!(!found.is_null(), "libc has a read");
    // SAFETY: that is its type.
    let own = unsafe { transmute::<*mut libc::c_void, ReadFunction>(found) };
    let replaced: ReadFunction = libc::read;
    assert!(!std::ptr::fn_addr_eq(own, replaced), "the name is ropewalk's");
    let null = File::open("/dev/null").expect("it is there");
    let batch = |way: usize, count: u64| {
        let (mut byte, begin) = (0u8, Instant::now());
        let function = [replaced, own][way];
        for _ in 0..count {
            // SAFETY: there is room for a byte.
            black_box(unsafe { function(null.as_raw_fd(), (&raw mut byte).cast(), 1) });
        }
        begin.elapsed()
    };
    let [here, libcs] = in_turns(scale, 20_000, batch);
    // libc does more in a process of several threads.
    peers::ropewalk(1, || ());
    let [here_beside, libcs_beside] = in_turns(scale, 20_000, batch);
    vec![here, libcs, here - libcs, here_beside - libcs_beside]
}

fn own_file() -> File {
    File::open(std::env::current_exe().expect("the program knows its path")).expect("it is readable")
}

/// Reads this program's own file, which has just been loaded, so the page cache has it.
fn file(scale: Scale) -> Vec<f64> {
    const BLOCK: usize = 4096;
    /// 1 MiB, all of which is in the file.
    const BLOCKS: u64 = 256;
    ropewalk::monkey::patch_all().expect("the functions arrive");
    let read = |count: u64| {
        let (mut file, mut block) = (own_file(), [0; BLOCK]);
        let begin = Instant::now();
        for _ in 0..count / BLOCKS {
            file.rewind().expect("it is a file");
            for _ in 0..BLOCKS {
                file.read_exact(black_box(&mut block)).expect("it is longer than that");
            }
        }
        begin.elapsed()
    };
    let read_at = |count: u64| {
        let (file, mut block) = (own_file(), [0; BLOCK]);
        let begin = Instant::now();
        for number in 0..count {
            let at = number % BLOCKS * BLOCK as u64;
            file.read_exact_at(black_box(&mut block), at).expect("it is longer than that");
        }
        begin.elapsed()
    };
    let runtime = ropewalk::Runtime::builder().workers(1).build().expect("ropewalk starts");
    let mut figures = Vec::new();
    for operation in [read as fn(u64) -> Duration, read_at] {
        let batch = |way: usize, count: u64| match way {
            0 => runtime.run(move || operation(count)),
            _ => operation(count),
        };
        let [coroutine, thread] = in_turns(scale, 4 * BLOCKS, batch);
        figures.extend([coroutine, coroutine / thread]);
    }
    figures
}
