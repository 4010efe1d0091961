//! What one thread does to another thread's worker: hand over a coroutine, ask for a cancellation.
//!
//! The coroutine handed over may run, end, and be the last of its runtime before the sender is done
//! with the worker; so the sender holds the runtime while it works: two atomic additions.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::core::Core;
use super::party;
use super::task::{Task, TaskRef};
use super::worker::{self, Worker};
use crate::base::lock::Lock;
use crate::coroutine::stack::shortage;

impl Worker {
    /// Wakes the worker if it sleeps; true if it did. From any thread.
    #[inline]
    pub(crate) fn wake_if_asleep(&self) -> bool {
        // SeqCst: the loads of the sleep protocol in `idle`; the first spares a write to a shared line.
        let asleep = self.sleeping.load(Ordering::SeqCst) && self.sleeping.swap(false, Ordering::SeqCst);
        if asleep {
            self.reactor.notify();
        }
        asleep
    }

    /// Holds the worker's runtime.
    pub(crate) fn hold(&self) -> Arc<Core> {
        // The pointer that the Arc has given, which reaches its counts as well.
        let core = self.core;
        // SAFETY: the core is in an Arc, which is alive as long as the worker is.
        unsafe { Arc::increment_strong_count(core) };
        // SAFETY: the count has just been taken for this Arc.
        unsafe { Arc::from_raw(core) }
    }
}

/// Gives a claimed coroutine to its worker on another thread.
///
/// # Safety
/// * The caller holds the claim on `task`, whose home is `home`.
pub(crate) unsafe fn wake(home: *const Worker, task: NonNull<Task>) {
    // SAFETY: a claimed coroutine has not ended, and its worker lives as long as it has coroutines.
    let worker = unsafe { &*home };
    let hold = worker.hold();
    worker.inbox.push(task);
    worker.wake_if_asleep();
    drop(hold);
}

/// Sends a request to cancel to the worker of a started coroutine.
pub(crate) fn send_cancel(task: &TaskRef) {
    // The coroutine may have ended, and its runtime with it: the table tells whether it lives. A
    // worker that has come to the same address since gets a request for a coroutine that is done.
    let home = task.party.home();
    let Some(core) = LIVING.lock().get(&home.addr()).and_then(Weak::upgrade) else { return };
    if let Some(worker) = core.workers().iter().find(|worker| core::ptr::eq(*worker, home)) {
        worker.inbox.push_cancel(task.clone());
        worker.wake_if_asleep();
    }
}

/// Living workers by address.
static LIVING: Lock<BTreeMap<usize, Weak<Core>>> = Lock::new(BTreeMap::new());

/// Makes all workers give back the stacks that they keep: wakes those that sleep.
fn ask_for_stacks() {
    if party::is_coroutine()
        && let Some(own) = worker::current()
    {
        own.share_stacks();
    }
    // Held beyond the lock, which the end of a runtime takes.
    let cores: Vec<_> = LIVING.lock().values().filter_map(Weak::upgrade).collect();
    for worker in cores.iter().flat_map(|core| core.workers()) {
        worker.wake_if_asleep();
    }
}

/// Enters a runtime's workers into the table of the living ones.
pub(crate) fn enter(core: &Arc<Core>) {
    shortage::on_shortage(ask_for_stacks);
    let mut table = LIVING.lock();
    for worker in core.all() {
        table.insert(core::ptr::from_ref(worker).addr(), Arc::downgrade(core));
    }
}

/// Takes them out again.
pub(crate) fn leave(core: &Core) {
    let mut table = LIVING.lock();
    for worker in core.all() {
        table.remove(&core::ptr::from_ref(worker).addr());
    }
}
