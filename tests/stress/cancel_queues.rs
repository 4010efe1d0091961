//! Cancellation at random moments of puts, gets, sends, receives and selects: what a call has taken it
//! gives, what it has not given it keeps, and nothing comes twice.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ropewalk::channel::{self, Receiver, Sender};
use ropewalk::queue::{LifoQueue, PriorityQueue, Queue};
use ropewalk::select;

use crate::harness::{Dice, Round, rounds};

const VICTIMS: usize = 24;

/// What was really sent and really received, by number; and how many values live.
#[derive(Default)]
struct Books {
    next: AtomicUsize,
    live: Arc<()>,
    sent: Mutex<Vec<usize>>,
    received: Mutex<Vec<usize>>,
}

/// A value that is counted while it lives.
struct Item {
    number: usize,
    _live: Arc<()>,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.number % 3).cmp(&(other.number % 3))
    }
}

impl Books {
    fn make(&self) -> Item {
        Item { number: self.next.fetch_add(1, Ordering::Relaxed), _live: Arc::clone(&self.live) }
    }

    fn sent(&self, number: usize) {
        self.sent.lock().unwrap().push(number);
    }

    fn received(&self, item: Item) {
        self.received.lock().unwrap().push(item.number);
    }

    fn balance(&self) {
        let mut sent = self.sent.lock().unwrap().clone();
        let mut received = self.received.lock().unwrap().clone();
        sent.sort_unstable();
        received.sort_unstable();
        let lost: Vec<_> = sent.iter().filter(|n| received.binary_search(n).is_err()).collect();
        let surplus: Vec<_> = received.iter().filter(|n| sent.binary_search(n).is_err()).collect();
        assert!(lost.is_empty(), "sent and never received: {lost:?}");
        assert!(surplus.is_empty(), "received though the send was cancelled: {surplus:?}");
        assert!(received.windows(2).all(|pair| pair[0] != pair[1]), "received twice");
        assert_eq!(Arc::strong_count(&self.live), 1, "a value is alive that nobody has");
    }
}

macro_rules! queue_subject {
    ($function:ident, $queue:expr) => {
        fn $function(round: &Round) {
            let shared = Arc::new((Books::default(), $queue));
            let own = Arc::clone(&shared);
            round.storm(VICTIMS, move |n, mut dice| {
                let (books, queue) = &*own;
                loop {
                    if n % 2 == 0 {
                        let item = books.make();
                        let number = item.number;
                        let put = match dice.below(4) {
                            0 => queue.put_timeout(item, dice.micros(200)).is_ok(),
                            1 => queue.try_put(item).is_ok(),
                            _ => queue.put(item).is_ok(),
                        };
                        if put {
                            books.sent(number);
                        }
                    } else {
                        let got = match dice.below(4) {
                            0 => queue.get_timeout(dice.micros(200)).ok(),
                            1 => queue.try_get().ok(),
                            _ => queue.get().ok(),
                        };
                        if let Some(item) = got {
                            books.received(item);
                            queue.task_done();
                        }
                    }
                    dice.nap();
                }
            });
            let (books, queue) = &*shared;
            assert_eq!(queue.unfinished_tasks(), queue.len());
            while let Ok(item) = queue.try_get() {
                books.received(item);
                queue.task_done();
            }
            queue.join();
            books.balance();
        }
    };
}

queue_subject!(bounded_queue, Queue::<Item>::bounded(2));
queue_subject!(unbounded_queue, Queue::<Item>::unbounded());
queue_subject!(lifo_queue, LifoQueue::<Item>::bounded(3));
queue_subject!(priority_queue, PriorityQueue::<Item>::bounded(3));

#[test]
fn cancelled_puts_and_gets_lose_nothing_bounded() {
    rounds("cancel bounded queue", bounded_queue);
}

#[test]
fn cancelled_puts_and_gets_lose_nothing_unbounded() {
    rounds("cancel unbounded queue", unbounded_queue);
}

#[test]
fn cancelled_puts_and_gets_lose_nothing_last_in_first_out() {
    rounds("cancel lifo queue", lifo_queue);
}

#[test]
fn cancelled_puts_and_gets_lose_nothing_by_priority() {
    rounds("cancel priority queue", priority_queue);
}

fn send(books: &Books, sender: &Sender<Item>, dice: &mut Dice) {
    let item = books.make();
    let number = item.number;
    let sent = match dice.below(4) {
        0 => sender.send_timeout(item, dice.micros(200)).is_ok(),
        1 => sender.try_send(item).is_ok(),
        _ => sender.send(item).is_ok(),
    };
    if sent {
        books.sent(number);
    }
}

fn receive(books: &Books, receiver: &Receiver<Item>, dice: &mut Dice) {
    let received = match dice.below(4) {
        0 => receiver.recv_timeout(dice.micros(200)).ok(),
        1 => receiver.try_recv().ok(),
        _ => receiver.recv().ok(),
    };
    if let Some(item) = received {
        books.received(item);
    }
}

fn channel_of(round: &Round, (sender, receiver): (Sender<Item>, Receiver<Item>)) {
    let books = Arc::new(Books::default());
    let (own, other) = (Arc::clone(&books), receiver.clone());
    round.storm(VICTIMS, move |n, mut dice| {
        loop {
            if n % 2 == 0 {
                send(&own, &sender, &mut dice)
            } else {
                receive(&own, &other, &mut dice)
            }
            dice.nap();
        }
    });
    while let Ok(item) = receiver.try_recv() {
        books.received(item);
    }
    books.balance();
}

#[test]
fn cancelled_sends_and_receives_lose_nothing_without_room() {
    rounds("cancel channel of 0", |round| channel_of(round, channel::bounded(0)));
}

#[test]
fn cancelled_sends_and_receives_lose_nothing_with_room_for_one() {
    rounds("cancel channel of 1", |round| channel_of(round, channel::bounded(1)));
}

#[test]
fn cancelled_sends_and_receives_lose_nothing_without_bound() {
    rounds("cancel unbounded channel", |round| channel_of(round, channel::unbounded()));
}

fn selects(round: &Round) {
    let books = Arc::new(Books::default());
    let ends: Vec<_> = [0, 1, 2].map(channel::bounded::<Item>).into_iter().collect();
    let (own, all) = (Arc::clone(&books), ends.clone());
    round.storm(VICTIMS, move |n, mut dice| {
        let (a, b, c) = (&all[0], &all[1], &all[2]);
        loop {
            match n % 4 {
                0 => send(&own, &all[dice.below(3)].0, &mut dice),
                1 => receive(&own, &all[dice.below(3)].1, &mut dice),
                2 => {
                    select! {
                        recv(a.1) -> item => own.received(item.unwrap()),
                        recv(b.1) -> item => own.received(item.unwrap()),
                        recv(c.1) -> item => own.received(item.unwrap()),
                        default(dice.micros(600)) => (),
                    }
                }
                _ => {
                    // The message of a send is made only once it is chosen.
                    let mut number = None;
                    let mut make = || {
                        let item = own.make();
                        number = Some(item.number);
                        item
                    };
                    let sent = select! {
                        send(a.0, make()) -> sent => sent.is_ok(),
                        send(b.0, make()) -> sent => sent.is_ok(),
                        recv(c.1) -> item => { own.received(item.unwrap()); false }
                    };
                    if sent {
                        own.sent(number.unwrap());
                    }
                }
            }
            dice.nap();
        }
    });
    for (_, receiver) in &ends {
        while let Ok(item) = receiver.try_recv() {
            books.received(item);
        }
    }
    books.balance();
}

#[test]
fn cancelled_selects_lose_nothing() {
    rounds("cancel select", selects);
}
