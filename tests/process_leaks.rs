//! Thousands of processes, pools and queues, with kills among them: the parent has as many descriptors, mappings,
//! threads and children afterwards as before. And handles on their way when somebody is killed.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{Random, watched};
use ropewalk::process::{
    Event, Pool, Process, ProcessError, Queue, Semaphore, StartMethod, TaskError, children, pipe,
};
use ropewalk::shm::{Array, Region};

/// What a process has: descriptors, mappings, threads, children (zombies among them).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Has {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    children: usize,
}

fn has() -> Has {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let own = format!("PPid:\t{}\n", std::process::id());
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let statuses = entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    // Mappings of files, and memory that is shared: the allocator's own come and go.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    Has {
        descriptors: count("/proc/self/fd"),
        mappings: maps.lines().filter(|line| line.contains("memfd:") || line.contains("/dev/")).count(),
        threads: count("/proc/self/task"),
        children: statuses.filter(|status| status.contains(&own)).count(),
    }
}

/// For a message: the names of the threads, and what the descriptors are of.
fn what_there_is() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    names.map(|name| name.trim().to_owned()).chain(links.map(|link| link.display().to_string())).collect()
}

fn kill(pid: u32) {
    // SAFETY: a process of this test's.
    unsafe { libc::kill(pid.cast_signed(), libc::SIGKILL) };
}

fn round(random: &mut Random, n: u32) {
    // A few of each, so that all have been there when the first count is made.
    let method = if n % 16 == 7 { StartMethod::Exec } else { StartMethod::Zygote };
    let child = Process::builder().start_method(method).spawn(|n: u32| n, n).unwrap();
    match random.below(4) {
        0 => drop(child),
        1 => {
            child.kill().unwrap();
            match child.join() {
                Ok(value) => assert_eq!(value, n),
                Err(error) => assert!(matches!(error, ProcessError::Signalled(libc::SIGKILL)), "{error}"),
            }
        }
        _ => assert_eq!(child.join().unwrap(), n),
    }
    let queue = Queue::<(u32, Option<Queue<u32>>)>::with_ring(4, 4096).unwrap();
    let inner = Queue::<u32>::with_ring(4, 4096).unwrap();
    queue.put((1, Some(inner.clone()))).unwrap();
    queue.put((2, Some(inner.clone()))).unwrap();
    assert_eq!(queue.get().unwrap().0, 1);
    let region = Region::new(10_000).unwrap();
    region.write(9_000, &[1]);
    let (here, _there) = pipe::<Vec<u8>, ()>().unwrap();
    here.send(&vec![1; 70_000]).unwrap();
    if n.is_multiple_of(8) {
        let user = |queue: Queue<(u32, Option<Queue<u32>>)>| {
            if let Ok((_, Some(inner))) = queue.get() {
                let _ = inner.put(5);
            }
        };
        let child = Process::spawn(user, queue.clone()).unwrap();
        if random.below(2) == 0 {
            child.kill().unwrap();
        } else {
            assert_eq!(inner.get_timeout(Duration::from_secs(10)), Ok(5));
        }
        let _ = child.join();
    }
    if n.is_multiple_of(16) {
        let pool = Pool::builder(2).build().unwrap();
        let tasks: Vec<_> = (0..20).map(|n| pool.apply_async(|n: u32| n, n).unwrap()).collect();
        if random.below(2) == 0 {
            pool.workers().iter().for_each(|worker| kill(worker.pid));
        }
        for (n, task) in (0..).zip(tasks) {
            match task.get() {
                Ok(value) => assert_eq!(value, n),
                Err(error) => assert!(matches!(error, TaskError::WorkerDied { .. }), "{error}"),
            }
        }
        if random.below(2) == 0 {
            pool.close();
            pool.join().unwrap();
        }
    }
}

fn wear(seed: u64) {
    let mut random = Random::from(seed);
    // Whoever first sleeps for another process starts a thread that stays, with a descriptor.
    let has_watcher = || what_there_is().iter().any(|name| name.starts_with("ropewalk-watch"));
    while !has_watcher() {
        let queue = Queue::<u32>::bounded(1).unwrap();
        let late = |queue: Queue<u32>| {
            std::thread::sleep(Duration::from_millis(20));
            queue.put(1).unwrap();
        };
        let child = Process::spawn(late, queue.clone()).unwrap();
        assert_eq!(queue.get_timeout(Duration::from_secs(10)), Ok(1));
        child.join().unwrap();
    }
    (0..64).for_each(|n| round(&mut random, n));
    let settle = |wanted: Option<Has>| {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let now = has();
            // The zygote stays.
            if wanted.map_or(now.children == 1 && children().is_empty(), |wanted| now == wanted) {
                std::thread::sleep(Duration::from_millis(20));
                return has();
            }
            assert!(Instant::now() < end, "{now:?} now, {wanted:?} before: {:?}", what_there_is());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let before = settle(None);
    let (rounds, end) = (std::env::var("ROUNDS").ok(), Instant::now() + Duration::from_secs(10));
    let most = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(3_000);
    let mut done = 0;
    while done < most && Instant::now() < end {
        round(&mut random, done);
        done += 1;
    }
    assert_eq!(settle(Some(before)), before);
    println!("{done} rounds: {before:?}");
}

#[test]
fn thousands_of_processes_pools_and_queues_leave_nothing_in_their_parent() {
    watched(|| {
        let seed = Random::new().next();
        Process::spawn(wear, seed).unwrap().join().unwrap();
    });
}

/// A request: its number, where the answer goes, and a handle or two more.
type Request = (u32, Queue<u32>, Option<(Semaphore, Event)>);

fn serve(requests: Queue<Request>) {
    for (n, answers, more) in requests.iter() {
        if let Some((seats, event)) = more {
            let _seat = seats.permit();
            event.set();
        }
        let _ = answers.put(n);
    }
}

fn ask((requests, answers, counts, from): (Queue<Request>, Queue<u32>, Array<u32>, u32)) {
    let (seats, event) = (Semaphore::bounded(1).unwrap(), Event::new().unwrap());
    for n in from..from + 1_000_000 {
        let more = n.is_multiple_of(3).then(|| (seats.clone(), event.clone()));
        counts.update(0, |n| n + 1);
        if requests.put((n, answers.clone(), more)).is_err() {
            return;
        }
    }
}

#[test]
fn handles_that_are_on_their_way_when_somebody_is_killed_arrive_with_the_right_message_or_not_at_all() {
    watched(|| {
        let mut random = Random::new();
        let requests = Queue::<Request>::with_ring(16, 4096).unwrap();
        let answers = Queue::<u32>::bounded(1 << 16).unwrap();
        let counts = Array::<u32>::new(1).unwrap();
        let mut from = 0;
        let mut asker = || {
            from += 1_000_000;
            Process::spawn(ask, (requests.clone(), answers.clone(), counts.clone(), from)).unwrap()
        };
        let server = || Process::spawn(serve, requests.clone()).unwrap();
        let mut askers: Vec<_> = (0..2).map(|_| asker()).collect();
        let mut servers: Vec<_> = (0..2).map(|_| server()).collect();
        let mut seen = std::collections::HashSet::new();
        let (mut kills, end) = (0u32, Instant::now() + Duration::from_secs(6));
        while Instant::now() < end {
            let pause = Instant::now() + Duration::from_micros(random.below(15_000));
            while let Ok(n) = answers.get_deadline(pause) {
                assert!(seen.insert(n), "{n} was answered twice");
            }
            let victim = random.below(2) as usize;
            let dead = if random.below(2) == 0 {
                std::mem::replace(&mut askers[victim], asker())
            } else {
                std::mem::replace(&mut servers[victim], server())
            };
            dead.kill().unwrap();
            dead.wait().unwrap();
            kills += 1;
        }
        askers.into_iter().for_each(|asker| {
            asker.kill().unwrap();
            asker.wait().unwrap();
            kills += 1;
        });
        // All that is left is answered.
        requests.close();
        servers.into_iter().for_each(|server| server.join().unwrap());
        while let Ok(n) = answers.try_get() {
            assert!(seen.insert(n), "{n} was answered twice");
        }
        let asked = counts.load(0) as usize;
        assert!(
            seen.len() <= asked && seen.len() + kills as usize >= asked,
            "{} of {asked}, {kills} kills",
            seen.len()
        );
        println!("{} of {asked} answered, {kills} kills", seen.len());
        assert_eq!((requests.len(), answers.len()), (0, 0));
        assert_eq!((requests.users(), answers.users()), (vec![std::process::id()], vec![std::process::id()]));
    });
}
