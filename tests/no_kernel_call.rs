//! Locks of coroutines on one worker do without the kernel. Alone in its process, because it counts.
#![forbid(unsafe_code)]

mod common;

use std::sync::Arc;

use common::{runtime, watched};
use ropewalk::sync::Mutex;

/// How often the calling thread has slept in the kernel, as that tells.
fn sleeps_of_this_thread() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("the kernel tells");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a count")
}

#[test]
fn a_thousand_coroutines_that_contend_for_a_mutex_on_one_worker_never_sleep_in_the_kernel() {
    watched(|| {
        let runtime = runtime(1);
        // The first round maps stacks; and a page fault may wait for another thread of the process.
        let rounds: Vec<_> = (0..4).map(|_| runtime.run(contend)).collect();
        assert!(rounds.iter().all(|(_, waited)| *waited > 900), "few locks were contended: {rounds:?}");
        assert!(rounds.iter().any(|(slept, _)| *slept == 0), "each round slept in the kernel: {rounds:?}");
    });
}

/// A thousand coroutines, each with the mutex in its hands while the others run: how often their thread
/// slept, and how often they had to wait.
fn contend() -> (u64, usize) {
    let mutex = Arc::new(Mutex::new(0));
    let before = sleeps_of_this_thread();
    let crowd: Vec<_> = (0..1000)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            ropewalk::spawn(move || {
                let mut waited = 0;
                for _ in 0..20 {
                    waited += usize::from(mutex.is_locked());
                    let mut count = mutex.lock();
                    *count += 1;
                    ropewalk::yield_now();
                }
                waited
            })
        })
        .collect();
    let waited: usize = crowd.into_iter().map(|one| one.join().unwrap()).sum();
    assert_eq!(*mutex.lock(), 20_000);
    (sleeps_of_this_thread() - before, waited)
}
