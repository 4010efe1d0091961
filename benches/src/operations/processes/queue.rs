//! Messages from one process to another: a stream of small ones, of large ones, and to and fro.

use std::hint::black_box;
use std::time::Instant;

use ipc_channel::ipc::{self, IpcSender};
use ropewalk::process::{Process, Queue};

use super::{python, raw};
use crate::harness::{Contender, Group, Row, Scale, Target, Unit};

const SMALL: usize = 64;
const LARGE: usize = 1 << 20;
/// Messages that a queue holds.
const CAPACITY: usize = 1024;

pub static GROUPS: &[Group] = &[
    Group {
        name: "queue-stream-64",
        cpus: 2,
        rounds: 7,
        rows: &[Row {
            title: "queue between processes: stream of 64 bytes, each",
            unit: Unit::Nanos,
            // Three million a second.
            targets: &[Target::AtMost(333.0), Target::Times(0.2, "python")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: encoded },
            Contender { name: "ropewalk-slice", run: |scale| slices(scale, SMALL, false) },
            Contender { name: "ropewalk-in-place", run: |scale| slices(scale, SMALL, true) },
            Contender { name: "pipe", run: |scale| pipe(scale, SMALL) },
            Contender { name: "ipc-channel", run: |scale| ipc(scale, SMALL) },
            Contender {
                name: "python",
                run: |scale| nanos(python::measure("stream", &[SMALL, scale.pick(50_000, 5_000)])),
            },
        ],
    },
    Group {
        name: "queue-stream-1M",
        cpus: 2,
        rounds: 7,
        rows: &[Row {
            title: "queue between processes: stream of 1 MiB, each",
            unit: Unit::Micros,
            // 0.6 of the speed of a copy.
            targets: &[Target::Times(1.0 / 0.6, "memcpy"), Target::Times(0.2, "python")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| micros(slices(scale, LARGE, false)) },
            Contender { name: "ropewalk-in-place", run: |scale| micros(slices(scale, LARGE, true)) },
            Contender { name: "memcpy", run: memcpy },
            Contender { name: "pipe", run: |scale| micros(pipe(scale, LARGE)) },
            Contender { name: "ipc-channel", run: |scale| micros(ipc(scale, LARGE)) },
            Contender {
                name: "python",
                run: |scale| python::measure("stream", &[LARGE, scale.pick(500, 100)]),
            },
        ],
    },
    Group {
        name: "queue-trip",
        cpus: 2,
        rounds: 5,
        rows: &[Row {
            title: "queue between processes: round trip",
            unit: Unit::Micros,
            targets: &[Target::AtMost(65.0), Target::Times(0.5, "python")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: trip },
            Contender { name: "pipe", run: pipe_trip },
            Contender { name: "ipc-channel", run: ipc_trip },
            Contender {
                name: "python",
                run: |scale| python::measure("queue-trip", &[scale.pick(3000, 300)]),
            },
        ],
    },
];

fn micros(figures: Vec<f64>) -> Vec<f64> {
    figures.into_iter().map(|nanos| nanos / 1e3).collect()
}

fn nanos(figures: Vec<f64>) -> Vec<f64> {
    figures.into_iter().map(|micros| micros * 1e3).collect()
}

/// Messages of a stream: some hundred milliseconds' worth.
fn count(scale: Scale, len: usize) -> u64 {
    if len == SMALL { scale.pick(1_000_000, 100_000) } else { scale.pick(1_500, 200) }
}

/// Nanoseconds for each message after the first: the sender's start is not part of the stream. The best of three.
fn per_message(count: u64, mut stream: impl FnMut(u64) -> f64) -> Vec<f64> {
    vec![(0..3).map(|_| stream(count)).fold(f64::INFINITY, f64::min)]
}

fn timed(count: u64, mut receive: impl FnMut()) -> f64 {
    receive();
    let begin = Instant::now();
    (1..count).for_each(|_| receive());
    begin.elapsed().as_secs_f64() * 1e9 / (count - 1) as f64
}

/// Text of 63 bytes, which serde encodes in 64.
fn encoded(scale: Scale) -> Vec<f64> {
    per_message(count(scale, SMALL), |count| {
        let queue = Queue::<String>::bounded(CAPACITY).expect("a queue");
        let put_all = |(queue, count): (Queue<String>, u64)| {
            let text = "x".repeat(SMALL - 1);
            (0..count).for_each(|_| queue.put(text.clone()).expect("it is open"));
        };
        let child = Process::spawn(put_all, (queue.clone(), count)).expect("it starts");
        let took = timed(count, || assert_eq!(queue.get().expect("it is open").len(), SMALL - 1));
        child.join().expect("it ends well");
        took
    })
}

fn slices(scale: Scale, len: usize, in_place: bool) -> Vec<f64> {
    per_message(count(scale, len), |count| {
        let queue = Queue::<[u8]>::bounded(CAPACITY).expect("a queue");
        let put_all = |(queue, len, count, in_place): (Queue<[u8]>, usize, u64, bool)| {
            let message = vec![7; len];
            for n in 0..count {
                if in_place {
                    let mut room = queue.reserve(len).expect("it is open");
                    room.fill(n as u8);
                    room.commit();
                } else {
                    queue.put_slice(black_box(&message)).expect("it is open");
                }
            }
        };
        let child = Process::spawn(put_all, (queue.clone(), len, count, in_place)).expect("it starts");
        let mut bytes = Vec::new();
        let took = timed(count, || {
            if in_place {
                let message = queue.get_in_place().expect("it is open");
                let words = message.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
                black_box(words.fold(0, u64::wrapping_add));
            } else {
                bytes.clear();
                assert_eq!(queue.get_into(&mut bytes).expect("it is open"), len);
                black_box(&bytes);
            }
        });
        child.join().expect("it ends well");
        took
    })
}

/// A copy from one buffer to another.
fn memcpy(scale: Scale) -> Vec<f64> {
    let (from, mut to) = (vec![7u8; LARGE], vec![0u8; LARGE]);
    micros(per_message(count(scale, LARGE), |count| {
        timed(count, || {
            to.copy_from_slice(black_box(&from));
            black_box(&to);
        })
    }))
}

fn pipe(scale: Scale, len: usize) -> Vec<f64> {
    per_message(count(scale, len), |count| {
        let (mut reader, mut writer) = raw::pipe();
        let child = raw::fork(|| raw::write_all(&mut writer, &vec![7; len], count));
        let mut message = vec![0; len];
        let took = timed(count, || raw::read(&mut reader, &mut message));
        child.join();
        took
    })
}

fn ipc(scale: Scale, len: usize) -> Vec<f64> {
    let count = count(scale, len);
    let count = if len == SMALL { count / 4 } else { count };
    per_message(count, |count| {
        let (sender, receiver) = ipc::bytes_channel().expect("a channel");
        let child = raw::fork(|| {
            let message = vec![7; len];
            (0..count).for_each(|_| sender.send(&message).expect("the other receives"));
        });
        let took = timed(count, || assert_eq!(receiver.recv().expect("the other sends").len(), len));
        child.join();
        took
    })
}

/// Microseconds of a message and its answer; the best of three.
fn per_trip(scale: Scale, mut trip: impl FnMut(u64)) -> Vec<f64> {
    let count = scale.pick(3000, 300);
    let mut batch = || {
        let begin = Instant::now();
        (0..count).for_each(&mut trip);
        begin.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    batch();
    vec![(0..3).map(|_| batch()).fold(f64::INFINITY, f64::min)]
}

fn trip(scale: Scale) -> Vec<f64> {
    let (there, back) =
        (Queue::<u64>::bounded(1).expect("a queue"), Queue::<u64>::bounded(1).expect("a queue"));
    let answer_all = |(there, back): (Queue<u64>, Queue<u64>)| {
        there.iter().for_each(|n| back.put(n).expect("it is open"));
    };
    let child = Process::spawn(answer_all, (there.clone(), back.clone())).expect("it starts");
    let figures = per_trip(scale, |n| {
        there.put(n).expect("it is open");
        assert_eq!(back.get(), Ok(n));
    });
    there.close();
    child.join().expect("it ends well");
    figures
}

fn pipe_trip(scale: Scale) -> Vec<f64> {
    let ((mut at_other, mut there), (mut from, mut back)) = (raw::pipe(), raw::pipe());
    let _child = raw::fork(|| {
        let mut message = [0; 8];
        loop {
            raw::read(&mut at_other, &mut message);
            raw::write_all(&mut back, &message, 1);
            if message == [u8::MAX; 8] {
                return;
            }
        }
    });
    let mut one = |n: u64| {
        let mut message = [0; 8];
        raw::write_all(&mut there, &n.to_ne_bytes(), 1);
        raw::read(&mut from, &mut message);
        assert_eq!(u64::from_ne_bytes(message), n);
    };
    let figures = per_trip(scale, &mut one);
    one(u64::MAX);
    figures
}

fn ipc_trip(scale: Scale) -> Vec<f64> {
    let (there, at_other) = ipc::channel::<u64>().expect("a channel");
    let (back, from): (IpcSender<u64>, _) = ipc::channel().expect("a channel");
    let _child = raw::fork(|| {
        loop {
            let n = at_other.recv().expect("the other sends");
            back.send(n).expect("the other receives");
            if n == u64::MAX {
                return;
            }
        }
    });
    let one = |n: u64| {
        there.send(n).expect("the other receives");
        assert_eq!(from.recv().expect("the other sends"), n);
    };
    let figures = per_trip(scale, one);
    one(u64::MAX);
    figures
}
