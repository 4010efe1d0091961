//! Section 1: threads, and a pool of them.

use ropewalk::thread::ThreadPool;

use crate::Outcome;

/// Takes long enough for the other thread of the pool to get its share.
fn slow_product(n: u64) -> u64 {
    std::thread::sleep(std::time::Duration::from_millis(2));
    (1..=n).product()
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!(
        "This process ({}) starts three threads. Each is known to the kernel by a number:",
        std::process::id()
    );
    let threads: Vec<_> = (0..3)
        .map(|n| {
            std::thread::Builder::new().name(format!("worker-{n}")).spawn(move || {
                let id = std::fs::read_link("/proc/thread-self").unwrap_or_default();
                format!("  {:<9} runs as {}", std::thread::current().name().unwrap_or("?"), id.display())
            })
        })
        .collect::<Result<_, _>>()?;
    for thread in threads {
        println!("{}", thread.join().map_err(|_| "a thread has panicked")?);
    }
    println!("Six tasks on a pool of two threads: threads are used again.");
    let pool = ThreadPool::builder(2).name("pair").build();
    let tasks: Vec<_> =
        (1..=6).map(|n: u64| pool.apply_async(move || slow_product(n))).collect::<Result<_, _>>()?;
    for (n, task) in (1..).zip(tasks) {
        task.wait();
        let ran = task.ran_on().ok_or("a task that is done has run somewhere")?;
        println!(
            "  task {n}: {n}! = {:<4} on worker {} (kernel thread {})",
            task.get()?,
            ran.worker,
            ran.thread
        );
    }
    pool.close();
    pool.join()?;
    Ok(())
}
