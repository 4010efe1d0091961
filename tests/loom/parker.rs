//! A model check of std's parker word as coroutines of a worker share it.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use ropewalk::base::parker_word::{EMPTY, NOTIFIED, PARKED, ParkerWord};

/// A worker with one coroutine that parks until the flag is set.
struct Model {
    word: ParkerWord,
    flag: AtomicBool,
    /// The coroutine waits.
    listed: Mutex<bool>,
}

impl Model {
    fn unpark(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // As std does.
        if self.word.word().swap(NOTIFIED, Ordering::Release) == PARKED {
            *self.listed.lock().unwrap() = false;
        }
    }

    fn park(&self) {
        if self.word.word().fetch_sub(1, Ordering::Acquire) == NOTIFIED {
            return;
        }
        let waits = {
            let mut listed = self.listed.lock().unwrap();
            *listed = self.word.settle();
            *listed
        };
        if waits {
            self.work();
        }
        self.word.give();
        let taken = self.word.word().compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed);
        assert!(taken.is_ok(), "std's park would wait again");
    }

    /// What the worker does until the coroutine is ready.
    fn work(&self) {
        let take = || {
            if self.word.take() {
                *self.listed.lock().unwrap() = false;
            }
        };
        take();
        if !self.word.arm() {
            take();
        }
        // Asleep: a call alone ends this.
        while *self.listed.lock().unwrap() {
            thread::yield_now();
        }
        if !self.word.disarm() {
            take();
        }
    }
}

#[test]
fn an_unpark_calls_or_is_found_before_the_worker_sleeps() {
    loom::model(|| {
        let flag = AtomicBool::new(false);
        let model =
            Arc::new(Model { word: ParkerWord::new(AtomicU32::new(EMPTY)), flag, listed: Mutex::new(false) });
        let unparks = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.unpark())
        };
        // The token alone orders the flag.
        while !model.flag.load(Ordering::Relaxed) {
            model.park();
        }
        unparks.join().unwrap();
    });
}

/// A worker with a coroutine that parks until the flag is set, and another one that may take its token.
///
/// The turns, the list and the pause are those of the real thing; a pause ends as soon as nothing else happens.
struct Two {
    word: ParkerWord,
    flag: AtomicBool,
    unparked: AtomicBool,
    /// The turn of the last park's end, of each that waits; a wake empties all.
    listed: Mutex<[Option<u64>; 2]>,
}

/// What the worker's thread alone knows.
#[derive(Default)]
struct Owner {
    turn: u64,
    last: [u64; 2],
    tokens: u64,
    seen: [u64; 2],
    /// One waits for the pause to end.
    pauses: bool,
    has_ended: [bool; 2],
}

/// How a turn of a coroutine that parks begins.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Check,
    Park,
    Wake,
}

impl Two {
    fn unpark(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // As std does.
        if self.word.word().swap(NOTIFIED, Ordering::Release) == PARKED {
            *self.listed.lock().unwrap() = [None; 2];
        }
        self.unparked.store(true, Ordering::Release);
    }

    fn note_token(&self, owner: &mut Owner) {
        owner.tokens += 1;
        *self.listed.lock().unwrap() = [None; 2];
    }

    /// True if the coroutine waits now, false if its park has returned.
    fn begin(&self, owner: &mut Owner, who: usize) -> bool {
        if self.word.word().fetch_sub(1, Ordering::Acquire) == NOTIFIED {
            return false;
        }
        if self.word.settle() && owner.seen[who] == owner.tokens {
            let mut listed = self.listed.lock().unwrap();
            if self.word.settle() {
                listed[who] = Some(owner.last[who]);
                return true;
            }
        }
        self.end(owner, who);
        false
    }

    /// The end of a wait, up to the return of std's park.
    fn end(&self, owner: &mut Owner, who: usize) {
        if self.word.give() {
            self.note_token(owner);
        }
        let taken = self.word.word().compare_exchange(NOTIFIED, EMPTY, Ordering::Acquire, Ordering::Relaxed);
        assert!(taken.is_ok(), "std's park would wait again");
        (owner.last[who], owner.seen[who]) = (owner.turn, owner.tokens);
    }

    fn look(&self, owner: &mut Owner) {
        if self.word.take() {
            self.note_token(owner);
        } else if self.listed.lock().unwrap().iter().flatten().any(|last| *last < owner.turn) {
            owner.pauses = true;
        }
    }

    /// What the worker does with nothing ready. True if somebody is ready then.
    fn idle(&self, owner: &mut Owner, parked: [bool; 2]) {
        let is_woken = || {
            let listed = self.listed.lock().unwrap();
            (0..2).any(|who| parked[who] && listed[who].is_none())
        };
        self.look(owner);
        if !self.word.arm() {
            self.look(owner);
        }
        while !is_woken() {
            // Acquire: what the other thread has done is done.
            if self.unparked.load(Ordering::Acquire) && !is_woken() {
                assert!(owner.pauses, "the wake is lost: nobody runs any more");
            } else {
                thread::yield_now();
            }
            if owner.pauses {
                *self.listed.lock().unwrap() = [None; 2];
            }
        }
        owner.pauses = false;
        if !self.word.disarm() {
            self.look(owner);
        }
    }

    /// Runs both to their ends. The first looks at the flag before it parks, in the same turn or in one before; the other
    /// parks once.
    fn run(&self, waits_in_between: bool) {
        // The first one's last park has ended in the very turn in which it looks.
        let mut owner = Owner { last: [1, 0], ..Owner::default() };
        let (mut at, mut parked) = ([At::Check, At::Park], [false; 2]);
        while owner.has_ended != [true; 2] {
            let mut any = false;
            for who in 0..2 {
                if owner.has_ended[who] || parked[who] && self.listed.lock().unwrap()[who].is_some() {
                    continue;
                }
                any = true;
                owner.turn += 1;
                self.turn(&mut owner, who, &mut at[who], &mut parked[who], waits_in_between);
            }
            if !any {
                self.idle(&mut owner, parked);
            }
        }
    }

    fn turn(&self, owner: &mut Owner, who: usize, at: &mut At, parked: &mut bool, waits: bool) {
        loop {
            match *at {
                At::Check if self.flag.load(Ordering::Relaxed) => {
                    owner.has_ended[who] = true;
                    return;
                }
                At::Check => {
                    *at = At::Park;
                    if waits {
                        return;
                    }
                }
                At::Park => {
                    *parked = self.begin(owner, who);
                    if *parked {
                        *at = At::Wake;
                        return;
                    }
                    (*at, owner.has_ended[who]) = (At::Check, who == 1);
                }
                At::Wake => {
                    *parked = false;
                    self.end(owner, who);
                    (*at, owner.has_ended[who]) = (At::Check, who == 1);
                }
            }
            if owner.has_ended[who] {
                return;
            }
        }
    }
}

fn two(waits_in_between: bool) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let two = Arc::new(Two {
            word: ParkerWord::new(AtomicU32::new(EMPTY)),
            flag: AtomicBool::new(false),
            unparked: AtomicBool::new(false),
            listed: Mutex::new([None; 2]),
        });
        let unparks = {
            let two = Arc::clone(&two);
            thread::spawn(move || two.unpark())
        };
        two.run(waits_in_between);
        unparks.join().unwrap();
    });
}

#[test]
fn one_whose_token_another_took_ends() {
    two(false);
}

#[test]
fn one_whose_token_another_took_before_it_parked_ends() {
    two(true);
}
