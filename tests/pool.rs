//! The pool of processes: values, order, chunks, bounds, and every way in which a worker can die.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{Random, on_workers, watched};
use ropewalk::process::{Fd, Pool, Process, StartMethod, SubmitError, TaskError, children, current};
use ropewalk::thread::WhenFull;

fn kill(pid: u32) {
    // SAFETY: a process of this test's.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

fn nap(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[test]
fn results_of_both_pools_can_be_waited_for_until_a_deadline() {
    use ropewalk::Pending;
    fn check(pool: &impl ropewalk::Pool) {
        let go = ropewalk::process::Event::new().unwrap();
        let wait = |go: ropewalk::process::Event| {
            go.wait();
            7u32
        };
        let task = pool.apply_async(wait, go.clone()).unwrap();
        assert!(!task.wait_deadline(Instant::now()));
        let task = task.get_deadline(Instant::now() + Duration::from_millis(1));
        let Err(task) = task else { panic!("it waits") };
        go.set();
        let long = Instant::now() + Duration::from_secs(60);
        assert!(task.wait_deadline(long));
        let Ok(value) = task.get_deadline(long) else { panic!("it is done") };
        assert_eq!(value.unwrap(), 7);
    }
    watched(|| {
        check(&ropewalk::thread::ThreadPool::new(1));
        check(&ropewalk::process::Pool::new(1).unwrap());
    });
}

#[test]
fn values_come_in_order_from_threads_and_coroutines() {
    let check = || {
        let pool = Pool::new(3).unwrap();
        assert_eq!(pool.apply(|(a, b): (u64, u64)| a * b, (6, 7)).unwrap(), 42);
        assert!(pool.map(|n: u64| n * 2, 0..5_000).unwrap().into_iter().eq((0..5_000).map(|n| n * 2)));
        assert_eq!(pool.starmap(|a: u8, b: u8| a + b, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
        assert_eq!(pool.starapply(|a: u8, b: u8| a + b, (1, 2)).unwrap(), 3);
        assert!(pool.imap(|n: u64| n + 1, 0..100).map(Result::unwrap).eq(1..101));
        let mut values: Vec<u64> = pool.imap_unordered(|n: u64| n + 1, 0..100).map(Result::unwrap).collect();
        values.sort_unstable();
        assert!(values.into_iter().eq(1..101));
        assert!(pool.map(|n: u64| n, []).unwrap().is_empty());
        pool.close();
        pool.join().unwrap();
        assert!(pool.workers().is_empty());
    };
    watched(check);
    on_workers(check);
}

#[test]
fn many_wait_for_their_results_at_once() {
    on_workers(|| {
        let pool = Arc::new(Pool::new(2).unwrap());
        let run =
            |n: u64, pool: Arc<Pool>| (0..50).map(|k| pool.apply(|n: u64| n, n + k).unwrap()).sum::<u64>();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let pool = Arc::clone(&pool);
                std::thread::spawn(move || run(n, pool))
            })
            .collect();
        let handles: Vec<_> = (4..8)
            .map(|n| {
                let pool = Arc::clone(&pool);
                ropewalk::spawn(move || run(n, pool))
            })
            .collect();
        let mut sum: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        sum += ropewalk::join_all(handles).into_iter().map(Result::unwrap).sum::<u64>();
        assert_eq!(sum, (0..8).map(|n| 50 * n + 1225).sum());
    });
}

#[test]
fn large_arguments_results_and_descriptors_travel() {
    watched(|| {
        let pool = Pool::new(2).unwrap();
        let double = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
        for len in [0, 100, 200, 300, 70_000, 3_000_000] {
            assert_eq!(pool.apply(double, vec![len as u8; len]).unwrap(), vec![len as u8; 2 * len]);
        }
        let (mut reader, writer) = std::io::pipe().unwrap();
        let write = |fd: Fd| {
            use std::io::Write;
            let mut writer = std::io::PipeWriter::from(std::os::fd::OwnedFd::from(fd));
            writer.write_all(b"from a worker").unwrap();
            Fd::from(std::os::fd::OwnedFd::from(writer))
        };
        drop(pool.apply(write, Fd::from(std::os::fd::OwnedFd::from(writer))).unwrap());
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        assert_eq!(text, "from a worker");
    });
}

#[test]
fn every_way_to_fail_is_told_and_fails_one_task_only() {
    watched(|| {
        let pool = Pool::builder(2).name("mill").build().unwrap();
        let exit = pool.apply(|()| -> () { std::process::exit(3) }, ());
        assert!(matches!(exit, Err(TaskError::WorkerDied { code: Some(3), .. })), "{exit:?}");
        let abort = pool.apply(|()| -> () { std::process::abort() }, ());
        assert!(matches!(abort, Err(TaskError::WorkerDied { signal: Some(libc::SIGABRT), .. })), "{abort:?}");
        let panicked = pool.apply(|()| -> () { panic!("boom") }, ());
        assert!(matches!(&panicked, Err(TaskError::Panicked { message, .. }) if message == "boom"));
        let strange = pool.apply(|()| -> () { std::panic::panic_any(7) }, ());
        assert!(matches!(strange, Err(TaskError::Panicked { .. })));
        assert_eq!(pool.map(|n: u32| n, 0..100).unwrap().len(), 100);
        assert!(pool.join().unwrap_err().to_string().contains("'mill'"));
        pool.close();
        let closed = pool.apply_async(|n: u32| n, 1).unwrap_err();
        assert!(matches!(closed, SubmitError::Closed { .. }) && closed.to_string().contains("'mill'"));
        pool.join().unwrap();
    });
}

#[test]
fn workers_are_reused_and_replaced_after_their_tasks() {
    watched(|| {
        let pool = Pool::new(3).unwrap();
        let tasks: Vec<_> = (0..10).map(|_| pool.apply_async(nap, 5).unwrap()).collect();
        tasks.iter().for_each(ropewalk::process::AsyncResult::wait);
        let mut pids: Vec<_> = tasks.iter().map(|task| task.ran_on().unwrap().pid).collect();
        pids.sort_unstable();
        pids.dedup();
        assert!(pids.len() <= 3);
        let pool = Pool::builder(1).max_tasks_per_child(2).build().unwrap();
        let pids: Vec<u32> = (0..6).map(|_| pool.apply(|()| current().pid, ()).unwrap()).collect();
        assert!(pids[0] == pids[1] && pids[2] == pids[3] && pids[1] != pids[2] && pids[3] != pids[4]);
    });
}

#[test]
fn a_killed_workers_task_fails_or_is_tried_again() {
    watched(|| {
        for retries in [0, 1] {
            let pool = Pool::builder(2).retries(retries).build().unwrap();
            let long = pool.apply_async(nap, 200).unwrap();
            let others: Vec<_> = (0..20).map(|_| pool.apply_async(nap, 1).unwrap()).collect();
            let victim = loop {
                // The first task is the long one.
                if let Some(worker) = pool.workers().into_iter().find(|worker| worker.task == Some(1)) {
                    break worker.pid;
                }
                std::thread::yield_now();
            };
            kill(victim);
            match (retries, long.get()) {
                (0, Err(TaskError::WorkerDied { pid, signal: Some(libc::SIGKILL), .. })) => {
                    assert_eq!(pid, victim);
                }
                (1, Ok(200)) => {}
                other => panic!("{other:?}"),
            }
            assert!(others.into_iter().all(|task| task.get().is_ok()));
            pool.close();
            pool.join().unwrap();
        }
    });
}

#[test]
fn a_task_that_never_ends_is_killed_and_its_worker_replaced() {
    watched(|| {
        let pool = Pool::builder(2).task_timeout(Duration::from_millis(60)).build().unwrap();
        let never = pool.apply_async(nap, 3_600_000).unwrap();
        let others: Vec<_> = (0..50).map(|_| pool.apply_async(nap, 1).unwrap()).collect();
        assert!(others.into_iter().all(|task| task.get().is_ok()));
        assert!(matches!(never.get(), Err(TaskError::TimedOut(_))));
        assert_eq!(pool.apply(nap, 1).unwrap(), 1);
    });
}

#[test]
fn an_initialiser_that_fails_breaks_the_pool_with_the_cause_after_a_few_tries() {
    watched(|| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(writer);
        drop(reader);
        let fail = |text: String| -> () { panic!("no {text} here") };
        let pool = Pool::builder(2).initializer(fail, "database".to_owned()).build().unwrap();
        let broken: Result<u64, _> = pool.apply_async(nap, 1).and_then(|task| match task.get() {
            Err(TaskError::Broken { pool, cause }) => Err(SubmitError::Broken { pool, cause }),
            other => panic!("{other:?}"),
        });
        let text = broken.unwrap_err().to_string();
        assert!(text.contains("no database here"), "{text}");
        pool.close();
        pool.join().unwrap();
        let good = Pool::builder(1).initializer(|n: u32| n, 1).build().unwrap();
        assert_eq!(good.apply(nap, 1).unwrap(), 1);
    });
}

#[test]
fn a_full_pool_rejects_or_blocks_and_a_terminated_one_tells_its_tasks() {
    watched(|| {
        let pool = Pool::builder(1).bound(1, WhenFull::Reject).build().unwrap();
        let tasks: Vec<_> = (0..2).map(|_| pool.apply_async(nap, 3_600_000).unwrap()).collect();
        assert!(matches!(pool.apply_async(nap, 1), Err(SubmitError::Full { .. })));
        pool.terminate();
        assert!(tasks.into_iter().all(|task| matches!(task.get(), Err(TaskError::Terminated { .. }))));
        pool.join().unwrap();
        let pool = Pool::builder(2).bound(1, WhenFull::Block).build().unwrap();
        let tasks: Vec<_> = (0..100).map(|n| pool.apply_async(|n: u32| n, n).unwrap()).collect();
        assert!(tasks.into_iter().map(|task| task.get().unwrap()).eq(0..100));
    });
}

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
fn tasks_that_nobody_waits_for_are_done_and_an_initialiser_may_have_handles() {
    watched(|| {
        const TASKS: usize = 3_000;
        let done = ropewalk::shm::Array::<u8>::new(TASKS).unwrap();
        let pool =
            Pool::builder(2).initializer(|done| DONE.set(done).unwrap(), done.clone()).build().unwrap();
        let mark = |n: usize| DONE.get().unwrap().store(n, 1);
        let _tasks: Vec<_> = (0..TASKS).map(|n| pool.apply_async(mark, n).unwrap()).collect();
        while (0..TASKS).any(|n| done.load(n) == 0) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

static DONE: std::sync::OnceLock<ropewalk::shm::Array<u8>> = std::sync::OnceLock::new();

/// How often the first threads of processes have gone to sleep.
fn sleeps(pids: &[u32]) -> Vec<String> {
    let status = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |text: String| text.lines().find(|line| line.starts_with("voluntary")).unwrap().to_owned();
    pids.iter().map(status).map(line).collect()
}

#[test]
fn workers_without_tasks_sleep() {
    watched(|| {
        let pool = Pool::new(2).unwrap();
        pool.map(|n: u32| n, 0..100).unwrap();
        let workers = || pool.workers().iter().map(|worker| worker.pid).collect::<Vec<_>>();
        while workers().len() < 2 {
            std::thread::yield_now();
        }
        let pids = workers();
        // They come to rest after a while. Did they look again from time to time, this would not end.
        loop {
            let before = sleeps(&pids);
            std::thread::sleep(Duration::from_millis(300));
            let ticks = |pid: &u32| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
            };
            if before == sleeps(&pids) && pids.iter().all(ticks) {
                break;
            }
        }
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

#[test]
fn an_initialiser_that_never_returns_breaks_the_pool_with_the_cause() {
    watched(|| {
        let never = |()| std::thread::sleep(Duration::from_secs(3600));
        let pool = Pool::builder(2).initializer(never, ()).start_timeout(Duration::from_millis(50)).build();
        let pool = pool.unwrap();
        let cause = match pool.apply(|n: u32| n, 1) {
            Err(TaskError::Broken { cause, .. } | TaskError::Refused(SubmitError::Broken { cause, .. })) => {
                cause
            }
            other => panic!("{other:?}"),
        };
        assert!(cause.contains("its initialiser does not return"), "{cause}");
        pool.close();
        pool.join().unwrap();
        assert!(pool.workers().is_empty());
    });
}

#[test]
fn progress_is_told_to_the_end_although_a_chunk_fails() {
    let check = || {
        let pool = Pool::new(2).unwrap();
        let mut told = Vec::new();
        let values = pool.map_progress(|n: u32| n + 1, 0..1000, |done, of| told.push((done, of))).unwrap();
        assert!(values.into_iter().eq(1..=1000));
        assert!(told.is_sorted() && told.len() == 8 && told.last() == Some(&(1000, 1000)), "{told:?}");
        let mut last = 0;
        let died = |n: u32| if n == 500 { std::process::exit(3) } else { n };
        let failed = pool.map_progress(died, 0..1000, |done, _| last = done);
        assert!(matches!(failed, Err(TaskError::WorkerDied { code: Some(3), .. })), "{failed:?}");
        assert_eq!(last, 1000);
        assert!(
            pool.map_progress(|n: u32| n, [], |_, _| unreachable!("nothing is done")).unwrap().is_empty()
        );
    };
    watched(check);
    on_workers(check);
}

/// Kills workers at random while tasks run; in a process of its own, which must have no child left then.
fn storm(seed: u64) {
    let mut random = Random::from(seed);
    let pool = Arc::new(Pool::builder(3).name("storm").build().unwrap());
    let end = Instant::now() + Duration::from_secs(4);
    let (mut lost, mut done, mut kills) = (0, 0, 0);
    while Instant::now() < end {
        let count = 1 + random.below(300);
        let tasks: Vec<_> = (0..count)
            .map(|n| {
                let spin = random.below(2_000);
                let work = |(n, spin): (u64, u64)| {
                    (0..spin).for_each(|k| {
                        std::hint::black_box(k);
                    });
                    n
                };
                (n, pool.apply_async(work, (n, spin)).unwrap())
            })
            .collect();
        for _ in 0..random.below(4) {
            let workers = pool.workers();
            if !workers.is_empty() {
                kill(workers[random.below(workers.len() as u64) as usize].pid);
                kills += 1;
            }
            std::thread::sleep(Duration::from_micros(random.below(600)));
        }
        for (n, task) in tasks {
            match task.get() {
                Ok(value) => {
                    assert_eq!(value, n);
                    done += 1;
                }
                Err(TaskError::WorkerDied { signal: Some(libc::SIGKILL), .. }) => lost += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pool.unfinished(), 0);
    }
    assert!(lost <= kills, "{lost} tasks lost by {kills} kills");
    println!("{done} tasks done, {lost} lost by {kills} kills");
    pool.close();
    pool.join().unwrap();
    assert!(children().is_empty());
    let own = format!("PPid:\t{}\n", std::process::id());
    let left: Vec<_> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok())
        .filter(|status| status.contains(&own) && !status.contains("ropewalk-zygote"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn workers_killed_at_random_moments_lose_what_they_hold_and_nothing_else() {
    watched(|| {
        let seed = Random::new().next();
        Process::builder().name("storm").spawn(storm, seed).unwrap().join().unwrap();
    });
}
