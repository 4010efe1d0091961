//! Scenes with queues.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use ropewalk::process::queue::GetError;
use ropewalk::process::{Fd, Queue};
use ropewalk::shm::Array;

use super::{LONG, Rest, Scene, Shared};

/// A queue with that many messages, 1 and up, and a receipt for each.
fn with_queue(capacity: usize, messages: u32) -> Shared {
    let queue = Queue::with_ring(capacity, 4096).unwrap();
    (1..=messages).for_each(|n| queue.put(n).unwrap());
    Shared { queue: Some(queue), receipts: Some(Array::new(8).unwrap()), ..Shared::default() }
}

/// As `with_queue`, of slices: message `n` is `n`, five times.
fn with_slices(capacity: usize, messages: u8) -> Shared {
    let slices = Queue::with_ring(capacity, 4096).unwrap();
    (1..=messages).for_each(|n| slices.put_slice(&[n; 5]).unwrap());
    Shared { slices: Some(slices), receipts: Some(Array::new(8).unwrap()), ..Shared::default() }
}

/// As `with_queue`, of pipes to read from: in that of message `n` is the byte `n`.
fn with_fds(messages: u8) -> Shared {
    let fds = Queue::with_ring(8, 4096).unwrap();
    (1..=messages).for_each(|n| assert!(fds.put((n.into(), pipe_with(n))).is_ok()));
    Shared { fds: Some(fds), receipts: Some(Array::new(8).unwrap()), ..Shared::default() }
}

fn pipe_with(byte: u8) -> Fd {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[byte]).unwrap();
    Fd::from(OwnedFd::from(reader))
}

fn queue(shared: &Shared) -> &Queue<u32> {
    shared.queue.as_ref().unwrap()
}

fn slices(shared: &Shared) -> &Queue<[u8]> {
    shared.slices.as_ref().unwrap()
}

fn fds(shared: &Shared) -> &Queue<(u32, Fd)> {
    shared.fds.as_ref().unwrap()
}

/// Notes that a message was got.
fn sign(shared: &Shared, message: u32) {
    shared.receipts.as_ref().unwrap().update(message as usize, |n| n + 1);
}

/// What was got after the kill: all from the first or the second on, and not the first if that was signed for.
fn is_complete(shared: &Shared, left: &[u32], last: u32) -> Result<(), String> {
    let signed = shared.receipts.as_ref().unwrap().load(1) == 1;
    let all: Vec<u32> = (1..=last).collect();
    if left == &all[1..] || (left == all && !signed) {
        Ok(())
    } else {
        Err(format!("{left:?} was left of {all:?}; the first was signed for: {signed}"))
    }
}

fn get_sleeping(shared: &Shared) -> String {
    format!("{:?}", queue(shared).get())
}

/// Puts one more, which is the last.
fn put_sleeping(shared: &Shared, last: u32) -> String {
    format!("{:?}", queue(shared).put(last).is_ok())
}

fn put_slice_sleeping(shared: &Shared, last: u8) -> String {
    format!("{:?}", slices(shared).put_slice(&[last; 5]).is_ok())
}

/// Gets all up to the last message, which a sleeper puts.
fn rest_of_queue(rest: &Rest<'_>, last: u32) -> Result<(), String> {
    let mut left = Vec::new();
    while left.last() != Some(&last) {
        match queue(rest.shared).get_timeout(LONG) {
            Ok(message) => left.push(message),
            Err(error) => return Err(format!("{error} after {left:?}")),
        }
    }
    rest.sleeper("there is room")?;
    is_complete(rest.shared, &left, last)?;
    left.iter().for_each(|_| queue(rest.shared).task_done());
    if queue(rest.shared).join_timeout(LONG) { Ok(()) } else { Err("tasks of the dead are open".to_owned()) }
}

fn rest_of_slices(rest: &Rest<'_>, last: u32) -> Result<(), String> {
    let (mut left, mut message) = (Vec::new(), Vec::new());
    while left.last() != Some(&last) {
        message.clear();
        match slices(rest.shared).get_into_timeout(&mut message, LONG) {
            Ok(_) if message == [message[0]; 5] => left.push(message[0].into()),
            Ok(_) => return Err(format!("{message:?}")),
            Err(error) => return Err(format!("{error} after {left:?}")),
        }
    }
    rest.sleeper("there is room")?;
    is_complete(rest.shared, &left, last)?;
    left.iter().for_each(|_| slices(rest.shared).task_done());
    if slices(rest.shared).join_timeout(LONG) { Ok(()) } else { Err("tasks of the dead are open".to_owned()) }
}

/// Gets messages with pipes until `last`, and looks whether each came with its own.
fn rest_of_fds(shared: &Shared, last: u32) -> Result<Vec<u32>, String> {
    let mut left = Vec::new();
    while left.last() != Some(&last) {
        let (message, fd) = match fds(shared).get_timeout(LONG) {
            Ok(got) => got,
            Err(error) => return Err(format!("{error} after {left:?}")),
        };
        let mut byte = [0];
        std::io::PipeReader::from(OwnedFd::from(fd)).read_exact(&mut byte).unwrap();
        if u32::from(byte[0]) != message {
            return Err(format!("message {message} came with descriptor {}", byte[0]));
        }
        left.push(message);
    }
    Ok(left)
}

/// The getter that slept has got what the dead one has put, or what is put now.
fn got_after_put(rest: &Rest<'_>) -> Result<(), String> {
    queue(rest.shared).put(6).map_err(|error| error.to_string())?;
    let got = rest.sleeper("a message is there")?;
    let next = queue(rest.shared).try_get();
    match (got.as_str(), next) {
        ("Ok(5)", Ok(6)) | ("Ok(6)", Err(GetError::Empty)) => Ok(()),
        (got, next) => Err(format!("the sleeper got {got}, and {next:?} is left")),
    }
}

pub(crate) const SCENES: [Scene; 12] = [
    Scene {
        name: "put beside a sleeping getter",
        begin: || with_queue(8, 0),
        act: |shared, mark| {
            mark();
            queue(shared).put(5).unwrap();
            mark();
        },
        sleep: Some(get_sleeping),
        check: |rest| {
            if queue(rest.shared).is_empty() {
                return got_after_put(rest);
            }
            // The message that is there must do.
            let got = rest.sleeper("a message was put")?;
            if got == "Ok(5)" { Ok(()) } else { Err(format!("the sleeper got {got}")) }
        },
    },
    Scene {
        name: "get beside a sleeping putter",
        begin: || with_queue(3, 3),
        act: |shared, mark| {
            mark();
            let message = queue(shared).try_get().unwrap();
            sign(shared, message);
            mark();
        },
        sleep: Some(|shared| put_sleeping(shared, 4)),
        check: |rest| rest_of_queue(rest, 4),
    },
    Scene {
        name: "get and task_done beside a sleeping join",
        begin: || with_queue(3, 1),
        act: |shared, mark| {
            mark();
            let message = queue(shared).try_get().unwrap();
            sign(shared, message);
            queue(shared).task_done();
            mark();
        },
        sleep: Some(|shared| {
            queue(shared).join();
            String::new()
        }),
        check: |rest| {
            if queue(rest.shared).try_get().is_ok() {
                if rest.shared.receipts.as_ref().unwrap().load(1) == 1 {
                    return Err("got twice".to_owned());
                }
                queue(rest.shared).task_done();
            }
            rest.sleeper("all is done").map(drop)
        },
    },
    Scene {
        name: "close beside a sleeping getter",
        begin: || with_queue(8, 0),
        act: |shared, mark| {
            mark();
            queue(shared).close();
            mark();
        },
        sleep: Some(get_sleeping),
        check: |rest| {
            if !queue(rest.shared).is_closed() {
                queue(rest.shared).close();
            }
            let got = rest.sleeper("the queue is closed")?;
            if got == "Err(Closed)" { Ok(()) } else { Err(format!("the sleeper got {got}")) }
        },
    },
    Scene {
        name: "close beside a sleeping putter",
        begin: || with_queue(2, 2),
        act: |shared, mark| {
            mark();
            queue(shared).close();
            mark();
        },
        sleep: Some(|shared| put_sleeping(shared, 3)),
        check: |rest| {
            if !queue(rest.shared).is_closed() {
                queue(rest.shared).close();
            }
            let put = rest.sleeper("the queue is closed")?;
            if put == "false" { Ok(()) } else { Err("a full queue took a message".to_owned()) }
        },
    },
    Scene {
        name: "put in place beside a sleeping getter",
        begin: || with_slices(8, 0),
        act: |shared, mark| {
            mark();
            {
                let mut room = slices(shared).reserve(5).unwrap();
                room.copy_from_slice(&[1; 5]);
                room.commit();
            }
            mark();
        },
        sleep: Some(|shared| {
            let mut into = Vec::new();
            let got = slices(shared).get_into(&mut into);
            format!("{} {into:?}", got.is_ok())
        }),
        check: |rest| {
            if slices(rest.shared).is_empty() {
                slices(rest.shared).put_slice(&[1; 5]).map_err(|error| error.to_string())?;
            }
            let got = rest.sleeper("a message was put")?;
            if got == "true [1, 1, 1, 1, 1]" { Ok(()) } else { Err(format!("the sleeper got {got}")) }
        },
    },
    Scene {
        name: "get in place beside a sleeping putter",
        begin: || with_slices(3, 3),
        act: |shared, mark| {
            mark();
            {
                let message = slices(shared).try_get_in_place().unwrap();
                sign(shared, message[0].into());
            }
            mark();
        },
        sleep: Some(|shared| put_slice_sleeping(shared, 4)),
        check: |rest| rest_of_slices(rest, 4),
    },
    Scene {
        name: "get in place, nobody else gets",
        begin: || with_slices(1, 1),
        act: |shared, mark| {
            let message = slices(shared).try_get_in_place().unwrap();
            mark();
            sign(shared, message[0].into());
            drop(message);
            mark();
        },
        sleep: Some(|shared| put_slice_sleeping(shared, 2)),
        check: |rest| rest.sleeper("the only message is gone with its getter").map(drop),
    },
    Scene {
        name: "put with handles",
        begin: || with_fds(2),
        act: |shared, mark| {
            let pipe = pipe_with(3);
            mark();
            assert!(fds(shared).put((3, pipe)).is_ok());
            mark();
        },
        sleep: None,
        check: |rest| {
            fds(rest.shared).put_timeout((4, pipe_with(4)), LONG).map_err(|error| error.to_string())?;
            let left = rest_of_fds(rest.shared, 4)?;
            if left == [1, 2, 3, 4] || left == [1, 2, 4] { Ok(()) } else { Err(format!("{left:?} was left")) }
        },
    },
    Scene {
        name: "get with handles",
        begin: || with_fds(2),
        act: |shared, mark| {
            mark();
            let (message, _) = fds(shared).try_get().unwrap();
            sign(shared, message);
            mark();
        },
        sleep: None,
        check: |rest| {
            fds(rest.shared).put_timeout((3, pipe_with(3)), LONG).map_err(|error| error.to_string())?;
            is_complete(rest.shared, &rest_of_fds(rest.shared, 3)?, 3)
        },
    },
    Scene {
        name: "leaving with a message in hand beside a sleeping join",
        begin: || with_queue(3, 1),
        act: |shared, mark| {
            queue(shared).get().unwrap();
            mark();
            shared.queue = None;
            mark();
        },
        sleep: Some(|shared| {
            queue(shared).join();
            String::new()
        }),
        check: |rest| rest.sleeper("the message's process is gone").map(drop),
    },
    Scene {
        name: "leaving beside a sleeping getter",
        begin: || with_queue(3, 0),
        act: |shared, mark| {
            mark();
            shared.queue = None;
            mark();
        },
        sleep: Some(get_sleeping),
        check: got_after_put,
    },
];
