//! The word of a wait: whoever would end it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use ropewalk::base::ticket::{Outcome, TicketWord};

#[test]
fn one_of_waker_and_timer_wins_a_ticket() {
    loom::model(|| {
        let word = Arc::new(TicketWord::new());
        let wins = Arc::new(AtomicU32::new(0));
        let ticket = word.open();
        let racers: Vec<_> = [Outcome::Notified, Outcome::TimedOut]
            .into_iter()
            .map(|outcome| {
                let (word, wins) = (word.clone(), wins.clone());
                thread::spawn(move || {
                    if word.claim(ticket, outcome) {
                        wins.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for racer in racers {
            racer.join().unwrap();
        }
        assert_eq!(wins.load(Ordering::Relaxed), 1);
        assert!(word.outcome().is_some());
    });
}

#[test]
fn a_ticket_of_an_older_wait_never_wins() {
    loom::model(|| {
        let word = Arc::new(TicketWord::new());
        let old = word.open();
        assert!(word.claim(old, Outcome::Notified));
        let new = word.open();
        let late = {
            let word = word.clone();
            thread::spawn(move || word.claim(old, Outcome::TimedOut))
        };
        assert!(!late.join().unwrap());
        assert_eq!(word.outcome(), None);
        assert!(word.claim(new, Outcome::Notified));
    });
}
