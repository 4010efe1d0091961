//! Channels: order, capacity zero, ends that go, clocks.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{on_workers, runtime, watched};
use ropewalk::channel::*;

#[test]
fn messages_keep_their_order_for_every_capacity() {
    for capacity in [Some(0), Some(1), Some(7), None] {
        on_workers(move || {
            let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
            let producer = ropewalk::spawn(move || (0..2_000).for_each(|n| sender.send(n).unwrap()));
            assert!(receiver.iter().eq(0..2_000));
            producer.join().unwrap();
        });
    }
}

#[test]
fn every_message_arrives_once_between_threads_and_coroutines() {
    for capacity in [Some(0), Some(1), Some(3), None] {
        for workers in [1, 2, 8] {
            watched(move || {
                let runtime = runtime(workers);
                let (sender, receiver) = capacity.map_or_else(unbounded, bounded);
                let receivers: Vec<_> = (0..3)
                    .map(|_| {
                        let receiver = receiver.clone();
                        runtime.spawn(move || receiver.iter().sum::<u64>())
                    })
                    .collect();
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        let sender = sender.clone();
                        std::thread::spawn(move || (1..=500).for_each(|n| sender.send(n).unwrap()))
                    })
                    .collect();
                drop((sender, receiver));
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                let sum: u64 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
                assert_eq!(sum, 3 * 125_250);
            });
        }
    }
}

#[test]
fn errors_give_messages_back() {
    let (sender, receiver) = bounded(1);
    sender.send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(sender.send_timeout(3, Duration::from_millis(1)), Err(SendTimeoutError::Timeout(3)));
    drop(receiver);
    assert_eq!(sender.send(4), Err(SendError(4)));
    let (sender, receiver) = bounded::<i32>(0);
    assert_eq!(sender.try_send(5), Err(TrySendError::Full(5)));
    assert_eq!(sender.send_timeout(6, Duration::from_millis(1)), Err(SendTimeoutError::Timeout(6)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(1)), Err(RecvTimeoutError::Timeout));
    drop(sender);
    assert_eq!(receiver.recv(), Err(RecvError));
}

#[test]
fn messages_nobody_can_receive_are_dropped_with_the_last_receiver() {
    let value = Arc::new(());
    let (sender, receiver) = unbounded();
    (0..5).for_each(|_| sender.send(Arc::clone(&value)).unwrap());
    drop(receiver);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_send_on_a_channel_without_room_waits_for_the_hand() {
    on_workers(|| {
        let (sender, receiver) = bounded(0);
        let taken = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = Arc::clone(&taken);
        let sending = ropewalk::spawn(move || {
            sender.send(1).unwrap();
            assert!(seen.load(std::sync::atomic::Ordering::SeqCst));
        });
        ropewalk::sleep(Duration::from_millis(1));
        taken.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(receiver.recv(), Ok(1));
        sending.join().unwrap();
    });
}

#[test]
fn cancelled_senders_and_receivers_lose_no_message() {
    for capacity in [0, 1] {
        on_workers(move || {
            let (sender, receiver) = bounded(capacity);
            for round in 0..200 {
                let waiting = receiver.clone();
                let receiving = ropewalk::spawn(move || waiting.recv().unwrap());
                ropewalk::yield_now();
                receiving.cancel();
                let sender = sender.clone();
                let sending = ropewalk::spawn(move || sender.send(round).unwrap());
                match receiving.join() {
                    Ok(value) => assert_eq!(value, round),
                    Err(_) => assert_eq!(receiver.recv(), Ok(round)),
                }
                sending.join().unwrap();
            }
        });
    }
}

#[test]
fn clocks_send_in_time() {
    on_workers(|| {
        let began = Instant::now();
        after(Duration::from_millis(3)).recv().unwrap();
        assert!(began.elapsed() >= Duration::from_millis(3));
        let ticks = tick(Duration::from_millis(1));
        for _ in 0..3 {
            ticks.recv().unwrap();
        }
        assert!(began.elapsed() >= Duration::from_millis(6));
        assert!(never::<()>().recv_timeout(Duration::from_millis(1)).is_err());
        assert!(at(began).try_recv().is_ok());
    });
}
