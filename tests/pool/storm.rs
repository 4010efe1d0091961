//! Kills at random moments.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ropewalk::process::{Pool, Process, TaskError, children};

use crate::common::{Random, watched};
use crate::kill;

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
