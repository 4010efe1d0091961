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
