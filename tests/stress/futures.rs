//! Join handles as futures: polled, dropped and polled again while the coroutine ends.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use ropewalk::JoinHandle;

use crate::harness::{Dice, Round, ended, rounds};

struct Nobody;

impl Wake for Nobody {
    fn wake(self: Arc<Self>) {}
}

fn child(dice: &mut Dice, n: usize) -> JoinHandle<usize> {
    let mut own = dice.clone();
    (0..n).for_each(|_| _ = own.next());
    ropewalk::spawn(move || {
        own.nap();
        n
    })
}

/// The first of the futures that is ready, and the rest.
async fn first(mut handles: Vec<JoinHandle<usize>>) -> (usize, Vec<JoinHandle<usize>>) {
    let value = poll_fn(|context| {
        for at in 0..handles.len() {
            if let Poll::Ready(result) = Pin::new(&mut handles[at]).poll(context) {
                drop(handles.swap_remove(at));
                return Poll::Ready(result.unwrap());
            }
        }
        Poll::Pending
    })
    .await;
    (value, handles)
}

fn awaited(round: &Round) {
    let on_coroutines: Vec<_> = (0..6)
        .map(|n| {
            let mut dice = round.dice(n);
            round.spawn(move || {
                let mut handles: Vec<_> = (0..8).map(|n| child(&mut dice, n)).collect();
                let mut seen = Vec::new();
                while !handles.is_empty() {
                    let (value, rest) = ropewalk::block_on(first(handles));
                    seen.push(value);
                    handles = rest;
                }
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..8));
            })
        })
        .collect();
    // One that is polled with a waker of nobody, and then joined, dropped or cancelled.
    let mut dice = round.dice(99);
    let mixed = round.spawn(move || {
        for n in 0..40 {
            let mut handle = child(&mut dice, n);
            let waker = Waker::from(Arc::new(Nobody));
            let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(&waker));
            if let Poll::Ready(result) = polled {
                assert_eq!(result.unwrap(), n);
                continue;
            }
            match dice.below(4) {
                0 => drop(handle),
                1 => {
                    handle.cancel();
                    _ = ended(ropewalk::block_on(handle));
                }
                2 => assert_eq!(ropewalk::block_on(handle).unwrap(), n),
                _ => assert_eq!(handle.join().unwrap(), n),
            }
        }
    });
    on_coroutines.into_iter().for_each(|handle| handle.join().unwrap());
    mixed.join().unwrap();
    // On this plain thread.
    let handle = round.spawn(|| ropewalk::sleep(std::time::Duration::from_micros(50)));
    ropewalk::block_on(handle).unwrap();
}

#[test]
fn each_result_is_awaited_once() {
    rounds("futures", awaited);
}
