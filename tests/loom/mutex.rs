//! The word of a mutex.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[test]
fn a_mutex_word_has_one_owner_and_an_unlock_sees_who_waits() {
    use loom::sync::Mutex;
    use ropewalk::base::owner_word::{Found, OwnerWord};
    loom::model(|| {
        // The queue under its lock, as a count of waiters.
        let shared = Arc::new((OwnerWord::new(), Mutex::new(0u32), AtomicU32::new(0)));
        let (word, _, inside) = &*shared;
        assert!(word.try_fast(1));
        inside.store(1, Ordering::Relaxed);
        let locker = {
            let shared = shared.clone();
            thread::spawn(move || {
                let (word, queue, inside) = &*shared;
                loop {
                    match word.try_barge(2) {
                        Found::Taken => break,
                        Found::Held { owner, .. } => {
                            if !word.contend(owner) {
                                continue;
                            }
                            let mut waiting = queue.lock().unwrap();
                            if word.is_contended() {
                                *waiting += 1;
                                return false;
                            }
                        }
                    }
                }
                assert_eq!(inside.swap(2, Ordering::Relaxed), 0, "two owners at once");
                true
            })
        };
        let (word, queue, inside) = &*shared;
        inside.store(0, Ordering::Relaxed);
        let mut woken = 0;
        if !word.unlock_fast(1) {
            let mut waiting = queue.lock().unwrap();
            woken = std::mem::take(&mut *waiting);
            word.hand_over(0);
            word.settle();
        }
        let got = locker.join().unwrap();
        // The locker has the mutex, or it waited and was found waiting.
        assert!(got != (woken == 1), "a waiter was missed");
    });
}
