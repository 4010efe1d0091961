//! A thousand units of one worker around one mutex. Each yields with the lock held, so that all others wait:
//! how long a lock takes, and how many kernel calls all of them take together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{
    Contender, Group, Row, Scale, Target, Unit, begin_counting, end_counting, kernel_calls, per_operation,
};
use crate::peers;

pub static GROUPS: &[Group] = &[Group {
    name: "mutex-1000",
    cpus: 1,
    rounds: 5,
    rows: &[
        Row { title: "mutex held over a yield, 1,000 coroutines", unit: Unit::Nanos, targets: &[] },
        Row {
            title: "the same: kernel calls in 100,000 locks",
            unit: Unit::Count,
            targets: &[Target::AtMost(0.0)],
        },
    ],
    contenders: &[
        Contender { name: "ropewalk", run: ropewalk },
        Contender { name: "may", run: may },
        Contender { name: "tokio", run: |scale| tokio(scale, 1) },
        Contender { name: "tokio-single", run: |scale| tokio(scale, 0) },
    ],
}];

const CROWD: u64 = 1000;
/// Locks that are taken while kernel calls are counted.
const COUNTED: u64 = 100_000;

/// What the crowd shares but for the mutex. All have started, and waited for the mutex once, before
/// the course begins: starting and ending are neither timed nor counted.
struct Course {
    /// Locks of each unit.
    each: u64,
    counted: bool,
    ready: AtomicU64,
    done: AtomicU64,
    begin: AtomicU64,
    took: AtomicU64,
    origin: Instant,
}

impl Course {
    fn new(each: u64, counted: bool) -> Arc<Self> {
        let zero = || AtomicU64::new(0);
        let (ready, done, begin, took) = (zero(), zero(), zero(), zero());
        Arc::new(Self { each, counted, ready, done, begin, took, origin: Instant::now() })
    }

    /// True for the last one.
    fn is_ready(&self) -> bool {
        // Relaxed, here and below: there is one worker.
        self.ready.fetch_add(1, Ordering::Relaxed) == CROWD - 1
    }

    fn begins(&self) {
        if self.counted {
            begin_counting();
        }
        self.begin.store(self.origin.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// To be called by each unit after its last lock.
    fn is_done(&self) {
        if self.done.fetch_add(1, Ordering::Relaxed) < CROWD - 1 {
            return;
        }
        let end = self.origin.elapsed().as_nanos() as u64;
        self.took.store(end - self.begin.load(Ordering::Relaxed), Ordering::Relaxed);
        if self.counted {
            end_counting();
        }
    }

    fn took(&self) -> Duration {
        Duration::from_nanos(self.took.load(Ordering::Relaxed))
    }
}

/// Kernel calls of a counted course; and time, of courses of at least as many locks as asked for.
fn time_and_calls(scale: Scale, course: impl Fn(u64, bool) -> Duration) -> Vec<f64> {
    let calls = kernel_calls(|| {
        course(COUNTED / CROWD, true);
    });
    let time = per_operation(scale, |count| {
        let each = count.div_ceil(CROWD);
        course(each, false).mul_f64(count as f64 / (each * CROWD) as f64)
    });
    vec![time, calls]
}

fn ropewalk(scale: Scale) -> Vec<f64> {
    time_and_calls(scale, |each, counted| peers::ropewalk(1, move || ropewalk_course(each, counted)))
}

fn ropewalk_course(each: u64, counted: bool) -> Duration {
    let course = Course::new(each, counted);
    let shared = Arc::new((ropewalk::sync::Mutex::new(0), ropewalk::sync::Event::new()));
    let unit = |_| {
        let (shared, course) = (Arc::clone(&shared), Arc::clone(&course));
        ropewalk::spawn(move || {
            let (lock, go) = &*shared;
            let guard = lock.lock();
            ropewalk::yield_now();
            drop(guard);
            if course.is_ready() {
                course.begins();
                go.set();
            }
            go.wait();
            for _ in 0..course.each {
                let mut guard = lock.lock();
                *guard += 1;
                ropewalk::yield_now();
            }
            course.is_done();
        })
    };
    ropewalk::join_all((0..CROWD).map(unit));
    assert_eq!(*shared.0.lock(), CROWD * each);
    course.took()
}

/// May's workers cannot be started twice: all courses run on the same ones.
fn may(scale: Scale) -> Vec<f64> {
    time_and_calls(scale, |each, counted| peers::may(1, move || may_course(each, counted)))
}

fn may_course(each: u64, counted: bool) -> Duration {
    let course = Course::new(each, counted);
    let shared = Arc::new((may::sync::Mutex::new(0), may::sync::SyncFlag::new()));
    let unit = |_| {
        let (shared, course) = (Arc::clone(&shared), Arc::clone(&course));
        peers::may_spawn(move || {
            let (lock, go) = &*shared;
            let guard = lock.lock().expect("nobody panics");
            may::coroutine::yield_now();
            drop(guard);
            if course.is_ready() {
                course.begins();
                go.fire();
            }
            go.wait();
            for _ in 0..course.each {
                let mut guard = lock.lock().expect("nobody panics");
                *guard += 1;
                may::coroutine::yield_now();
            }
            course.is_done();
        })
    };
    let handles: Vec<_> = (0..CROWD).map(unit).collect();
    handles.into_iter().for_each(|handle| handle.join().expect("it ends well"));
    assert_eq!(*shared.0.lock().expect("nobody panics"), CROWD * each);
    course.took()
}

fn tokio(scale: Scale, workers: usize) -> Vec<f64> {
    time_and_calls(scale, |each, counted| peers::tokio(workers, tokio_course(each, counted)))
}

async fn tokio_course(each: u64, counted: bool) -> Duration {
    let course = Course::new(each, counted);
    let shared = Arc::new((tokio::sync::Mutex::new(0), tokio::sync::Semaphore::new(0)));
    let unit = |_| {
        let (shared, course) = (Arc::clone(&shared), Arc::clone(&course));
        tokio::spawn(async move {
            let (lock, go) = &*shared;
            let guard = lock.lock().await;
            tokio::task::yield_now().await;
            drop(guard);
            if course.is_ready() {
                course.begins();
                go.add_permits(CROWD as usize);
            }
            go.acquire().await.expect("it is not closed").forget();
            for _ in 0..course.each {
                let mut guard = lock.lock().await;
                *guard += 1;
                tokio::task::yield_now().await;
            }
            course.is_done();
        })
    };
    let handles: Vec<_> = (0..CROWD).map(unit).collect();
    for handle in handles {
        handle.await.expect("it ends well");
    }
    assert_eq!(*shared.0.lock().await, CROWD * each);
    course.took()
}
