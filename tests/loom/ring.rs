//! The bounded ring, its end, and room that is promised.

use loom::sync::Arc;
use loom::thread;

#[test]
fn a_ring_gives_each_value_once_and_in_order() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(1));
        let pusher = {
            let ring = ring.clone();
            thread::spawn(move || {
                let mut pushed = 0;
                while pushed < 2 {
                    match ring.push(pushed) {
                        Ok(()) => pushed += 1,
                        Err(_) => thread::yield_now(),
                    }
                }
            })
        };
        for expected in 0..2 {
            let value = loop {
                match ring.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(value, expected);
        }
        pusher.join().unwrap();
        assert_eq!(ring.pop(), None);
    });
}

#[test]
fn a_closed_ring_keeps_what_was_pushed_before_and_takes_nothing_after() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(2));
        let pusher = {
            let ring = ring.clone();
            thread::spawn(move || ring.push(1).is_ok())
        };
        ring.close();
        let early = ring.pop();
        let pushed = pusher.join().unwrap();
        // Whatever went in is found, by the first look after the close or by a later one.
        assert_eq!(early.or_else(|| ring.pop()).is_some(), pushed);
        assert!(ring.push(2).is_err());
    });
}

#[test]
fn promised_room_is_never_taken_by_another() {
    loom::model(|| {
        let ring = Arc::new(ropewalk::base::ring::Ring::new(1));
        let other = {
            let ring = ring.clone();
            thread::spawn(move || ring.push(1).is_ok())
        };
        let promised = ring.promise();
        if promised {
            assert_eq!(ring.push_promised(2), Ok(()));
        }
        let pushed = other.join().unwrap();
        assert!(promised != pushed, "room for one was used {}", if pushed { "twice" } else { "by nobody" });
        assert_eq!((ring.pop(), ring.pop()), (Some(if pushed { 1 } else { 2 }), None));
    });
}
