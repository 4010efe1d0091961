//! A model check of std's parker word as coroutines of a worker share it.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use ropewalk::base::parker_word::{EMPTY, NOTIFIED, PARKED, ParkerWord};

/// A worker with one coroutine that parks until the flag is set.
struct Model {
    word: ParkerWord,
    flag: AtomicBool,
    /// The coroutine waits.
    listed: Mutex<bool>,
}

impl Model {
    fn unpark(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // As std does.
        if self.word.word().swap(NOTIFIED, Ordering::Release) == PARKED {
            *self.listed.lock().unwrap() = false;
        }
    }

    fn park(&self) {
        if self.word.word().fetch_sub(1, Ordering::Acquire) == NOTIFIED {
            return;
        }
        let waits = {
            let mut listed = self.listed.lock().unwrap();
            *listed = self.word.settle();
            *listed
        };
        if waits {
            self.work();
        }
        self.word.give();
        let taken = self.word.word().compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed);
        assert!(taken.is_ok(), "std's park would wait again");
    }

    /// What the worker does until the coroutine is ready.
    fn work(&self) {
        let take = || {
            if self.word.take() {
                *self.listed.lock().unwrap() = false;
            }
        };
        take();
        if !self.word.arm() {
            take();
        }
        // Asleep: a call alone ends this.
        while *self.listed.lock().unwrap() {
            thread::yield_now();
        }
        if !self.word.disarm() {
            take();
        }
    }
}

#[test]
fn an_unpark_calls_or_is_found_before_the_worker_sleeps() {
    loom::model(|| {
        let flag = AtomicBool::new(false);
        let model =
            Arc::new(Model { word: ParkerWord::new(AtomicU32::new(EMPTY)), flag, listed: Mutex::new(false) });
        let unparks = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.unpark())
        };
        // The token alone orders the flag.
        while !model.flag.load(Ordering::Relaxed) {
            model.park();
        }
        unparks.join().unwrap();
    });
}
