//! The list of blocks.

use loom::sync::Arc;
use loom::thread;

#[test]
fn a_list_gives_each_value_once_and_in_order_over_its_blocks() {
    // Blocks of two slots: each side crosses a border.
    loom::model(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        let pusher = {
            let list = list.clone();
            thread::spawn(move || (0..3).for_each(|value| list.push(Box::new(value)).unwrap()))
        };
        for expected in 0..3 {
            let value = loop {
                match list.pop() {
                    Some(value) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(*value, expected);
        }
        pusher.join().unwrap();
        assert!(list.pop().is_none());
    });
}

#[test]
fn two_poppers_of_a_list_share_its_values_and_its_blocks_are_freed() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        (0..3).for_each(|value| list.push(value).unwrap());
        let popper = {
            let list = list.clone();
            thread::spawn(move || [list.pop(), list.pop()])
        };
        let own = [list.pop(), list.pop()];
        let mut all: Vec<_> = popper.join().unwrap().into_iter().chain(own).flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
        // A block that was used is used again.
        (3..6).for_each(|value| list.push(value).unwrap());
        assert_eq!([list.pop(), list.pop(), list.pop(), list.pop()], [Some(3), Some(4), Some(5), None]);
    });
}

#[test]
fn two_pushers_of_a_list_and_a_close_agree() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let list = Arc::new(ropewalk::base::list::List::new());
        list.push(0).unwrap();
        let pushers: Vec<_> = (1..3)
            .map(|value| {
                let list = list.clone();
                thread::spawn(move || usize::from(list.push(value).is_ok()))
            })
            .collect();
        list.close();
        let pushed: usize = pushers.into_iter().map(|pusher| pusher.join().unwrap()).sum();
        assert_eq!(std::iter::from_fn(|| list.pop()).count(), 1 + pushed);
        assert!(list.push(3).is_err());
    });
}
