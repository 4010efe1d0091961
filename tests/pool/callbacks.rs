//! When a result is told, and to whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ropewalk::process::{Pool, StartMethod, TaskError};

use crate::common::{on_workers, watched};
use crate::nap;

#[test]
fn callbacks_are_called_before_join_returns() {
    watched(|| {
        let calls = Arc::new(AtomicUsize::new(0));
        let pool = Pool::builder(2).start_method(StartMethod::Exec).build().unwrap();
        for n in 0..20u32 {
            let calls = Arc::clone(&calls);
            let count = move |result: Result<u32, TaskError>| {
                assert_eq!(result.unwrap(), n);
                calls.fetch_add(1, Ordering::SeqCst);
            };
            pool.apply_callback(|n: u32| n, n, count).unwrap();
        }
        pool.close();
        pool.join().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 20);
    });
}

#[test]
fn a_result_is_told_at_once_although_its_worker_goes_on_with_a_long_task() {
    watched(|| {
        let pool = Pool::new(1).unwrap();
        let (sender, told) = ropewalk::channel::bounded(1);
        pool.apply_callback(|n: u32| n, 7, move |result| sender.send(result.unwrap()).unwrap()).unwrap();
        let long = pool.apply_async(nap, 3_600_000).unwrap();
        assert_eq!(told.recv(), Ok(7));
        assert!(!long.is_ready());
        // The same for one who waits only when the long task has begun already.
        let pool = Pool::new(1).unwrap();
        let quick = pool.apply_async(|n: u32| n, 8).unwrap();
        let _long = pool.apply_async(nap, 3_600_000).unwrap();
        while pool.workers().first().is_none_or(|worker| worker.task != Some(2)) {
            std::thread::yield_now();
        }
        assert_eq!(quick.get().unwrap(), 8);
    });
}

#[test]
fn callbacks_of_a_result_are_called_once_before_it_is_ready_whenever_they_come() {
    let check = || {
        let pool = Pool::new(1).unwrap();
        let (sender, told) = ropewalk::channel::unbounded();
        let (first, second, third) = (sender.clone(), sender.clone(), sender.clone());
        let task = pool.apply_async(|n: u32| n * 2, 21).unwrap();
        let task = task.on_success(move |value| first.send(*value).unwrap()).on_error(|_| panic!("no error"));
        // A callback that panics harms nobody.
        let task = task.on_success(|_| panic!("on purpose"));
        let task = task.on_success(move |value| second.send(value + 1).unwrap());
        task.wait();
        assert_eq!((told.try_recv(), told.try_recv()), (Ok(42), Ok(43)));
        let task = task.on_success(move |value| third.send(value + 2).unwrap());
        assert_eq!(told.try_recv(), Ok(44));
        assert_eq!((task.successful(), task.get().unwrap()), (Some(true), 42));
        let failed = pool.apply_async(|()| -> u32 { panic!("boom") }, ()).unwrap();
        let failed = failed.on_error(move |error| sender.send(error.to_string().len() as u32).unwrap());
        assert_eq!(told.recv().unwrap() as usize, "the task panicked: boom".len());
        failed.wait();
        assert_eq!(failed.successful(), Some(false));
        // One that comes after the worker has gone on to something long is called all the same.
        let quick = pool.apply_async(|n: u32| n, 8).unwrap();
        let _long = pool.apply_async(nap, 3_600_000).unwrap();
        while pool.workers().first().is_none_or(|worker| worker.task != Some(4)) {
            ropewalk::yield_now();
        }
        let (sender, told) = ropewalk::channel::bounded(1);
        let _quick = quick.on_success(move |value| sender.send(*value).unwrap());
        assert_eq!(told.recv(), Ok(8));
    };
    watched(check);
    on_workers(check);
}

#[test]
fn descriptors_in_a_result_come_to_callbacks_and_to_the_handle() {
    watched(|| {
        let pool = Pool::new(1).unwrap();
        let make = |()| ropewalk::shm::Value::new(7u32).unwrap();
        let (sender, told) = ropewalk::channel::bounded(1);
        let task = pool.apply_async(make, ()).unwrap();
        let task = task.on_success(move |value| sender.send(value.clone()).unwrap());
        told.recv().unwrap().store(8);
        assert_eq!(task.get().unwrap().load(), 8);
    });
}
