//! What other threads hand to a worker: coroutines to make ready, and coroutines to cancel.
//!
//! A stack of tasks linked through `Task::next` (Treiber's stack, taken whole, so without ABA) and a
//! short list of control requests. The worker looks at both with one load each.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use super::task::{Task, TaskRef};
use crate::base::lock::Lock;

#[derive(Debug)]
pub(crate) struct Inbox {
    ready: AtomicPtr<Task>,
    has_control: AtomicBool,
    control: Lock<Vec<TaskRef>>,
}

impl Inbox {
    pub(crate) const fn new() -> Self {
        Self {
            ready: AtomicPtr::new(ptr::null_mut()),
            has_control: AtomicBool::new(false),
            control: Lock::new(Vec::new()),
        }
    }

    /// Hands over a task whose wait has been claimed. From any thread.
    pub(crate) fn push(&self, task: NonNull<Task>) {
        let mut head = self.ready.load(Ordering::Relaxed);
        loop {
            // SAFETY: a claimed task cannot run, and so cannot end, before it has been pushed.
            unsafe { task.as_ref() }.next.set(head);
            // SeqCst: also the store of the sleep protocol in `idle`, and Release for `next`.
            match self.ready.compare_exchange_weak(head, task.as_ptr(), Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Asks the worker to deliver a cancellation. From any thread.
    pub(crate) fn push_cancel(&self, task: TaskRef) {
        self.control.lock().push(task);
        // SeqCst: the store of the sleep protocol in `idle`.
        self.has_control.store(true, Ordering::SeqCst);
    }

    /// A hint: Relaxed, because taking decides. SeqCst where the worker is about to sleep.
    #[inline]
    pub(crate) fn is_empty(&self, order: Ordering) -> bool {
        self.ready.load(order).is_null() && !self.has_control.load(order)
    }

    /// Takes all ready tasks, oldest first. Called by the worker.
    pub(crate) fn take(&self, mut each: impl FnMut(NonNull<Task>)) {
        // Acquire pairs with the Release in `push`.
        let mut newest = self.ready.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest: *mut Task = ptr::null_mut();
        while let Some(task) = NonNull::new(newest) {
            // SAFETY: a task in the inbox is alive, and the swap has given the list to this worker.
            newest = unsafe { task.as_ref() }.next.replace(oldest);
            oldest = task.as_ptr();
        }
        while let Some(task) = NonNull::new(oldest) {
            // SAFETY: as above; it runs only after `each` has it.
            oldest = unsafe { task.as_ref() }.next.replace(ptr::null_mut());
            each(task);
        }
    }

    /// Takes all cancellation requests. Called by the worker.
    pub(crate) fn take_control(&self) -> Vec<TaskRef> {
        // Relaxed: a hint; the list has a lock.
        if !self.has_control.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut control = self.control.lock();
        self.has_control.store(false, Ordering::Relaxed);
        core::mem::take(&mut control)
    }
}
