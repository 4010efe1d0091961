//! Misuse and exhaustion: each a clear error or panic that names the thing; nothing lost, nothing hung.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{on_workers, watched};
use ropewalk::sync::Mutex;

#[test]
fn a_try_lock_that_fails_leaves_the_lock_to_its_holder() {
    on_workers(|| {
        let mutex = Arc::new(Mutex::new(1));
        let own = Arc::clone(&mutex);
        let guard = mutex.lock();
        let tried = ropewalk::spawn(move || {
            let first = own.try_lock().is_some();
            (first, own.try_lock().is_some())
        });
        assert_eq!(tried.join().unwrap(), (false, false));
        assert!(mutex.is_locked());
        assert!(mutex.try_lock().is_none());
        drop(guard);
        assert!(mutex.try_lock().is_some());
    });
    watched(|| {
        let mutex = Mutex::new(1);
        let _guard = mutex.lock();
        assert!(mutex.try_lock().is_none() && mutex.is_locked());
    });
}

#[test]
fn a_panic_that_was_joined_is_not_raised_again_by_the_scope() {
    on_workers(|| {
        for _ in 0..50 {
            let taken = ropewalk::scope(|s| {
                let bad = s.spawn(|| std::panic::resume_unwind(Box::new(7u8)));
                let good = s.spawn(|| 8u8);
                (bad.join().is_err(), good.join().unwrap())
            });
            assert_eq!(taken, (true, 8));
        }
        let payload = std::panic::catch_unwind(|| {
            ropewalk::scope(|s| drop(s.spawn(|| std::panic::resume_unwind(Box::new(7u8)))));
        });
        assert!(payload.is_err(), "a panic that nobody joined is");
    });
}
