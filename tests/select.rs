//! `select!`: one of many, nothing lost, nothing taken twice.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{on_workers, runtime, watched};
use ropewalk::channel::{
    Receiver, RecvError, RecvTimeoutError, Select, Sender, TryRecvError, after, bounded, never, unbounded,
};
use ropewalk::{JoinHandle, select, select_biased};

#[test]
fn a_loser_keeps_its_message() {
    for capacity in [0, 1, 5] {
        on_workers(move || {
            let ((s1, r1), (s2, r2)) = (bounded(capacity), bounded(capacity));
            let senders = [s1, s2].map(|sender| {
                ropewalk::spawn(move || {
                    for n in 0..500u32 {
                        sender.send(n).unwrap();
                    }
                })
            });
            let mut next = [0, 0];
            let mut open = [true, true];
            while open[0] || open[1] {
                let (which, result) = select! {
                    recv(r1) -> message => (0, message),
                    recv(r2) -> message => (1, message),
                };
                match result {
                    Ok(n) => {
                        assert_eq!(n, next[which]);
                        next[which] += 1;
                    }
                    Err(_) => {
                        open[which] = false;
                        if open[1 - which] {
                            // The other one is drained alone, as the closed one is always ready.
                            let other = if which == 0 { &r2 } else { &r1 };
                            for n in other.iter() {
                                assert_eq!(n, next[1 - which]);
                                next[1 - which] += 1;
                            }
                            open[1 - which] = false;
                        }
                    }
                }
            }
            assert_eq!(next, [500, 500]);
            senders.into_iter().for_each(|sender| sender.join().unwrap());
        });
    }
}

#[test]
fn two_selects_meet_on_a_channel_without_room() {
    on_workers(|| {
        let (sender, receiver) = bounded::<u32>(0);
        let quiet = never::<()>();
        let sending = ropewalk::spawn(move || {
            for n in 0..300 {
                select! {
                    send(sender, n) -> result => result.unwrap(),
                    recv(quiet) -> _ => unreachable!(),
                }
            }
        });
        let other = never::<u32>();
        for expected in 0..300 {
            let n = select! {
                recv(other) -> n => n,
                recv(receiver) -> n => n,
            };
            assert_eq!(n, Ok(expected));
        }
        sending.join().unwrap();
    });
}

#[test]
fn defaults_and_timeouts() {
    on_workers(|| {
        let (sender, receiver) = bounded::<u32>(1);
        assert_eq!(select! { recv(receiver) -> _ => 1, default => 2 }, 2);
        let began = Instant::now();
        assert_eq!(select! { recv(receiver) -> _ => 1, default(Duration::from_millis(3)) => 3 }, 3);
        assert!(began.elapsed() >= Duration::from_millis(3));
        assert_eq!(select! { default => 4, send(sender, 9) -> result => { result.unwrap(); 5 } }, 5);
        let mut made = false;
        let full = select! {
            send(sender, { made = true; 1 }) -> _ => false,
            recv(after(Duration::from_millis(2))) -> at => at.is_ok(),
        };
        assert!(full && !made, "the message of a send that is not chosen is not made");
        assert_eq!(select! { recv(receiver) -> n => n, default() => Ok(0) }, Ok(9));
    });
}

#[test]
fn the_biased_one_takes_the_first() {
    let ((s1, r1), (s2, r2)) = (unbounded(), unbounded());
    (0..10).for_each(|n| {
        s1.send(n).unwrap();
        s2.send(n).unwrap();
    });
    for n in 0..10 {
        assert_eq!(select_biased! { recv(r1) -> m => m, recv(r2) -> _ => unreachable!() }, Ok(n));
    }
    let mut seen = [false, false];
    (0..200).for_each(|n| {
        s1.send(n).unwrap();
        s2.send(n).unwrap();
        select! { recv(r1) -> _ => seen[0] = true, recv(r2) -> _ => seen[1] = true }
    });
    assert_eq!(seen, [true, true], "a plain select is fair");
}

#[test]
fn many_selects_share_channels_and_each_message_arrives_once() {
    for capacity in [0, 1, 4] {
        on_workers(move || {
            let ((s1, r1), (s2, r2)) = (bounded(capacity), bounded(capacity));
            let receivers: Vec<_> = (0..4)
                .map(|_| {
                    let (r1, r2) = (r1.clone(), r2.clone());
                    ropewalk::spawn(move || {
                        let mut sum = 0u64;
                        loop {
                            let (which, message) =
                                select! { recv(r1) -> m => (&r1, m), recv(r2) -> m => (&r2, m) };
                            match message {
                                Ok(n) => sum += n,
                                Err(_) if std::ptr::eq(which, &r1) => return sum + r2.iter().sum::<u64>(),
                                Err(_) => return sum + r1.iter().sum::<u64>(),
                            }
                        }
                    })
                })
                .collect();
            drop((r1, r2));
            for n in 1..=400 {
                if n % 2 == 0 { s1.send(n).unwrap() } else { s2.send(n).unwrap() }
            }
            drop((s1, s2));
            let sum: u64 = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
            assert_eq!(sum, 400 * 401 / 2);
        });
    }
}

#[test]
fn a_cancelled_select_takes_nothing() {
    on_workers(|| {
        let ((s1, r1), (_s2, r2)) = (bounded(1), bounded::<u32>(1));
        for round in 0..100 {
            let (a, b) = (r1.clone(), r2.clone());
            let selecting =
                ropewalk::spawn(move || select! { recv(a) -> m => m.unwrap(), recv(b) -> m => m.unwrap() });
            ropewalk::yield_now();
            selecting.cancel();
            s1.send(round).unwrap();
            match selecting.join() {
                Ok(n) => assert_eq!(n, round),
                Err(_) => assert_eq!(r1.recv(), Ok(round)),
            }
        }
    });
}

#[test]
fn readiness_can_be_asked_for() {
    let ((s1, r1), (_s2, r2)) = (unbounded(), unbounded::<u32>());
    let mut select = Select::new();
    let first = select.recv(&r1);
    select.recv(&r2);
    assert!(select.try_ready().is_err() && select.ready_timeout(Duration::from_millis(1)).is_err());
    s1.send(1).unwrap();
    assert_eq!(select.ready(), first);
    assert_eq!(select.try_select().unwrap().recv(&r1), Ok(1));
}

/// A receive that a selected send, never completed, has for its own: it waits (`meets` = false), or it has come upon
/// a select that waits to send.
fn promised_and_forgotten<T: Send + 'static>(
    meets: bool,
    receive: impl FnOnce(&Receiver<u32>) -> T + Send + 'static,
) -> (Sender<u32>, JoinHandle<T>) {
    let (sender, receiver) = bounded(0);
    let forget = |sender: &Sender<u32>| {
        let mut select = Select::new();
        select.send(sender);
        // The receiver waits; but one with a deadline may have gone meanwhile.
        let _ = select.select_timeout(Duration::from_secs(2)).map(std::mem::forget);
    };
    let receiving = || ropewalk::spawn(move || receive(&receiver));
    if !meets {
        let receiving = receiving();
        // Readiness means that it waits.
        let mut select = Select::new();
        select.send(&sender);
        let _ = select.ready_timeout(Duration::from_secs(2));
        forget(&sender);
        return (sender, receiving);
    }
    let willing = sender.clone();
    let selecting = ropewalk::spawn(move || forget(&willing));
    let receiving = receiving();
    selecting.join().unwrap();
    (sender, receiving)
}

#[test]
fn the_receiver_of_a_forgotten_send_can_be_cancelled() {
    for meets in [false, true] {
        on_workers(move || {
            let (sender, receiving) = promised_and_forgotten(meets, Receiver::recv);
            receiving.cancel();
            assert!(receiving.join().unwrap_err().is_cancelled());
            assert!(sender.send(1).is_err(), "the last receiver is gone");

            let (_sender, receiving) = promised_and_forgotten(meets, |receiver| {
                select! { recv(receiver) -> n => n, recv(never::<u32>()) -> n => n }
            });
            receiving.cancel();
            assert!(receiving.join().unwrap_err().is_cancelled());
        });
    }
}

#[test]
fn the_receiver_of_a_forgotten_send_keeps_to_its_deadline() {
    const MOMENT: Duration = Duration::from_millis(5);
    for meets in [false, true] {
        on_workers(move || {
            let (_sender, receiving) = promised_and_forgotten(meets, |receiver| {
                let late = receiver.recv_timeout(MOMENT);
                (late, ropewalk::timeout(MOMENT, || receiver.recv()).is_err())
            });
            assert_eq!(receiving.join().unwrap(), (Err(RecvTimeoutError::Timeout), true));
            let (_sender, receiving) = promised_and_forgotten(meets, |receiver| {
                select! { recv(receiver) -> n => n.ok(), default(MOMENT) => None }
            });
            assert_eq!(receiving.join().unwrap(), None);
        });
    }
    // One that only tries.
    on_workers(|| {
        let (sender, receiver) = bounded::<u32>(0);
        let selecting = ropewalk::spawn(move || {
            let mut select = Select::new();
            select.send(&sender);
            std::mem::forget(select.select());
            sender
        });
        let mut select = Select::new();
        select.recv(&receiver);
        select.ready();
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        drop(selecting.join().unwrap());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    });
    // A plain thread, too.
    watched(|| {
        let (sender, receiver) = bounded::<u32>(0);
        let receiving =
            std::thread::spawn(move || ropewalk::timeout(10 * MOMENT, || receiver.recv()).is_err());
        let mut select = Select::new();
        select.send(&sender);
        if let Ok(chosen) = select.select_timeout(MOMENT) {
            std::mem::forget(chosen);
        }
        assert!(receiving.join().unwrap());
    });
}

#[test]
fn the_receiver_of_a_forgotten_send_hears_of_the_end_of_the_senders() {
    for meets in [false, true] {
        on_workers(move || {
            let (sender, receiving) = promised_and_forgotten(meets, Receiver::recv);
            drop(sender);
            assert_eq!(receiving.join().unwrap(), Err(RecvError));
        });
    }
}

#[test]
fn the_receiver_of_a_forgotten_send_does_not_keep_its_runtime_from_ending() {
    for meets in [false, true] {
        watched(move || {
            let inner = runtime(2);
            let (sender, receiving) = inner.run(move || promised_and_forgotten(meets, Receiver::recv));
            drop(inner);
            assert!(receiving.join().unwrap_err().is_cancelled());
            drop(sender);
        });
    }
}

#[test]
fn a_selected_send_whose_receiver_has_been_cancelled_goes_to_the_next_one() {
    on_workers(|| {
        let (sender, receiver) = bounded(0);
        let other = receiver.clone();
        let receiving = ropewalk::spawn(move || other.recv());
        let mut select = Select::new();
        select.send(&sender);
        let chosen = select.select();
        receiving.cancel();
        assert!(receiving.join().unwrap_err().is_cancelled());
        let next = ropewalk::spawn(move || receiver.recv());
        chosen.send(&sender, Box::new(7)).unwrap();
        assert_eq!(next.join().unwrap(), Ok(Box::new(7)));
        // Nobody is left: the message comes back.
        let (sender, receiver) = bounded(0);
        let receiving = ropewalk::spawn(move || receiver.recv());
        let mut select = Select::new();
        select.send(&sender);
        let chosen = select.select();
        receiving.cancel();
        assert!(receiving.join().unwrap_err().is_cancelled());
        assert_eq!(chosen.send(&sender, Box::new(8)).unwrap_err().into_inner(), Box::new(8));
    });
}

#[test]
fn a_forgotten_send_costs_a_bounded_channel_one_place() {
    on_workers(|| {
        let (sender, receiver) = bounded(2);
        let mut select = Select::new();
        select.send(&sender);
        std::mem::forget(select.select());
        sender.send(1).unwrap();
        assert!(sender.is_full() && sender.try_send(2).is_err());
        assert!(ropewalk::timeout(Duration::from_millis(1), || sender.send(2)).is_err());
        let waiting = ropewalk::spawn({
            let sender = sender.clone();
            move || sender.send(3)
        });
        ropewalk::yield_now();
        assert_eq!(receiver.recv(), Ok(1));
        waiting.join().unwrap().unwrap();
        drop(sender);
        assert_eq!((receiver.recv(), receiver.recv()), (Ok(3), Err(RecvError)));
    });
}

#[test]
fn a_select_that_has_waited_longest_gets_the_first_message() {
    watched(|| {
        runtime(1).run(|| {
            let (sender, receiver) = unbounded();
            let (first, second) = (receiver.clone(), receiver);
            let select = ropewalk::spawn(move || {
                select! {
                    recv(first) -> message => message.unwrap(),
                    recv(never::<u32>()) -> _ => unreachable!("nothing is sent there"),
                }
            });
            let plain = ropewalk::spawn(move || second.recv().unwrap());
            // Both run, and wait.
            (0..4).for_each(|_| ropewalk::yield_now());
            sender.send(1).unwrap();
            assert_eq!(select.join().unwrap(), 1);
            sender.send(2).unwrap();
            assert_eq!(plain.join().unwrap(), 2);
        });
    });
}
