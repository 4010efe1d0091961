//! Asking a thread of a pool for something that it owns: unlike an `offload`, the wait can be cancelled, because
//! the thread uses nothing of the caller's.

use std::sync::{Arc, OnceLock};

use crate::base::lock::Lock;
use crate::runtime::cancel;
use crate::runtime::park::{Outcome, Reason, Waiter, park};
use crate::thread::ThreadPool;

/// Look-ups at the same time; more of them wait.
const LOOK_UPS: usize = 32;

struct State<T> {
    answer: Option<T>,
    waiter: Option<Waiter>,
}

/// Runs `question` on a thread of the pool for look-ups and waits for its answer. `None` if the wait was cancelled; the
/// answer is dropped then, when it comes. On the calling thread, if no other can be started.
pub(super) fn ask<T: Send + 'static>(question: impl Fn() -> T + Send + Sync + 'static) -> Option<T> {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    let pool = POOL.get_or_init(|| ThreadPool::builder(LOOK_UPS).name("names").build());
    let shared = Arc::new(Lock::new(State { answer: None, waiter: None }));
    let question = Arc::new(question);
    let (telling, asking) = (Arc::clone(&shared), Arc::clone(&question));
    let submitted = pool.apply_async(move || {
        let answer = asking();
        let mut state = telling.lock();
        state.answer = Some(answer);
        // SAFETY: the waiter takes this lock before it returns, so its party is alive.
        let claimed = state.waiter.take().and_then(|waiter| unsafe { waiter.claim() });
        drop(state);
        if let Some(claimed) = claimed {
            claimed.wake();
        }
    });
    if submitted.is_err() {
        return Some(question());
    }
    let waiter = {
        let mut state = shared.lock();
        if state.answer.is_some() {
            return state.answer.take();
        }
        let waiter = Waiter::open();
        state.waiter = Some(waiter);
        waiter
    };
    let outcome = park(waiter, Reason::Io, 0, None);
    let mut state = shared.lock();
    state.waiter = None;
    let answer = state.answer.take();
    drop(state);
    if outcome == Outcome::Cancelled {
        cancel::tell();
        return None;
    }
    answer
}
