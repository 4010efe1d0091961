//! What a replaced `read` costs where nothing has to wait: outside of coroutines, and on a file in the page cache.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Seek};
use std::mem::transmute;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, per_operation};
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
        ],
        contenders: &[Contender { name: "ropewalk", run: outside }],
    },
    Group {
        name: "read-file",
        cpus: 1,
        rounds: 9,
        rows: &[
            Row {
                title: "read of 4 KiB, page cache, coroutine",
                unit: Unit::Nanos,
                targets: &[Target::Times(1.3, "thread")],
            },
            Row {
                title: "pread of 4 KiB, page cache, coroutine",
                unit: Unit::Nanos,
                targets: &[Target::Times(1.3, "thread")],
            },
        ],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| peers::ropewalk(1, move || file(scale)) },
            Contender { name: "thread", run: file },
        ],
    },
];

type ReadFunction = unsafe extern "C" fn(i32, *mut libc::c_void, usize) -> isize;

/// Both functions in one process, in turns: the difference is smaller than that of two processes.
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
    let time = |function: ReadFunction, count: u64| {
        let (mut byte, begin) = (0u8, Instant::now());
        for _ in 0..count {
            // SAFETY: there is room for a byte.
            black_box(unsafe { function(null.as_raw_fd(), (&raw mut byte).cast(), 1) });
        }
        begin.elapsed()
    };
    let (mut best, count) = ([Duration::MAX; 2], 20_000);
    for _ in 0..scale.pick(100, 20) {
        for (best, function) in best.iter_mut().zip([replaced, own]) {
            *best = time(function, count).min(*best);
        }
    }
    let [replaced, own] = best.map(|best| best.as_secs_f64() * 1e9 / count as f64);
    vec![replaced, own, replaced - own]
}

/// Reads this program's own file, which has just been loaded, so the page cache has it.
fn file(scale: Scale) -> Vec<f64> {
    const LENGTH: u64 = 1 << 20;
    ropewalk::monkey::patch_all().expect("the functions arrive");
    let program = std::env::current_exe().expect("the program knows its path");
    let mut file = File::open(program).expect("it is readable");
    let mut block = [0; 4096];
    let mut read_all = |count: u64| {
        let begin = Instant::now();
        for number in 0..count {
            if number % (LENGTH / 4096) == 0 {
                file.rewind().expect("it is a file");
            }
            file.read_exact(black_box(&mut block)).expect("it is longer than that");
        }
        begin.elapsed()
    };
    let read = per_operation(scale, &mut read_all);
    let read_at = |count: u64| {
        let begin = Instant::now();
        for number in 0..count {
            let at = number * 4096 % LENGTH;
            file.read_exact_at(black_box(&mut block), at).expect("it is longer than that");
        }
        begin.elapsed()
    };
    vec![read, per_operation(scale, read_at)]
}
