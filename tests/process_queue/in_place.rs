//! Messages that are written and read where they lie.

use std::time::Duration;

use ropewalk::process::queue::{GetError, PutError};
use ropewalk::process::{Process, ProcessError, Queue};

use crate::common::{on_workers, watched};

#[test]
fn messages_are_written_and_read_in_place_across_the_end_of_the_ring() {
    on_workers(|| {
        let queue = Queue::<[u32]>::with_ring(4, 4096).unwrap();
        let putter = queue.clone();
        let lengths = |n: u32| (n * 37 % 900) as usize;
        let putter = ropewalk::spawn(move || {
            for n in 0..500 {
                let mut message = putter.reserve(lengths(n)).unwrap();
                message.fill(n);
                if n % 7 == 0 {
                    drop(message);
                } else {
                    message.commit();
                }
            }
            putter.close();
        });
        for n in (0..500).filter(|n| n % 7 != 0) {
            let message = queue.get_in_place().unwrap();
            assert!(message.len() == lengths(n) && message.iter().all(|word| *word == n));
        }
        assert!(matches!(queue.get_in_place(), Err(GetError::Closed)));
        assert!(matches!(queue.reserve(1), Err(PutError::Closed(()))));
        putter.join().unwrap();
    });
}

#[test]
fn what_does_not_fit_or_is_of_another_kind_is_told_in_place_too() {
    let queue = Queue::<[u8]>::with_ring(1, 4096).unwrap();
    assert!(matches!(queue.reserve(4089), Err(PutError::TooLarge { len: 4089, limit: 4088, .. })));
    assert!(matches!(queue.reserve(usize::MAX), Err(PutError::TooLarge { .. })));
    assert!(matches!(queue.try_get_in_place(), Err(GetError::Empty)));
    queue.put_slice(b"odd").unwrap();
    assert!(matches!(queue.try_reserve(1), Err(PutError::Full(()))));
    let soon = Duration::from_millis(5);
    assert!(matches!(queue.reserve_timeout(1, soon), Err(PutError::Full(()))));
    assert_eq!(&queue.get_in_place().unwrap()[..], b"odd");
    assert!(matches!(queue.get_in_place_timeout(soon), Err(GetError::Empty)));
    queue.reserve(0).unwrap().commit();
    assert!(queue.get_in_place().unwrap().is_empty());
}

/// Kills its process while it writes or reads a message in place.
fn dies_in_place((queue, reads): (Queue<[u8]>, bool)) {
    if reads {
        let message = queue.get_in_place().unwrap();
        assert_eq!(&message[..], b"first");
        die();
    }
    let mut message = queue.reserve(1000).unwrap();
    message[..500].fill(7);
    die();
}

fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::kill(std::process::id().cast_signed(), libc::SIGKILL) };
    unreachable!("killed")
}

#[test]
fn a_process_killed_in_the_middle_of_a_message_in_place_takes_that_one_message_along() {
    watched(|| {
        let queue = Queue::<[u8]>::bounded(8).unwrap();
        for _ in 0..20 {
            [&b"first"[..], b"second"].iter().for_each(|text| queue.put_slice(text).unwrap());
            let reader = Process::spawn(dies_in_place, (queue.clone(), true)).unwrap();
            assert!(matches!(reader.join(), Err(ProcessError::Signalled(libc::SIGKILL))));
            let writer = Process::spawn(dies_in_place, (queue.clone(), false)).unwrap();
            assert!(matches!(writer.join(), Err(ProcessError::Signalled(libc::SIGKILL))));
            // Both locks were held by the dead; half a message was written.
            queue.put_slice(b"third").unwrap();
            assert_eq!(&queue.get_in_place().unwrap()[..], b"second");
            let mut third = Vec::new();
            queue.get_into(&mut third).unwrap();
            assert_eq!((&third[..], queue.len()), (&b"third"[..], 0));
            queue.task_done();
            queue.task_done();
            // What the dead had in their hands counts as done.
            assert!(queue.join_timeout(Duration::from_secs(10)));
        }
    });
}
