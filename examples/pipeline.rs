//! A pipeline of queues: read, work, write, each stage with its own coroutines.
//!
//! ```sh
//! cargo run --release --example pipeline
//! ```
#![forbid(unsafe_code)]

use ropewalk::queue::Queue;

fn main() {
    let lines = Queue::bounded(16);
    let counts = Queue::bounded(16);
    let total = ropewalk::scope(|s| {
        s.spawn(|| {
            for n in 1..=1_000 {
                lines.put(format!("line {n} of the text that is counted")).expect("it is open");
            }
            lines.close();
        });
        let workers: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    for line in lines.iter() {
                        counts.put(line.split(' ').count()).expect("it is open");
                    }
                })
            })
            .collect();
        let writer = s.spawn(|| counts.iter().sum::<usize>());
        // The last worker has put its last count when all of them have ended.
        for worker in workers {
            worker.join().expect("a worker does not panic");
        }
        counts.close();
        writer.join().expect("the writer does not panic")
    });
    println!("{total} words");
    assert_eq!(total, 8_000);
}
