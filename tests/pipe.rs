//! Pipes between processes: messages whole and in order, ends that travel, ends that die.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use common::{on_workers, watched};
use ropewalk::process::{Pipe, Process, RecvError, SendError, pipe};

#[test]
fn messages_of_any_size_come_in_order_from_another_process() {
    on_workers(|| {
        let (here, there) = pipe::<(), Vec<u8>>().unwrap();
        let send = |end: Pipe<Vec<u8>, ()>| {
            for len in (0..200_000).step_by(9_973) {
                end.send(&vec![len as u8; len]).unwrap();
            }
        };
        let child = Process::spawn(send, there).unwrap();
        for len in (0..200_000).step_by(9_973) {
            assert_eq!(here.recv().unwrap(), vec![len as u8; len]);
        }
        assert!(matches!(here.recv(), Err(RecvError::Closed)));
        child.join().unwrap();
        assert!(matches!(here.send(&()), Err(SendError::Closed)));
    });
}

#[test]
fn an_end_travels_in_a_message_and_in_a_result() {
    watched(|| {
        let (here, there) = pipe::<Pipe<String, ()>, ()>().unwrap();
        let (inner, outer) = pipe::<String, ()>().unwrap();
        let greet = |end: Pipe<(), Pipe<String, ()>>| {
            let inner = end.recv().unwrap();
            inner.send(&"from afar".to_owned()).unwrap();
            inner
        };
        let child = Process::spawn(greet, there).unwrap();
        here.send(&inner).unwrap();
        drop(inner);
        assert_eq!(outer.recv().unwrap(), "from afar");
        let back = child.join().unwrap();
        back.send(&"from home".to_owned()).unwrap();
        assert_eq!(outer.recv().unwrap(), "from home");
    });
}

#[test]
fn a_killed_sender_loses_no_whole_message_and_wakes_the_receiver() {
    watched(|| {
        let (here, there) = pipe::<(), u64>().unwrap();
        let count = |end: Pipe<u64, ()>| {
            for n in 0.. {
                if end.send(&n).is_err() {
                    return;
                }
            }
        };
        let child = Process::spawn(count, there).unwrap();
        for n in 0..1_000 {
            assert_eq!(here.recv().unwrap(), n);
        }
        child.kill().unwrap();
        let rest: Vec<u64> = here.iter().collect();
        assert!(rest.iter().copied().eq(1_000..1_000 + rest.len() as u64));
        assert!(matches!(here.recv(), Err(RecvError::Closed)));
    });
}

#[test]
fn waits_have_deadlines_and_full_pipes_say_so() {
    watched(|| {
        let (here, there) = pipe::<Vec<u8>, Vec<u8>>().unwrap();
        assert!(matches!(here.try_recv(), Err(RecvError::Empty)));
        assert!(matches!(here.recv_timeout(Duration::from_millis(2)), Err(RecvError::Empty)));
        let mut sent = 0;
        while here.send_timeout(&vec![1; 10_000], Duration::from_millis(2)).is_ok() {
            sent += 1;
        }
        assert!(sent > 2);
        let late = here.send_deadline(&vec![1; 10_000], Instant::now());
        assert!(matches!(late, Err(SendError::Full)), "{late:?}");
        assert!(there.recv().is_ok());
        let wrong = pipe::<u8, u64>().unwrap();
        wrong.0.send(&1).unwrap();
        assert_eq!(wrong.1.recv().unwrap(), 1);
    });
}

#[test]
fn outside_of_ropewalks_messages_an_end_cannot_be_encoded() {
    let (here, _there) = pipe::<u8, u8>().unwrap();
    assert!(postcard::to_stdvec(&here).is_err());
}
