//! Queues that go to other processes, and from there.

use std::time::Duration;

use ropewalk::process::{Event, Mutex, Process, Queue, RecvError, Semaphore, pipe};
use ropewalk::shm::{Array, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::common::watched;

type Work = (Queue<u64>, Queue<(u32, u64)>);

fn square((work, results): Work) -> u64 {
    let mut done = 0;
    for n in work.iter() {
        results.put((std::process::id(), n * n)).unwrap();
        work.task_done();
        done += 1;
    }
    done
}

#[test]
fn a_killed_process_is_no_user_any_more() {
    watched(|| {
        let queue = Queue::<u32>::bounded(4).unwrap();
        let hold = |queue: Queue<u32>| {
            queue.put(1).unwrap();
            std::thread::sleep(Duration::from_secs(3600));
        };
        let child = Process::spawn(hold, queue.clone()).unwrap();
        while queue.is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(queue.users().len(), 2);
        child.kill().unwrap();
        child.wait().unwrap();
        // Nobody here has waited for the queue, so nobody has watched its users.
        assert_eq!(queue.users(), [std::process::id()]);
    });
}

#[test]
fn queues_travel_as_arguments_and_feed_several_processes() {
    watched(|| {
        let (work, results) = (Queue::bounded(4).unwrap(), Queue::bounded(100).unwrap());
        let workers: Vec<_> =
            (0..3).map(|_| Process::spawn(square, (work.clone(), results.clone())).unwrap()).collect();
        (0..100).for_each(|n| work.put(n).unwrap());
        work.close();
        work.join();
        let pids: Vec<u32> = workers.iter().map(Process::pid).collect();
        let done: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
        assert_eq!((done, results.len()), (100, 100));
        let mut got: Vec<u64> = (0..100)
            .map(|_| {
                let (pid, square) = results.get().unwrap();
                assert!(pids.contains(&pid));
                square
            })
            .collect();
        got.sort_unstable();
        assert!(got.into_iter().eq((0..100).map(|n| n * n)));
        assert_eq!(results.users(), [std::process::id()]);
    });
}

type State = (Mutex<[u32; 2]>, Value<u32>, Array<u8>, Semaphore, Event);

fn change((pair, value, array, seats, done): State) {
    let _seat = seats.permit();
    assert!(seats.permit_deadline(std::time::Instant::now()).is_none());
    pair.lock().unwrap()[1] += 1;
    value.update(|n| n + 1);
    array.update(3, |n| n + 1);
    done.set();
}

#[test]
fn shared_state_travels_and_is_one() {
    watched(|| {
        let state: State = (
            Mutex::new([5, 0]).unwrap(),
            Value::new(0).unwrap(),
            Array::new(4).unwrap(),
            Semaphore::bounded(1).unwrap(),
            Event::new().unwrap(),
        );
        let (pair, value, array, seats, done) = &state;
        let copy = || (pair.clone(), value.clone(), array.clone(), seats.clone(), done.clone());
        let children: Vec<_> = (0..4).map(|_| Process::spawn(change, copy()).unwrap()).collect();
        done.wait();
        children.into_iter().for_each(|child| child.join().unwrap());
        assert_eq!(*pair.lock().unwrap(), [5, 4]);
        assert_eq!((value.load(), array.to_vec()), (4, vec![0, 0, 0, 4]));
        assert_eq!(seats.available(), 1);
    });
}

type Order = (u32, Queue<u32>, Option<Mutex<u64>>);

fn serve(orders: Queue<Order>) {
    for (n, replies, count) in orders.iter() {
        if let Some(count) = count {
            *count.lock().unwrap() += 1;
        }
        replies.put(n + 1).unwrap();
    }
}

#[test]
fn queues_and_locks_travel_through_queues() {
    watched(|| {
        let orders = Queue::bounded(8).unwrap();
        let servers: Vec<_> = (0..2).map(|_| Process::spawn(serve, orders.clone()).unwrap()).collect();
        let (replies, count) = (Queue::bounded(100).unwrap(), Mutex::new(0).unwrap());
        for n in 0..60u32 {
            let count = n.is_multiple_of(2).then(|| count.clone());
            orders.put((n, replies.clone(), count)).unwrap();
        }
        let mut got: Vec<u32> = (0..60).map(|_| replies.get().unwrap()).collect();
        got.sort_unstable();
        assert!(got.into_iter().eq(1..=60));
        assert_eq!(*count.lock().unwrap(), 30);
        orders.close();
        servers.into_iter().for_each(|server| server.join().unwrap());
    });
}

/// Is written as one queue's ring and another one's sockets, and read as a queue.
enum Mixed {
    Sent(Queue<u8>, Queue<u8>),
    Come,
}

impl Serialize for Mixed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::Sent(one, other) = self else { unreachable!("it is sent once") };
        // Each of them passes three descriptors, and writes their numbers to nobody.
        for queue in [one, other] {
            postcard::to_stdvec(queue).map_err(serde::ser::Error::custom)?;
        }
        (0u32, 4u32, 5u32).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mixed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Queue::<u8>::deserialize(deserializer).map(|_| Self::Come)
    }
}

#[test]
fn a_ring_is_not_paired_with_the_sockets_of_another_queue() {
    let (here, there) = pipe::<Mixed, Mixed>().unwrap();
    here.send(&Mixed::Sent(Queue::bounded(4).unwrap(), Queue::bounded(4).unwrap())).unwrap();
    match there.recv() {
        Err(RecvError::Decode(error)) => assert!(error.to_string().contains("another queue"), "{error}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("descriptors of one queue's messages could come with those of another"),
    }
}
