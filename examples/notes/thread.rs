//! Section 1: threads, a pool of them, and who ran what.

use std::thread;
use std::time::{Duration, Instant};

use ropewalk::thread::{AsyncResult, ThreadPool};

use crate::Outcome;

/// What one column of the timeline stands for.
const COLUMN: Duration = Duration::from_millis(1);

/// One task: waits for its share of time, and tells when it began and ended.
fn work(length: u32) -> (Instant, Instant) {
    let began = Instant::now();
    thread::sleep(length * COLUMN);
    (began, Instant::now())
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("A thread lives in a process, and the system schedules it by itself.");
    println!("This process ({}) starts three. The kernel knows each by a number:", std::process::id());
    let threads: Vec<_> = (0..3)
        .map(|n| {
            thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
                let id = std::fs::read_link("/proc/thread-self").unwrap_or_default();
                format!("  {:<9} is /proc/{}", thread::current().name().unwrap_or("?"), id.display())
            })
        })
        .collect::<Result<_, _>>()?;
    for thread in threads {
        println!("{}", thread.join().map_err(|_| "a thread has panicked")?);
    }
    timeline()
}

/// Seven tasks on two threads, drawn as they ran.
fn timeline() -> Outcome {
    println!("A pool keeps its threads for the next task. Seven tasks, `a` to `g`, on a pool of two:");
    let pool = ThreadPool::builder(2).name("pair").build();
    let start = Instant::now();
    let tasks: Vec<AsyncResult<_>> =
        (0..7).map(|n| pool.apply_async(move || work(4 + 3 * (n % 3)))).collect::<Result<_, _>>()?;
    let mut rows = vec![(0, String::new()); 2];
    for (task, letter) in tasks.into_iter().zip('a'..) {
        task.wait();
        let ran = task.ran_on().ok_or("a task that is done has run somewhere")?;
        let (began, ended) = task.get()?;
        let column = |at: Instant| (at - start).div_duration_f64(COLUMN).round() as usize;
        let (thread, row) = &mut rows[ran.worker];
        *thread = ran.thread;
        // A worker runs one task after the other, so its row grows to the right.
        let gap = column(began).saturating_sub(row.chars().count());
        row.extend(std::iter::repeat_n('·', gap));
        row.extend(std::iter::repeat_n(letter, column(ended).saturating_sub(column(began))));
    }
    for (worker, (thread, row)) in rows.iter().enumerate() {
        println!("  worker {worker} (kernel thread {thread}) │{row}│");
    }
    println!("  one column is {COLUMN:?}; · is a thread without a task");
    pool.close();
    pool.join()?;
    Ok(())
}
