//! Section 9: ten tasks, three workers.

use std::time::Duration;

use ropewalk::process;
use ropewalk::thread::ThreadPool;

use crate::Outcome;
use crate::show::timed;

fn threads() -> Outcome {
    println!("Ten tasks of 20 ms on a pool of three: at most three at once, the others wait.");
    let pool = ThreadPool::new(3);
    let (tasks, took) = timed(|| {
        let task = |n| {
            pool.apply_async(move || {
                std::thread::sleep(Duration::from_millis(20));
                n
            })
        };
        let tasks = (0..10).map(task).collect::<Result<Vec<_>, _>>()?;
        tasks.iter().for_each(|task| task.wait());
        Ok::<_, ropewalk::thread::SubmitError>(tasks)
    });
    let mut rows = vec![Vec::new(); 3];
    for (n, task) in tasks?.into_iter().enumerate() {
        let ran = task.ran_on().ok_or("a task that is done has run somewhere")?;
        rows[ran.worker].push(n.to_string());
    }
    for (worker, row) in rows.iter().enumerate() {
        println!("  worker {worker} │ {}", row.join(" → "));
    }
    println!("  took {took:.0?}: four rounds of 20 ms, not ten");
    println!("  join before close: {}", pool.join().expect_err("it is open"));
    pool.close();
    pool.join()?;
    println!("  after close:       {}", pool.apply_async(|| ()).expect_err("it is closed"));
    Ok(())
}

fn nap(n: u32) -> u32 {
    std::thread::sleep(Duration::from_millis(20));
    n
}

fn processes() -> Outcome {
    println!("The same verbs on a pool of three processes:");
    let pool = process::Pool::new(3)?;
    let (tasks, took) = timed(|| {
        let tasks = (0..10).map(|n| pool.apply_async(nap, n)).collect::<Result<Vec<_>, _>>()?;
        tasks.iter().for_each(|task| task.wait());
        Ok::<_, process::SubmitError>(tasks)
    });
    let mut rows = vec![(0, Vec::new()); 3];
    for (n, task) in tasks?.into_iter().enumerate() {
        let ran = task.ran_on().ok_or("a task that is done has run somewhere")?;
        rows[ran.worker].0 = ran.pid;
        rows[ran.worker].1.push(n.to_string());
    }
    for (worker, (pid, row)) in rows.iter().enumerate() {
        println!("  worker {worker} (process {pid}) │ {}", row.join(" → "));
    }
    println!("  took {took:.0?}: ten tasks, three processes, each used again");
    println!("A worker that dies fails what it held, and is replaced:");
    let lost = pool.apply(|()| -> () { std::process::abort() }, ()).expect_err("the worker is dead");
    println!("  {lost}");
    println!("  the next task:     {:?}", pool.apply(nap, 11)?);
    println!("  join before close: {}", pool.join().expect_err("it is open"));
    pool.close();
    pool.join()?;
    println!("  after close:       {}", pool.apply_async(nap, 12).expect_err("it is closed"));
    Ok(())
}

pub(crate) fn run(_: &[String]) -> Outcome {
    threads()?;
    processes()
}
