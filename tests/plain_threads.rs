//! What plain threads do with locks, queues, channels, pools and time limits, without a coroutine.
//!
//! No switch and no system call but the futex's is made here, so Miri can run this program, and does in the gate.
//! The rounds are few for its sake.
#![allow(missing_docs, reason = "tests")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use ropewalk::channel;
use ropewalk::queue::{LifoQueue, PriorityQueue, Queue};
use ropewalk::sync::{
    Barrier, Condvar, Event, Lazy, Mutex, Once, OnceCell, ReentrantMutex, RwLock, Semaphore, WaitGroup,
};

const ROUNDS: usize = 20;

fn on_threads(count: usize, f: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for index in 0..count {
            let f = &f;
            scope.spawn(move || f(index));
        }
    });
}

#[test]
fn a_mutex_loses_no_update() {
    let count = Mutex::new(0);
    on_threads(3, |_| {
        for _ in 0..ROUNDS {
            let mut guard = count.lock();
            let before = *guard;
            thread::yield_now();
            *guard = before + 1;
        }
    });
    assert_eq!(*count.lock(), 3 * ROUNDS);
    let held = count.lock();
    thread::scope(|scope| {
        scope.spawn(|| assert!(count.lock_timeout(Duration::from_millis(1)).is_none()));
    });
    drop(held);
}

#[test]
fn readers_share_and_writers_are_alone() {
    let pair = RwLock::new((0, 0));
    on_threads(3, |index| {
        for n in 0..ROUNDS {
            if (index + n) % 3 == 0 {
                let mut pair = pair.write();
                pair.0 += 1;
                thread::yield_now();
                pair.1 += 1;
            } else {
                let pair = pair.read();
                assert_eq!(pair.0, pair.1);
            }
        }
    });
}

#[test]
fn a_condvar_wakes_all_who_wait() {
    let (go, changed, woken) = (Mutex::new(false), Condvar::new(), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut guard = go.lock();
                while !*guard {
                    guard = changed.wait(guard);
                }
                woken.fetch_add(1, Ordering::Relaxed);
            });
        }
        *go.lock() = true;
        changed.notify_all();
    });
    assert_eq!(woken.into_inner(), 3);
}

#[test]
fn permits_barriers_and_events_let_through_whom_they_should() {
    let (permits, inside, barrier, event) =
        (Semaphore::new(2), AtomicUsize::new(0), Barrier::new(3), Event::new());
    on_threads(3, |index| {
        for _ in 0..ROUNDS / 4 {
            let _permit = permits.permit();
            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
            thread::yield_now();
            inside.fetch_sub(1, Ordering::SeqCst);
        }
        barrier.wait().unwrap();
        if index == 0 {
            event.set();
        }
        event.wait();
    });
}

#[test]
fn what_is_made_once_is_made_once() {
    let (once, cell, made) = (Once::new(), OnceCell::new(), AtomicUsize::new(0));
    let lazy = Lazy::new(|| made.fetch_add(1, Ordering::Relaxed));
    on_threads(3, |_| {
        once.call_once(|| {
            made.fetch_add(1, Ordering::Relaxed);
        });
        cell.get_or_init(|| made.fetch_add(1, Ordering::Relaxed));
        let _ = *lazy;
    });
    assert_eq!(made.load(Ordering::Relaxed), 3);
}

#[test]
fn a_reentrant_mutex_is_its_owners_and_a_group_ends_with_its_last() {
    let (lock, group) = (ReentrantMutex::new(AtomicUsize::new(0)), WaitGroup::new());
    thread::scope(|scope| {
        group.add(3);
        for _ in 0..3 {
            let (lock, group) = (&lock, &group);
            scope.spawn(move || {
                let outer = lock.lock();
                let inner = lock.lock();
                let before = outer.load(Ordering::Relaxed);
                thread::yield_now();
                inner.store(before + 1, Ordering::Relaxed);
                drop((inner, outer));
                group.done();
            });
        }
        group.wait();
        assert_eq!(lock.lock().load(Ordering::Relaxed), 3);
    });
}

#[test]
fn every_value_of_a_queue_is_got_once() {
    for queue in [Queue::bounded(2), Queue::unbounded()] {
        let sum = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| (1..=2 * ROUNDS).for_each(|n| drop(queue.put(Box::new(n)))));
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let value = queue.get().unwrap();
                        sum.fetch_add(*value, Ordering::Relaxed);
                        queue.task_done();
                    }
                });
            }
            queue.join();
        });
        assert_eq!(sum.into_inner(), ROUNDS * (2 * ROUNDS + 1));
        assert!(queue.get_timeout(Duration::from_millis(1)).is_err());
    }
}

#[test]
fn the_other_orders_hold_between_threads() {
    let (stack, heap) = (LifoQueue::bounded(4), PriorityQueue::unbounded());
    thread::scope(|scope| {
        scope.spawn(|| (0..ROUNDS).for_each(|n| drop(stack.put(n.to_string()))));
        scope.spawn(|| (0..ROUNDS).for_each(|n| drop(heap.put(n.to_string()))));
        let mut from_stack: Vec<_> = (0..ROUNDS).map(|_| stack.get().unwrap()).collect();
        let mut from_heap: Vec<_> = (0..ROUNDS).map(|_| heap.get().unwrap()).collect();
        from_stack.sort();
        from_heap.sort();
        assert_eq!(from_stack, from_heap);
    });
}

#[test]
fn channels_of_every_capacity_deliver_in_order() {
    for (sender, receiver) in [channel::bounded(0), channel::bounded(2), channel::unbounded()] {
        thread::scope(|scope| {
            scope.spawn(move || (0..ROUNDS).for_each(|n| sender.send(Box::new(n)).unwrap()));
            assert!(receiver.iter().map(|n| *n).eq(0..ROUNDS));
        });
    }
}

#[test]
fn a_select_takes_every_message_of_both_channels_once() {
    let (one, from_one) = channel::bounded(0);
    let (two, from_two) = channel::bounded(1);
    let (out, from_select) = channel::unbounded();
    thread::scope(|scope| {
        let (one, two) = (&one, &two);
        scope.spawn(move || (0..ROUNDS).for_each(|n| one.send(Box::new(n)).unwrap()));
        scope.spawn(move || (0..ROUNDS).for_each(|n| two.send(Box::new(n)).unwrap()));
        let mut sum = 0;
        for _ in 0..2 * ROUNDS {
            channel::select! {
                recv(from_one) -> n => sum += *n.unwrap(),
                recv(from_two) -> n => sum += *n.unwrap(),
            }
            channel::select! {
                send(out, sum) -> sent => sent.unwrap(),
                default => unreachable!("there is room"),
            }
        }
        assert_eq!(sum, ROUNDS * (ROUNDS - 1));
        assert_eq!(from_select.try_iter().count(), 2 * ROUNDS);
    });
}

#[test]
fn parties_park_and_time_limits_end_waits() {
    let main = ropewalk::current();
    thread::scope(|scope| {
        scope.spawn(move || main.unpark());
        ropewalk::park();
    });
    assert!(!ropewalk::park_timeout(Duration::from_millis(1)));
    let never = Event::new();
    assert!(ropewalk::timeout(Duration::from_millis(2), || never.wait()).is_err());
    assert!(ropewalk::timeout(Duration::from_secs(60), || 7).is_ok_and(|n| n == 7));
}

ropewalk::coroutine_local! {
    static NAME: std::cell::RefCell<String> = std::cell::RefCell::new(String::from("nobody"));
}

#[test]
fn a_local_of_coroutines_is_a_threads_own_too() {
    on_threads(2, |index| {
        NAME.with_borrow_mut(|name| *name = index.to_string());
        thread::yield_now();
        assert_eq!(NAME.with_borrow(String::clone), index.to_string());
    });
}

#[test]
fn a_future_is_polled_when_its_waker_says_so() {
    struct Flag(Arc<Mutex<(bool, Option<Waker>)>>);
    impl Future for Flag {
        type Output = &'static str;
        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            let mut state = self.0.lock();
            if state.0 {
                return Poll::Ready("woken");
            }
            state.1 = Some(context.waker().clone());
            Poll::Pending
        }
    }
    let state = Arc::new(Mutex::new((false, None::<Waker>)));
    let other = Arc::clone(&state);
    let waker = thread::spawn(move || {
        let mut state = other.lock();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    });
    assert_eq!(ropewalk::block_on(Flag(state)), "woken");
    waker.join().unwrap();
}

#[test]
fn a_pool_of_threads_runs_every_task_once() {
    let pool = ropewalk::thread::ThreadPool::new(2);
    let squares = pool.map(|n| n * n, 0..ROUNDS).unwrap();
    assert!(squares.into_iter().eq((0..ROUNDS).map(|n| n * n)));
    let one = pool.apply_async(|| String::from("done")).unwrap();
    assert_eq!(one.get().unwrap(), "done");
    pool.close();
    pool.join().unwrap();
}
