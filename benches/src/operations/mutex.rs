//! Lock, add one, unlock: alone, and against a second thread.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::harness::{Contender, Group, Row, Scale, Target, Unit, kernel, per_operation};
use crate::peers;

pub static GROUPS: &[Group] = &[
    Group {
        name: "mutex-free",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "mutex lock + unlock, uncontended, thread",
            unit: Unit::Nanos,
            targets: &[Target::Times(1.1, "std")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| free::<ropewalk::sync::Mutex<u64>>(scale) },
            Contender { name: "std", run: |scale| free::<std::sync::Mutex<u64>>(scale) },
            Contender { name: "parking_lot", run: |scale| free::<parking_lot::Mutex<u64>>(scale) },
        ],
    },
    Group {
        name: "mutex-coroutine",
        cpus: 1,
        rounds: 9,
        rows: &[Row {
            title: "mutex lock + unlock, uncontended, coroutine",
            unit: Unit::Nanos,
            targets: &[Target::Times(1.1, "std")],
        }],
        contenders: &[
            Contender {
                name: "ropewalk",
                run: |scale| peers::ropewalk(1, move || free::<ropewalk::sync::Mutex<u64>>(scale)),
            },
            Contender {
                name: "std",
                run: |scale| peers::ropewalk(1, move || free::<std::sync::Mutex<u64>>(scale)),
            },
            Contender {
                name: "parking_lot",
                run: |scale| peers::ropewalk(1, move || free::<parking_lot::Mutex<u64>>(scale)),
            },
            Contender {
                name: "may",
                run: |scale| peers::may(1, move || free::<may::sync::Mutex<u64>>(scale)),
            },
        ],
    },
    Group {
        name: "mutex-threads",
        cpus: 2,
        rounds: 15,
        rows: &[Row {
            title: "mutex lock + unlock, 2 threads",
            unit: Unit::Nanos,
            targets: &[Target::Times(1.0, "parking_lot")],
        }],
        contenders: &[
            Contender { name: "ropewalk", run: |scale| threads::<ropewalk::sync::Mutex<u64>>(scale) },
            Contender { name: "std", run: |scale| threads::<std::sync::Mutex<u64>>(scale) },
            Contender { name: "parking_lot", run: |scale| threads::<parking_lot::Mutex<u64>>(scale) },
        ],
    },
];

trait Lock: Sync {
    fn new() -> Self;
    fn increment(&self) -> u64;
}

impl Lock for ropewalk::sync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn increment(&self) -> u64 {
        let mut guard = self.lock();
        *guard += 1;
        *guard
    }
}

impl Lock for std::sync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn increment(&self) -> u64 {
        let mut guard = self.lock().expect("nobody panics");
        *guard += 1;
        *guard
    }
}

impl Lock for parking_lot::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn increment(&self) -> u64 {
        let mut guard = self.lock();
        *guard += 1;
        *guard
    }
}

impl Lock for may::sync::Mutex<u64> {
    fn new() -> Self {
        Self::new(0)
    }
    #[inline]
    fn increment(&self) -> u64 {
        let mut guard = self.lock().expect("nobody panics");
        *guard += 1;
        *guard
    }
}

fn free<L: Lock>(scale: Scale) -> Vec<f64> {
    let lock = L::new();
    let batch = |count| {
        let begin = Instant::now();
        for _ in 0..count {
            black_box(&lock).increment();
        }
        begin.elapsed()
    };
    vec![per_operation(scale, batch)]
}

/// Both threads, each on a processor of its own, begin at the same moment, and the time runs from there until the later one is done.
fn threads<L: Lock>(scale: Scale) -> Vec<f64> {
    let batch = |count: u64| {
        let (lock, ready) = (L::new(), AtomicU32::new(0));
        let each = count.div_ceil(2);
        let work = |number| {
            kernel::pin_thread(number);
            // Relaxed: it is only about time.
            ready.fetch_add(1, Ordering::Relaxed);
            while ready.load(Ordering::Relaxed) < 2 {
                std::hint::spin_loop();
            }
            let begin = Instant::now();
            (0..each).for_each(|_| {
                lock.increment();
            });
            (begin, Instant::now())
        };
        let [one, other] = std::thread::scope(|scope| {
            [0, 1]
                .map(|number| scope.spawn(move || work(number)))
                .map(|thread| thread.join().expect("it ends well"))
        });
        assert_eq!(lock.increment(), each * 2 + 1);
        one.1.max(other.1) - one.0.min(other.0)
    };
    vec![per_operation(scale, batch)]
}
