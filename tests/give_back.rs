//! Memory of stacks goes back to the kernel. In a file of its own, one test at a time: it looks at the
//! memory of the whole process.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::{Arc, Mutex};

use common::watched;
use ropewalk::sync::Barrier;
use ropewalk::{Runtime, spawn};

static ALONE: Mutex<()> = Mutex::new(());

const COROUTINES: usize = 300;
const DEEP: usize = 160 * 1024;

/// Bytes of memory that this process has now.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the kernel tells");
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Touches `DEEP` bytes of the stack below `top`.
#[inline(never)]
fn dig(top: usize) -> usize {
    let frame = std::hint::black_box([1u8; 256]);
    let depth = top - frame.as_ptr().addr();
    if depth >= DEEP { depth } else { dig(top) + usize::from(frame[depth % 256]) }
}

/// Runs coroutines that are deep all at once, on the worker that calls, and tells how much memory there was
/// before.
fn many_deep_ones() -> usize {
    let before = resident();
    let all = Arc::new(Barrier::new(COROUTINES));
    let one = |all: Arc<Barrier>| {
        let here = 0u8;
        std::hint::black_box(dig(std::ptr::from_ref(&here).addr()));
        let _ = all.wait();
    };
    let handles: Vec<_> =
        (0..COROUTINES).map(|_| Arc::clone(&all)).map(|all| spawn(move || one(all))).collect();
    handles.into_iter().for_each(|handle| handle.join().unwrap());
    let grown = resident().saturating_sub(before);
    assert!(grown > COROUTINES * DEEP / 2, "they were not deep, or their stacks were not kept: {grown}");
    before
}

#[test]
fn a_worker_that_rests_keeps_no_deep_stacks() {
    watched(|| {
        let _alone = ALONE.lock();
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let before = runtime.run(many_deep_ones);
        while resident() > before + COROUTINES * 3 * 4096 {
            std::thread::yield_now();
        }
        assert!(runtime.metrics().total.stacks_cached >= COROUTINES as u64, "they are kept, but flat");
    });
}

#[test]
fn a_worker_that_never_rests_keeps_few_deep_stacks() {
    watched(|| {
        let _alone = ALONE.lock();
        Runtime::builder().workers(1).build().unwrap().run(|| {
            let before = many_deep_ones();
            // As many as there are between two looks, twice; one or two stacks serve them all.
            (0..2 * 4096 + COROUTINES).for_each(|_| spawn(|| ()).join().unwrap());
            let left = resident().saturating_sub(before);
            assert!(left < COROUTINES * 3 * 4096, "{left} bytes are left of {}", COROUTINES * DEEP);
        });
    });
}
