//! Waiting for the first of processes, queues, pipes, sockets and coroutines.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{on_workers, runtime, watched};
use ropewalk::process::{Case, Process, Queue, pipe, wait_any, wait_any_timeout};

fn nap(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn each_kind_of_thing_ends_the_wait() {
    let check = || {
        let queue = Queue::<u32>::bounded(4).unwrap();
        let (here, there) = pipe::<u32, u32>().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let gate = Queue::<()>::bounded(1).unwrap();
        let wait = |gate: Queue<()>| gate.get().unwrap();
        let child = Process::spawn(wait, gate.clone()).unwrap();
        let (sender, receiver) = ropewalk::channel::bounded::<()>(0);
        let mut coroutine = ropewalk::spawn(move || receiver.recv());
        for last in (0..5).rev() {
            // A macro: each use borrows anew.
            macro_rules! cases {
                () => {{
                    let all: [Case<'_>; 5] = [
                        (&queue).into(),
                        (&here).into(),
                        Case::readable(&client),
                        (&child).into(),
                        (&mut coroutine).into(),
                    ];
                    // Those behind have had their turn, and stay ready.
                    all.into_iter().take(last + 1)
                }};
            }
            assert_eq!(wait_any_timeout(cases!(), Duration::from_millis(2)).unwrap(), None);
            let mut act = || match last {
                4 => sender.send(()).unwrap(),
                3 => gate.put(()).unwrap(),
                2 => server.write_all(b"!").unwrap(),
                1 => there.send(&7).unwrap(),
                _ => queue.put(9).unwrap(),
            };
            // Ready later, and from elsewhere: the wait has to be woken.
            let found = ropewalk::scope(|scope| {
                scope.spawn(move || {
                    ropewalk::sleep(Duration::from_millis(2));
                    act();
                });
                wait_any(cases!()).unwrap()
            });
            assert_eq!(found, last);
        }
        assert_eq!((queue.try_get(), here.try_recv().unwrap()), (Ok(9), 7));
        assert!(coroutine.join().unwrap().is_ok());
        child.join().unwrap();
    };
    watched(check);
    on_workers(check);
}

#[test]
fn a_wait_for_descriptors_alone_starts_nothing() {
    watched(|| {
        let child = Process::spawn(nap, 3_600_000).unwrap();
        let (here, _there) = pipe::<u32, u32>().unwrap();
        let limit = Duration::from_millis(5);
        assert_eq!(wait_any_timeout([(&child).into(), (&here).into()], limit).unwrap(), None);
        assert_eq!(wait_any([(&here).into(), Case::writable(&here)]).unwrap(), 1);
        child.kill().unwrap();
        assert_eq!(wait_any([(&here).into(), (&child).into()]).unwrap(), 1);
    });
}

#[test]
fn who_only_looks_takes_no_message_from_a_getter() {
    watched(|| {
        runtime(2).run(|| {
            let queue = Queue::<u32>::bounded(4).unwrap();
            for n in 0..200 {
                let lookers: Vec<_> = (0..3)
                    .map(|_| {
                        let queue = queue.clone();
                        ropewalk::spawn(move || wait_any([(&queue).into()]).unwrap())
                    })
                    .collect();
                let own = queue.clone();
                let getter = ropewalk::spawn(move || own.get().unwrap());
                ropewalk::yield_now();
                queue.put(n).unwrap();
                assert_eq!(getter.join().unwrap(), n);
                lookers.iter().for_each(ropewalk::JoinHandle::cancel);
                ropewalk::join_all(lookers);
            }
        });
    });
}

#[test]
fn a_cancelled_wait_ends_at_once_and_leaves_the_rest_as_it_was() {
    on_workers(|| {
        let queue = Queue::<u32>::bounded(4).unwrap();
        let own = queue.clone();
        let (sender, receiver) = ropewalk::channel::bounded::<u32>(0);
        let waiter = ropewalk::spawn(move || {
            let mut endless = ropewalk::spawn(move || receiver.recv());
            let before = Instant::now();
            let timed = wait_any_timeout([(&own).into(), (&mut endless).into()], Duration::from_millis(1));
            assert!(timed.unwrap().is_none() && before.elapsed() >= Duration::from_millis(1));
            wait_any([(&own).into(), (&mut endless).into()]).unwrap()
        });
        ropewalk::sleep(Duration::from_millis(3));
        waiter.cancel();
        assert!(waiter.join().unwrap_err().is_cancelled());
        assert!(sender.send(1).is_err() || queue.is_empty());
        queue.put(5).unwrap();
        assert_eq!(queue.get(), Ok(5));
    });
}

#[test]
#[should_panic(expected = "no case")]
fn without_cases_a_wait_panics() {
    let _ = wait_any([]);
}
