//! Workers: every way in which a task or a worker fails, their replacement, their rest.

use std::time::Duration;

use ropewalk::process::{Pool, SubmitError, TaskError, current};
use ropewalk::thread::WhenFull;

use crate::common::watched;
use crate::{kill, nap};

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
