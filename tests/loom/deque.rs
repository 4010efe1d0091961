//! The deque of an owner and its thieves.

use loom::sync::Arc;
use loom::thread;

#[test]
fn a_deque_gives_each_item_to_its_owner_or_to_one_thief() {
    use ropewalk::base::deque::Deque;
    use std::ptr::NonNull;
    loom::model(|| {
        let deque = Arc::new(Deque::<u8>::new());
        let item = |n: usize| NonNull::new(std::ptr::without_provenance_mut::<u8>(n)).unwrap();
        // SAFETY: this thread owns it.
        unsafe { deque.push(item(1)) }.unwrap();
        // SAFETY: as above.
        unsafe { deque.push(item(2)) }.unwrap();
        let thief = {
            let deque = deque.clone();
            thread::spawn(move || {
                let own = Deque::new();
                // SAFETY: this thread owns `own`.
                let first = unsafe { deque.steal_into(&own) };
                // SAFETY: as above.
                let second = unsafe { own.pop() };
                [first, second].into_iter().flatten().map(|p| p.addr().get()).collect::<Vec<_>>()
            })
        };
        let mut all = Vec::new();
        // SAFETY: this thread owns it.
        while let Some(taken) = unsafe { deque.pop() } {
            all.push(taken.addr().get());
        }
        all.extend(thief.join().unwrap());
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}
