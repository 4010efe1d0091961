//! On which worker coroutines start: counted by the runtime's metrics.
#![allow(missing_docs, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use common::echo::echo;
use common::{runtime, watched};
use ropewalk::{JoinHandle, Runtime, spawn};

/// Connects `count` times, one after another, and talks to each connection's coroutine.
fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    (0..count).map(one).collect()
}

/// Living coroutines of each worker.
fn living(runtime: &Runtime) -> Vec<u64> {
    runtime.metrics().workers.iter().map(|worker| worker.stacks_in_use).collect()
}

/// Waits until `total` coroutines live; true if each worker has between 0.8 and 1.2 of its share.
fn is_even(runtime: &Runtime, total: u64) -> bool {
    let living = loop {
        let living = living(runtime);
        if living.iter().sum::<u64>() == total {
            break living;
        }
        thread::yield_now();
    };
    let even = |count: &u64| (total * 8..=total * 12).contains(&(count * living.len() as u64 * 10));
    println!("{living:?}");
    living.iter().all(even)
}

/// Lets more be born, up to four times, until the workers' shares are even: a worker that gets no processor for 10 ms is
/// left out for so long.
fn assert_even(runtime: &Runtime, mut total: u64, mut birth: impl FnMut() -> u64) {
    for _ in 0..4 {
        if is_even(runtime, total) {
            return;
        }
        total += birth();
    }
    assert!(is_even(runtime, total), "the births do not even out");
}

/// So many more connections.
fn more(clients: &mut Vec<TcpStream>, address: SocketAddr) -> u64 {
    clients.extend(connect(address, 100));
    100
}

fn native_server(runtime: &Runtime) -> SocketAddr {
    let listener = runtime.run(|| ropewalk::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    runtime.spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            spawn(move || echo(stream));
        }
    });
    address
}

#[test]
fn connections_that_arrive_one_after_another_are_shared() {
    for workers in [2, 4] {
        watched(move || {
            let runtime = runtime(workers);
            let address = native_server(&runtime);
            let mut clients = connect(address, 200);
            assert_even(&runtime, 201, || more(&mut clients, address));
            drop(clients);
        });
    }
}

#[cfg(feature = "monkey")]
#[test]
fn connections_of_a_replaced_accept_are_shared() {
    if common::child("connections_of_a_replaced_accept_are_shared").is_none_or(|output| {
        assert!(output.status.success(), "{output:?}");
        false
    }) {
        watched(|| {
            ropewalk::monkey::patch_all().unwrap();
            let runtime = runtime(2);
            let address = runtime.run(common::echo::server);
            let mut clients = connect(address, 200);
            assert_even(&runtime, 201, || more(&mut clients, address));
            drop(clients);
        });
    }
}

#[test]
fn coroutines_spawned_by_a_plain_thread_are_shared() {
    watched(|| {
        let runtime = runtime(2);
        let coroutines = Vec::from_iter((0..200).map(|_| {
            let (sender, receiver) = mpsc::channel();
            let coroutine = runtime.spawn(move || {
                sender.send(()).unwrap();
                ropewalk::park();
            });
            receiver.recv().unwrap();
            coroutine
        }));
        assert!(is_even(&runtime, 200));
        coroutines.iter().for_each(|coroutine| coroutine.handle().unpark());
    });
}

/// Parks `count` coroutines; those on another thread than the caller end when the first list is unparked.
fn park(count: usize) -> [Vec<JoinHandle<()>>; 2] {
    let here = thread::current().id();
    let mut parked = [Vec::new(), Vec::new()];
    for _ in 0..count {
        let place = Arc::new(Mutex::new(None));
        let coroutine = spawn({
            let place = Arc::clone(&place);
            move || {
                *place.lock().unwrap() = Some(thread::current().id());
                ropewalk::park();
            }
        });
        let place = loop {
            if let Some(place) = *place.lock().unwrap() {
                break place;
            }
            ropewalk::yield_now();
        };
        parked[usize::from(place == here)].push(coroutine);
    }
    parked
}

#[test]
fn births_even_out_what_has_ended_unevenly() {
    watched(|| {
        let runtime = runtime(2);
        let [far, near] = runtime.run(|| {
            let [far, mut near] = park(200);
            far.iter().for_each(|coroutine| coroutine.handle().unpark());
            ropewalk::join_all(far).into_iter().for_each(Result::unwrap);
            let [far, more] = park(400);
            near.extend(more);
            [far, near]
        });
        assert!(is_even(&runtime, (far.len() + near.len()) as u64));
        far.iter().chain(&near).for_each(|coroutine| coroutine.handle().unpark());
    });
}

#[test]
fn a_spawn_and_join_loop_hands_nothing_over() {
    watched(|| {
        let runtime = Arc::new(runtime(2));
        let inner = Arc::clone(&runtime);
        runtime.run(move || {
            let one = |n: u32| assert_eq!(spawn(move || n).join().unwrap(), n);
            (0..10_000).for_each(one);
            assert_eq!(inner.metrics().total.handed_over, 0);
            // The same where far more live here than there.
            let [far, near] = park(200);
            far.iter().for_each(|coroutine| coroutine.handle().unpark());
            ropewalk::join_all(far).into_iter().for_each(Result::unwrap);
            while !living(&inner).contains(&0) {
                ropewalk::yield_now();
            }
            let before = inner.metrics().total.handed_over;
            (0..10_000).for_each(one);
            assert_eq!(inner.metrics().total.handed_over, before);
            near.iter().for_each(|coroutine| coroutine.handle().unpark());
        });
    });
}

#[test]
fn a_burst_of_short_coroutines_hands_nothing_over() {
    watched(|| {
        let runtime = runtime(2);
        runtime.run(|| {
            let burst = (0..10_000).map(|_| spawn(|| ()));
            ropewalk::join_all(burst).into_iter().for_each(Result::unwrap);
        });
        let total = runtime.metrics().total;
        assert_eq!((total.handed_over, total.spawned), (0, 10_001), "{total:?}");
    });
}

#[test]
fn a_worker_in_a_long_turn_keeps_none_of_the_births_waiting() {
    const BIRTHS: usize = 50;
    watched(|| {
        let runtime = Arc::new(runtime(2));
        runtime.run(|| {
            let here = thread::current().id();
            let (taken, born) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let first = Vec::from_iter((0..20).map(|_| {
                let (taken, born) = (Arc::clone(&taken), Arc::clone(&born));
                ropewalk::yield_now();
                spawn(move || {
                    if thread::current().id() != here && !taken.swap(true, Ordering::Relaxed) {
                        // This turn lasts until all later births have run.
                        while born.load(Ordering::Relaxed) < BIRTHS {
                            thread::yield_now();
                        }
                    }
                    ropewalk::park();
                })
            }));
            while !taken.load(Ordering::Relaxed) {
                ropewalk::yield_now();
            }
            let second = Vec::from_iter((0..BIRTHS).map(|_| {
                let born = Arc::clone(&born);
                ropewalk::yield_now();
                spawn(move || {
                    born.fetch_add(1, Ordering::Relaxed);
                    ropewalk::park();
                })
            }));
            // Never idle: the births come back to a busy worker as well.
            while born.load(Ordering::Relaxed) < BIRTHS {
                ropewalk::yield_now();
            }
            first.iter().chain(&second).for_each(|coroutine| coroutine.handle().unpark());
        });
    });
}

#[test]
fn no_birth_is_lost_when_the_runtime_ends() {
    watched(|| {
        for round in 0..200 {
            let runtime = runtime(2);
            let handles = Arc::new(Mutex::new(Vec::new()));
            let (sender, receiver) = mpsc::channel();
            let spawner = runtime.spawn({
                let handles = Arc::clone(&handles);
                move || {
                    for count in 0.. {
                        if count == round {
                            sender.send(()).unwrap();
                        }
                        handles.lock().unwrap().push(spawn(ropewalk::park));
                        ropewalk::yield_now();
                    }
                }
            });
            receiver.recv().unwrap();
            drop(runtime);
            assert!(spawner.join().unwrap_err().is_cancelled());
            let handles = std::mem::take(&mut *handles.lock().unwrap());
            assert!(handles.len() >= round);
            assert!(handles.iter().all(JoinHandle::is_finished), "round {round}");
        }
    });
}
