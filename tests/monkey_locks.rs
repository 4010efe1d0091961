//! The locks of std, held and waited for by coroutines of one worker, and by threads beside them.
#![cfg(feature = "monkey")]
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use common::{on_one_worker, runtime, watched};
use ropewalk::spawn;

const MS: Duration = Duration::from_millis(1);

/// A mutex of C's, which stays.
struct OfC(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: a mutex is there to be used by several threads.
unsafe impl Sync for OfC {}

impl OfC {
    fn new() -> &'static Self {
        Box::leak(Box::new(Self(libc::PTHREAD_MUTEX_INITIALIZER.into())))
    }

    fn with(&self, f: impl FnOnce()) {
        // SAFETY: a mutex that stays.
        assert_eq!(unsafe { libc::pthread_mutex_lock(self.0.get()) }, 0);
        f();
        // SAFETY: locked above, by this thread.
        assert_eq!(unsafe { libc::pthread_mutex_unlock(self.0.get()) }, 0);
    }
}

#[test]
fn a_mutex_of_c_is_held_across_a_wait() {
    on_one_worker(|| {
        let mutex = OfC::new();
        let inside: &'static AtomicU32 = Box::leak(Box::default());
        let all: Vec<_> = (0..5)
            .map(|_| {
                spawn(move || {
                    for _ in 0..4 {
                        mutex.with(|| {
                            assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "one at a time");
                            thread::sleep(Duration::from_millis(1));
                            inside.fetch_sub(1, Ordering::Relaxed);
                        });
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|one| one.join().unwrap());
    });
}

#[test]
fn a_mutex_of_c_goes_from_threads_to_coroutines_and_back() {
    on_one_worker(|| {
        let mutex = OfC::new();
        let count: &'static AtomicU32 = Box::leak(Box::default());
        let body = move || {
            for n in 0..100 {
                mutex.with(|| {
                    // Two steps, so that two at a time are seen.
                    let seen = count.load(Ordering::Relaxed);
                    if n % 25 == 0 {
                        thread::sleep(Duration::from_micros(100));
                    }
                    count.store(seen + 1, Ordering::Relaxed);
                });
            }
        };
        let threads: Vec<_> = (0..2).map(|_| thread::spawn(body)).collect();
        let coroutines: Vec<_> = (0..3).map(|_| spawn(body)).collect();
        coroutines.into_iter().for_each(|one| one.join().unwrap());
        threads.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(count.load(Ordering::Relaxed), 500);
    });
}

#[test]
fn a_coroutine_that_is_cancelled_while_it_waits_for_a_mutex_of_c_gets_it_first() {
    on_one_worker(|| {
        let mutex = OfC::new();
        let got: &'static AtomicU32 = Box::leak(Box::default());
        let holder = spawn(move || mutex.with(|| thread::sleep(Duration::from_millis(20))));
        ropewalk::yield_now();
        let waiter = spawn(move || {
            mutex.with(|| {
                got.fetch_add(1, Ordering::Relaxed);
            });
            ropewalk::sleep(Duration::from_secs(60));
        });
        ropewalk::sleep(Duration::from_millis(2));
        waiter.cancel();
        holder.join().unwrap();
        assert!(waiter.join().unwrap_err().is_cancelled());
        assert_eq!(got.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_mutex_is_held_across_a_sleep() {
    on_one_worker(|| {
        let mutex = Arc::new(Mutex::new(0u32));
        let add = |mutex: Arc<Mutex<u32>>| {
            spawn(move || {
                let mut value = mutex.lock().unwrap();
                let before = *value;
                thread::sleep(MS / 2);
                *value = before + 1;
            })
        };
        let all: Vec<_> = (0..50).map(|_| add(Arc::clone(&mutex))).collect();
        all.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(*mutex.lock().unwrap(), 50);
    });
}

#[test]
fn threads_and_coroutines_share_a_mutex() {
    watched(|| {
        ropewalk::monkey::patch_all().unwrap();
        let runtime = runtime(2);
        let total = Arc::new(Mutex::new(0u32));
        let work = |total: Arc<Mutex<u32>>| {
            move || {
                for round in 0..2_000 {
                    let mut value = total.lock().unwrap();
                    *value += 1;
                    if round % 100 == 0 {
                        ropewalk::sleep(MS / 10);
                    }
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| thread::spawn(work(Arc::clone(&total)))).collect();
        let coroutines: Vec<_> = (0..8).map(|_| runtime.spawn(work(Arc::clone(&total)))).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        assert_eq!(*total.lock().unwrap(), 20_000);
    });
}

#[test]
fn a_condvar_ping_pong() {
    on_one_worker(|| {
        let table = Arc::new((Mutex::new(0u32), Condvar::new()));
        let player = |parity: u32| {
            let table = Arc::clone(&table);
            spawn(move || {
                for _ in 0..500 {
                    let mut turn = table.0.lock().unwrap();
                    while *turn % 2 != parity {
                        turn = table.1.wait(turn).unwrap();
                    }
                    *turn += 1;
                    table.1.notify_all();
                }
            })
        };
        let players = [player(0), player(1)];
        players.into_iter().for_each(|player| player.join().unwrap());
        assert_eq!(*table.0.lock().unwrap(), 1000);
        let turn = table.0.lock().unwrap();
        let began = Instant::now();
        let (turn, ended) = table.1.wait_timeout(turn, 5 * MS).unwrap();
        assert!(ended.timed_out() && began.elapsed() >= 5 * MS && *turn == 1000);
    });
}

#[test]
fn a_barrier_of_a_hundred() {
    on_one_worker(|| {
        let barrier = Arc::new(Barrier::new(100));
        let wait =
            |barrier: Arc<Barrier>| spawn(move || (0..3).filter(|_| barrier.wait().is_leader()).count());
        let all: Vec<_> = (0..100).map(|_| wait(Arc::clone(&barrier))).collect();
        assert_eq!(all.into_iter().map(|handle| handle.join().unwrap()).sum::<usize>(), 3);
    });
}

#[test]
fn once_lazy_and_rwlock_wait_for_one_that_sleeps() {
    static ONCE: Once = Once::new();
    static CELL: OnceLock<u32> = OnceLock::new();
    static LAZY: LazyLock<u32> = LazyLock::new(|| {
        thread::sleep(2 * MS);
        7
    });
    on_one_worker(|| {
        let runs = Arc::new(AtomicU32::new(0));
        let lock = Arc::new(RwLock::new(0u32));
        let one = |n: u32| {
            let (runs, lock) = (Arc::clone(&runs), Arc::clone(&lock));
            spawn(move || {
                ONCE.call_once(|| {
                    thread::sleep(2 * MS);
                    runs.fetch_add(1, Ordering::Relaxed);
                });
                let cell = *CELL.get_or_init(|| {
                    thread::sleep(2 * MS);
                    5
                });
                if n.is_multiple_of(3) {
                    let mut value = lock.write().unwrap();
                    thread::sleep(MS / 4);
                    *value += 1;
                } else {
                    let value = lock.read().unwrap();
                    thread::sleep(MS / 4);
                    let _ = *value;
                }
                cell + *LAZY
            })
        };
        let all: Vec<_> = (0..30).map(one).collect();
        assert!(all.into_iter().all(|handle| handle.join().unwrap() == 12));
        assert_eq!((runs.load(Ordering::Relaxed), *lock.read().unwrap()), (1, 10));
    });
}

#[test]
fn a_thread_is_joined_without_keeping_the_worker() {
    on_one_worker(|| {
        let told = Arc::new(AtomicBool::new(false));
        let waits = Arc::clone(&told);
        // The thread ends only once a coroutine of the same worker has run.
        let thread = thread::spawn(move || {
            while !waits.load(Ordering::Relaxed) {
                thread::sleep(MS);
            }
            42
        });
        let teller = spawn(move || told.store(true, Ordering::Relaxed));
        assert_eq!(thread.join().unwrap(), 42);
        teller.join().unwrap();
    });
}

#[test]
fn scoped_threads_are_waited_for() {
    on_one_worker(|| {
        let mut values = [0u32; 4];
        thread::scope(|scope| {
            for value in &mut values {
                scope.spawn(|| {
                    thread::sleep(MS);
                    *value += 1;
                });
            }
        });
        assert_eq!(values, [1; 4]);
    });
}

/// As rayon does it: one lock for all that a thread waits for, one thing at a time.
struct Latch(Mutex<bool>, Condvar);

impl Latch {
    fn set(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn wait_and_reset(&self) {
        let mut is_set = self.0.lock().unwrap();
        while !*is_set {
            is_set = self.1.wait(is_set).unwrap();
        }
        *is_set = false;
    }
}

#[test]
fn a_wait_on_a_lock_of_the_threads_is_the_threads() {
    thread_local! {
        static LATCH: Latch = const { Latch(Mutex::new(false), Condvar::new()) };
    }
    on_one_worker(|| {
        let all = (0..8u32).map(|n| {
            spawn(move || {
                for _ in 0..20 {
                    let done = AtomicU32::new(0);
                    LATCH.with(|latch| {
                        thread::scope(|scope| {
                            scope.spawn(|| {
                                thread::sleep(MS / 10 * (n % 3));
                                done.store(n + 1, Ordering::Relaxed);
                                latch.set();
                            });
                            latch.wait_and_reset();
                            assert_eq!(done.load(Ordering::Relaxed), n + 1, "another's end was taken");
                        });
                    });
                }
            })
        });
        ropewalk::join_all(all.collect::<Vec<_>>()).into_iter().for_each(|end| end.unwrap());
    });
}
