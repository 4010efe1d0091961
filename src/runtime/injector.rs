//! The runtime's common queue of fresh tasks: spawns from outside, and overflow of the workers.
//!
//! A list linked through `Task::next`, first in, first out, behind a short lock; its length is an
//! atomic so that an empty one costs a worker one load.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use super::task::Task;
use crate::base::lock::Lock;

#[derive(Debug)]
struct List {
    head: *mut Task,
    tail: *mut Task,
}

// SAFETY: the list owns the tasks in it until they are popped (task I1).
unsafe impl Send for List {}

#[derive(Debug)]
pub(crate) struct Injector {
    len: AtomicUsize,
    list: Lock<List>,
}

impl Injector {
    pub(crate) const fn new() -> Self {
        Self {
            len: AtomicUsize::new(0),
            list: Lock::new(List { head: ptr::null_mut(), tail: ptr::null_mut() }),
        }
    }

    /// How many tasks wait. SeqCst: the load of the sleep protocol in `idle`.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Appends fresh tasks, in order.
    pub(crate) fn push(&self, tasks: impl IntoIterator<Item = NonNull<Task>>) {
        let mut list = self.list.lock();
        let mut count = 0;
        for task in tasks {
            // SAFETY: a fresh task is alive and this list is the one queue that holds it.
            unsafe { task.as_ref() }.next.set(ptr::null_mut());
            match NonNull::new(list.tail) {
                // SAFETY: the tail is in the list, hence alive.
                Some(tail) => unsafe { tail.as_ref() }.next.set(task.as_ptr()),
                None => list.head = task.as_ptr(),
            }
            list.tail = task.as_ptr();
            count += 1;
        }
        // SeqCst: the store of the sleep protocol in `idle`.
        self.len.fetch_add(count, Ordering::SeqCst);
    }

    /// Takes up to `most` tasks, oldest first.
    pub(crate) fn pop(&self, most: usize, mut each: impl FnMut(NonNull<Task>)) -> usize {
        if self.len() == 0 {
            return 0;
        }
        let mut list = self.list.lock();
        let mut count = 0;
        while count < most {
            let Some(task) = NonNull::new(list.head) else { break };
            // SAFETY: it is in the list, hence alive.
            list.head = unsafe { task.as_ref() }.next.replace(ptr::null_mut());
            if list.head.is_null() {
                list.tail = ptr::null_mut();
            }
            count += 1;
            each(task);
        }
        self.len.fetch_sub(count, Ordering::SeqCst);
        count
    }
}
