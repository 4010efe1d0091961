//! A deadline around code that knows nothing of deadlines, and a cancellation that cleans up.
//!
//! ```sh
//! cargo run --release --example timeout
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use ropewalk::channel;
use ropewalk::sync::Mutex;

fn main() {
    let (_sender, receiver) = channel::unbounded::<u32>();
    // Nobody sends: without the deadline this would wait for ever.
    let result = ropewalk::timeout(Duration::from_millis(20), || receiver.recv());
    match result {
        Ok(message) => println!("received {message:?}"),
        Err(elapsed) => println!("gave up: {elapsed}"),
    }
    assert!(result.is_err());

    static ACCOUNT: Mutex<u32> = Mutex::new(100);
    let worker = ropewalk::spawn(|| {
        let mut account = ACCOUNT.lock();
        *account -= 1;
        // Cancelled here, with the lock held: the guard's destructor frees it.
        ropewalk::sleep(Duration::from_secs(3600));
    });
    ropewalk::sleep(Duration::from_millis(5));
    worker.cancel();
    println!("the worker {}", worker.join().expect_err("it was cancelled"));
    println!("the lock is free again: {}", *ACCOUNT.lock());
}
