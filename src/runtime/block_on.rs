//! Futures, waited for like anything else.
#![forbid(unsafe_code)]

use core::future::Future;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use super::park::Reason;
use super::permit::Permit;

impl Wake for Permit {
    fn wake(self: Arc<Self>) {
        self.give();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.give();
    }
}

/// Runs a future to its end on the calling coroutine or thread.
///
/// Between polls the caller waits for the future's waker, so a coroutine leaves its worker to others.
/// A cancellation point; the future is dropped when the caller unwinds. Futures that need the reactor
/// of another runtime need that runtime running.
///
/// # Panics
/// If the future does.
///
/// # Examples
/// ```
/// let handle = ropewalk::spawn(|| 42);
/// assert_eq!(ropewalk::block_on(handle).unwrap(), 42);
/// assert_eq!(ropewalk::block_on(async { 1 + 1 }), 2);
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let permit = Arc::new(Permit::default());
    let waker = Waker::from(Arc::clone(&permit));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => {
                permit.take(Reason::Future, None);
            }
        }
    }
}
