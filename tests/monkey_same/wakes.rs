//! The kernel's ways to wake a futex, for one that waits as std's locks do.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

#[test]
fn wakes_answer_alike() {
    alike(CASES);
}

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;

/// Two words of the same frame.
type Words = [AtomicU32; 2];

fn futex(word: &AtomicU32, operation: c_int, args: [usize; 4]) -> i64 {
    let [a, b, c, d] = args;
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation | PRIVATE, a, b, c, d) }
}

/// Waits as std does while the word is 0, for `millis` at most.
fn wait(seen: &mut Seen, word: &AtomicU32, millis: i64) {
    let mut until: libc::timespec = unsafe { zeroed() };
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut until) };
    let nanos = until.tv_nsec + millis * 1_000_000;
    (until.tv_sec, until.tv_nsec) = (until.tv_sec + nanos / 1_000_000_000, nanos % 1_000_000_000);
    let until: *const libc::timespec = &until;
    let args = [0, until as usize, 0, u32::MAX as usize];
    seen.call("wait", futex(word, libc::FUTEX_WAIT_BITSET, args));
}

/// Has another thread wake, in turn and with pauses, while this one waits on the first word.
fn woken(seen: &mut Seen, millis: i64, acts: &'static [fn(&Words) -> i64]) {
    let words: &'static Words = Box::leak(Box::new([const { AtomicU32::new(0) }; 2]));
    let waker = thread::spawn(move || {
        let act = |act: &fn(&Words) -> i64| {
            thread::sleep(15 * MS);
            act(words)
        };
        acts.iter().map(act).collect::<Vec<_>>()
    });
    wait(seen, &words[0], millis);
    seen.note(waker.join().unwrap());
    seen.note(words.each_ref().map(|word| word.load(Ordering::SeqCst)));
}

fn wake(word: &AtomicU32) -> i64 {
    futex(word, libc::FUTEX_WAKE, [1, 0, 0, 0])
}

fn requeue(words: &Words, operation: c_int, wakes: usize, moves: usize, value: usize) -> i64 {
    futex(&words[0], operation, [wakes, moves, words[1].as_ptr() as usize, value])
}

fn operate(words: [&AtomicU32; 2], code: u32) -> i64 {
    futex(words[0], libc::FUTEX_WAKE_OP, [1, 1, words[1].as_ptr() as usize, code as usize])
}

/// `FUTEX_OP` of the manual.
fn code(operation: u32, operand: u32, comparison: u32, compared: u32) -> u32 {
    operation << 28 | comparison << 24 | (operand & 0xfff) << 12 | compared & 0xfff
}

const CASES: &[Case] = &[
    ("by bits", |seen| {
        woken(
            seen,
            5000,
            &[|words| {
                words[0].store(1, Ordering::SeqCst);
                futex(&words[0], libc::FUTEX_WAKE_BITSET, [1, 0, 0, 4])
            }],
        );
        woken(seen, 40, &[|words| futex(&words[0], libc::FUTEX_WAKE_BITSET, [1, 0, 0, 0])]);
    }),
    ("with a requeue that wakes", |seen| {
        woken(seen, 5000, &[|words| requeue(words, libc::FUTEX_CMP_REQUEUE, 1, 1, 0)]);
        woken(seen, 5000, &[|words| requeue(words, libc::FUTEX_REQUEUE, 1, 1, 0)]);
        woken(seen, 40, &[|words| requeue(words, libc::FUTEX_CMP_REQUEUE, 1, 1, 7)]);
        woken(seen, 40, &[|words| requeue(words, libc::FUTEX_CMP_REQUEUE, usize::MAX, 1, 0)]);
    }),
    ("with a requeue that moves", |seen| {
        // It waits for the other word from then on, and for that word's wake alone.
        woken(
            seen,
            5000,
            &[
                |words| requeue(words, libc::FUTEX_CMP_REQUEUE, 0, 1, 0),
                |words| wake(&words[0]),
                |words| wake(&words[1]),
            ],
        );
        woken(
            seen,
            5000,
            &[
                |words| requeue(words, libc::FUTEX_REQUEUE, 0, 5, 0),
                // At once: it may still be on its way.
                |words| requeue(words, libc::FUTEX_REQUEUE, 0, 5, 0) + wake(&words[1]),
            ],
        );
        // And back, and until its time is over.
        woken(
            seen,
            60,
            &[
                |words| requeue(words, libc::FUTEX_CMP_REQUEUE, 0, 1, 0),
                |words| {
                    let first = words[0].as_ptr() as usize;
                    futex(&words[1], libc::FUTEX_CMP_REQUEUE, [0, 1, first, 0])
                },
                |words| wake(&words[1]),
            ],
        );
    }),
    ("with an operation", |seen| {
        // Wakes at the first word whatever the second was.
        woken(seen, 5000, &[|words| operate([&words[0], &words[1]], code(1, 3, 1, 0))]);
        // Wakes at the second if it was as it should be.
        woken(seen, 5000, &[|words| operate([&words[1], &words[0]], code(0, 5, 0, 0))]);
        woken(seen, 40, &[|words| operate([&words[1], &words[0]], code(2, 6, 1, 0))]);
        woken(seen, 5000, &[|words| operate([&words[1], &words[0]], code(4, 1, 5, 0xfff))]);
        woken(seen, 5000, &[|words| operate([&words[1], &words[0]], code(8 | 1, 4, 2, 1))]);
        woken(seen, 40, &[|words| operate([&words[1], &words[0]], code(3, 1, 4, 0))]);
        woken(seen, 40, &[|words| operate([&words[1], &words[0]], code(7, 1, 4, 0))]);
    }),
];
