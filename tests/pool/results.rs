//! Values, their order, and what travels with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::process::{Fd, Pool, TaskError};

use crate::common::{on_workers, watched};

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
