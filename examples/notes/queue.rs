//! Section 8: a queue, its ring, and its verbs.

use std::time::Duration;

use ropewalk::process;
use ropewalk::queue::{PriorityQueue, Queue};

use crate::Outcome;

/// Draws the ring. Values are put in the order of the numbers, so those inside follow `oldest`.
fn picture(queue: &Queue<u32>, what: &str, oldest: u32) {
    let (capacity, len) = (queue.capacity().unwrap_or(0), queue.len());
    let (head, tail) = queue.ring_ends().unwrap_or((0, 0));
    let slot = |slot: usize| match (slot + capacity - head) % capacity {
        nth if nth < len => format!(" {} │", oldest + nth as u32),
        _ => "   │".to_owned(),
    };
    let mark = |slot: usize| match (slot == head, slot == tail) {
        (true, true) => " ht ",
        (true, false) => " h  ",
        (false, true) => "  t ",
        _ => "    ",
    };
    println!(
        "  {what:<22} │{}   head {head}, tail {tail}, {len} inside",
        (0..capacity).map(slot).collect::<String>()
    );
    println!("  {:<22}  {}", "", (0..capacity).map(mark).collect::<String>());
}

pub(crate) fn run(_: &[String]) -> Outcome {
    println!("A ring of four slots. `put` writes at the tail, `get` takes from the head:");
    let queue = Queue::bounded(4);
    picture(&queue, "new", 0);
    (1..=3).try_for_each(|n| queue.put(n))?;
    picture(&queue, "put 1, 2, 3", 1);
    println!("  got {}, {}", queue.get()?, queue.get()?);
    picture(&queue, "after two gets", 3);
    (4..=6).try_for_each(|n| queue.put(n))?;
    picture(&queue, "put 4, 5, 6: full", 3);
    println!("  try_put(7): {}", queue.try_put(7).expect_err("it is full"));
    println!(
        "  put_timeout(7, 5 ms): {}",
        queue.put_timeout(7, Duration::from_millis(5)).expect_err("it stays full")
    );
    queue.close();
    println!("  closed; what is left: {:?}", queue.iter().collect::<Vec<_>>());
    println!("  get: {}", queue.get().expect_err("it is drained"));

    println!("Three producers and two consumers, coroutines all; `join` waits until every task is done:");
    let queue = Queue::bounded(8);
    let sums = ropewalk::scope(|s| {
        let consumers = [0, 1].map(|_| {
            s.spawn(|| {
                queue.iter().fold((0, 0u64), |(count, sum), n: u64| {
                    queue.task_done();
                    (count + 1, sum + n)
                })
            })
        });
        let producers =
            [0, 1, 2].map(|_| s.spawn(|| (1..=10_000).for_each(|n| queue.put(n).expect("it is open"))));
        for producer in producers {
            producer.join().expect("a producer does not panic");
        }
        queue.join();
        queue.close();
        consumers.map(|consumer| consumer.join().expect("a consumer does not panic"))
    });
    println!(
        "  consumed {} and {} values; sum {} (expected {})",
        sums[0].0,
        sums[1].0,
        sums[0].1 + sums[1].1,
        3 * 50_005_000
    );

    let urgent = PriorityQueue::unbounded();
    [(2, "wash"), (1, "eat"), (2, "iron"), (0, "wake")].into_iter().try_for_each(|job| urgent.put(job))?;
    urgent.close();
    println!("  by priority: {:?}", urgent.iter().map(|job| job.1).collect::<Vec<_>>());
    between_processes()
}

/// Squares what it gets, a millisecond each, until the queue is closed.
fn work((todo, done): (process::Queue<u64>, process::Queue<(u32, u64)>)) -> usize {
    let mut count = 0;
    while let Ok(n) = todo.get() {
        std::thread::sleep(Duration::from_millis(1));
        done.put((std::process::id(), n * n)).expect("the parent keeps it open");
        todo.task_done();
        count += 1;
    }
    count
}

fn between_processes() -> Outcome {
    drawn_between_processes()?;
    println!("Two children get from one:");
    let (todo, done) = (process::Queue::bounded(8)?, process::Queue::bounded(64)?);
    for n in 1..=3 {
        todo.put(n)?;
    }
    let (head, tail, bytes) = todo.ring_ends();
    println!("  3 put: bytes {head} to {tail} of a ring of {bytes} hold {} messages", todo.len());
    let children = [0, 1].map(|_| process::Process::spawn(work, (todo.clone(), done.clone())));
    for n in 4..=40 {
        todo.put(n)?;
    }
    todo.join();
    todo.close();
    let mut sum = 0;
    for _ in 1..=40 {
        sum += done.get()?.1;
    }
    for child in children {
        let child = child?;
        let pid = child.pid();
        println!("  process {pid} has squared {} numbers", child.join()?);
    }
    println!("  the sum of the squares is {sum} (expected {})", (1..=40u64).map(|n| n * n).sum::<u64>());
    Ok(())
}

type Shared = process::Queue<(u32, String)>;

/// Runs in another process: puts three messages, and says who it is.
fn producer(queue: Shared) -> u32 {
    let own = std::process::id();
    for word in ["hemp ", "yarn ", "strand "] {
        queue.put((own, word.repeat(150))).expect("it is open");
    }
    own
}

fn ring(queue: &Shared, what: &str) {
    const CELLS: usize = 64;
    let (head, tail, len) = queue.ring_ends();
    let full = |cell: usize| {
        let at = cell * len / CELLS;
        (at + len - head) % len < (tail + len - head) % len
    };
    let cells: String = (0..CELLS).map(|cell| if full(cell) { "█" } else { "·" }).collect();
    println!(
        "  {what:<22} [{cells}]\n  {:22}  head {head}  tail {tail}  of {len} bytes; len {}",
        "",
        queue.len()
    );
}

fn drawn_between_processes() -> Outcome {
    println!("Between processes the ring is bytes in memory that both see; messages are of any size:");
    let queue = Shared::with_ring(8, 1)?;
    ring(&queue, "new");
    let child = process::Process::spawn(producer, queue.clone())?;
    let pid = child.join()?;
    ring(&queue, "put by the child");
    for _ in 0..2 {
        let (from, word) = queue.get()?;
        println!("  process {} got {} bytes of {:?} from {from}", std::process::id(), word.len(), &word[..4]);
    }
    ring(&queue, "after two gets");
    println!(
        "  the child ({pid}) has ended; its last message is still there: {} bytes",
        queue.get()?.1.len()
    );
    println!("  empty now, and says so at once: {}", queue.is_empty());
    let own = queue.longest_message();
    let long = queue.put((0, "x".repeat(own))).expect_err("it does not fit");
    println!("  a message that does not fit: {long}");
    Ok(())
}
