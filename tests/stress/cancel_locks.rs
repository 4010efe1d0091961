//! Cancellation at random moments of every kind of wait on the lock family: what was locked is free
//! afterwards, and nobody was let in twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::Duration;

use ropewalk::sync::{
    Barrier, Condvar, Event, Mutex, OnceCell, RawMutex, ReentrantMutex, RwLock, Semaphore, WaitGroup,
};

use crate::harness::{Alone, Round, rounds};

const VICTIMS: usize = 24;

fn mutex(round: &Round) {
    let both = Arc::new((Mutex::new(()), AtomicUsize::new(0)));
    let own = Arc::clone(&both);
    round.storm(VICTIMS, move |_, mut dice| {
        let (mutex, inside) = &*own;
        loop {
            let guard = match dice.below(4) {
                0 => mutex.lock_timeout(dice.micros(300)),
                1 => mutex.try_lock(),
                _ => Some(mutex.lock()),
            };
            if let Some(_guard) = guard {
                let _alone = Alone::enter(inside);
                dice.nap();
            }
            dice.nap();
        }
    });
    assert!(both.0.try_lock().is_some(), "the mutex is free");
}

#[test]
fn a_cancelled_party_never_keeps_a_mutex() {
    rounds("cancel mutex", mutex);
}

fn reentrant(round: &Round) {
    let both = Arc::new((ReentrantMutex::new(()), AtomicUsize::new(0)));
    let own = Arc::clone(&both);
    round.storm(VICTIMS, move |_, mut dice| {
        let (mutex, inside) = &*own;
        loop {
            let _outer = mutex.lock();
            let _alone = Alone::enter(inside);
            dice.nap();
            {
                let _inner = mutex.lock();
                dice.nap();
            }
            drop((_alone, _outer));
            dice.nap();
        }
    });
    assert!(both.0.try_lock().is_some(), "the reentrant mutex is free");
}

#[test]
fn a_cancelled_party_never_keeps_a_reentrant_mutex() {
    rounds("cancel reentrant", reentrant);
}

struct Held<'a>(&'a RawMutex);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release().expect("whoever has acquired it may release it");
    }
}

fn raw(round: &Round) {
    let both = Arc::new((RawMutex::new(), AtomicUsize::new(0)));
    let own = Arc::clone(&both);
    round.storm(VICTIMS, move |_, mut dice| {
        let (mutex, inside) = &*own;
        loop {
            if dice.chance(3) {
                if mutex.acquire_timeout(dice.micros(200)) {
                    drop(Held(mutex));
                }
            } else {
                mutex.acquire();
                let _held = Held(mutex);
                let _alone = Alone::enter(inside);
                dice.nap();
            }
            dice.nap();
        }
    });
    assert!(both.0.try_acquire(), "the raw mutex is free");
}

#[test]
fn a_cancelled_party_never_keeps_a_raw_mutex() {
    rounds("cancel raw mutex", raw);
}

/// Readers count up by one, a writer down by a thousand.
struct Crowd<'a>(&'a AtomicIsize, isize);

impl<'a> Crowd<'a> {
    fn enter(count: &'a AtomicIsize, weight: isize) -> Self {
        let before = count.fetch_add(weight, Ordering::AcqRel);
        assert!(if weight > 0 { before >= 0 } else { before == 0 }, "a writer is not alone: {before}");
        Self(count, weight)
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

fn rw_lock(round: &Round) {
    let both = Arc::new((RwLock::new(()), AtomicIsize::new(0)));
    let own = Arc::clone(&both);
    round.storm(VICTIMS, move |n, mut dice| {
        let (lock, inside) = &*own;
        loop {
            if n % 4 == 0 {
                let guard =
                    if dice.chance(3) { lock.write_timeout(dice.micros(300)) } else { Some(lock.write()) };
                if let Some(_guard) = guard {
                    let _crowd = Crowd::enter(inside, -1000);
                    dice.nap();
                }
            } else {
                let guard =
                    if dice.chance(3) { lock.read_timeout(dice.micros(300)) } else { Some(lock.read()) };
                if let Some(_guard) = guard {
                    let _crowd = Crowd::enter(inside, 1);
                    dice.nap();
                }
            }
            dice.nap();
        }
    });
    assert!(both.0.try_write().is_some(), "the lock is free");
}

#[test]
fn a_cancelled_party_never_keeps_a_read_write_lock() {
    rounds("cancel rwlock", rw_lock);
}

fn condvar(round: &Round) {
    // Tokens: each is made once and taken once, whoever is cancelled in between.
    let shared = Arc::new((Mutex::new(0usize), Condvar::new(), AtomicUsize::new(0), AtomicUsize::new(0)));
    let own = Arc::clone(&shared);
    round.storm(VICTIMS, move |n, mut dice| {
        let (tokens, changed, made, taken) = &*own;
        loop {
            if n % 2 == 0 {
                *tokens.lock() += 1;
                made.fetch_add(1, Ordering::Relaxed);
                if dice.chance(4) { changed.notify_all() } else { changed.notify_one() }
            } else {
                let mut guard = tokens.lock();
                while *guard == 0 {
                    guard = if dice.chance(3) {
                        changed.wait_timeout(guard, dice.micros(300)).0
                    } else {
                        changed.wait(guard)
                    };
                }
                *guard -= 1;
                taken.fetch_add(1, Ordering::Relaxed);
            }
            dice.nap();
        }
    });
    let left = *shared.0.try_lock().expect("the mutex is free");
    assert_eq!(shared.2.load(Ordering::Relaxed), shared.3.load(Ordering::Relaxed) + left);
    // Nobody is left in the list: a notification finds a new waiter.
    let own = Arc::clone(&shared);
    let waiter = round.spawn(move || {
        let mut guard = own.0.lock();
        *guard = usize::MAX;
        drop(own.1.wait_while(guard, |tokens| *tokens == usize::MAX));
    });
    while !waiter.is_finished() {
        let mut guard = shared.0.lock();
        if *guard == usize::MAX {
            *guard = 0;
            shared.1.notify_one();
            break;
        }
        drop(guard);
        std::thread::yield_now();
    }
    waiter.join().unwrap();
}

#[test]
fn a_condvar_wait_that_is_cancelled_gives_the_mutex_back_and_keeps_no_notification() {
    rounds("cancel condvar", condvar);
}

fn semaphore(round: &Round) {
    let shared = Arc::new((Semaphore::bounded(3), AtomicUsize::new(0)));
    let own = Arc::clone(&shared);
    round.storm(VICTIMS, move |_, mut dice| {
        let (semaphore, inside) = &*own;
        loop {
            if dice.chance(3) {
                if semaphore.acquire_timeout(dice.micros(200)) {
                    semaphore.release().expect("there was one less than at most");
                }
            } else {
                struct Inside<'a>(&'a AtomicUsize);
                impl Drop for Inside<'_> {
                    fn drop(&mut self) {
                        self.0.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                let _permit = semaphore.permit();
                assert!(inside.fetch_add(1, Ordering::AcqRel) < 3);
                let _inside = Inside(inside);
                dice.nap();
            }
            dice.nap();
        }
    });
    assert_eq!(shared.0.available(), 3, "each permit is back");
}

#[test]
fn a_cancelled_party_never_keeps_a_permit() {
    rounds("cancel semaphore", semaphore);
}

fn event(round: &Round) {
    let event = Arc::new(Event::new());
    let (own, waits) = (Arc::clone(&event), Arc::new(AtomicUsize::new(0)));
    let cancelled = round.storm(VICTIMS, move |n, mut dice| {
        loop {
            match n % 4 {
                0 => own.set(),
                1 => own.clear(),
                2 => drop(own.wait_timeout(dice.micros(400))),
                _ => own.wait(),
            }
            waits.fetch_add(1, Ordering::Relaxed);
            dice.nap();
        }
    });
    assert_eq!(cancelled, VICTIMS, "who loops for ever ends by being cancelled");
    event.set();
    event.wait();
}

#[test]
fn an_event_outlives_cancelled_waits() {
    rounds("cancel event", event);
}

fn barrier(round: &Round) {
    let shared = Arc::new((Barrier::new(4), AtomicUsize::new(0), AtomicUsize::new(0)));
    let own = Arc::clone(&shared);
    round.storm(VICTIMS, move |_, mut dice| {
        let (barrier, leaders, through) = &*own;
        loop {
            let result = if dice.chance(4) { barrier.wait_timeout(dice.micros(500)) } else { barrier.wait() };
            match result {
                Ok(result) => {
                    through.fetch_add(1, Ordering::Relaxed);
                    leaders.fetch_add(usize::from(result.is_leader()), Ordering::Relaxed);
                }
                Err(_) => barrier.reset(),
            }
            dice.nap();
        }
    });
    let (barrier, leaders, through) = &*shared;
    assert_eq!(barrier.waiting(), 0);
    let (leaders, through) = (leaders.load(Ordering::Relaxed), through.load(Ordering::Relaxed));
    // A party that is cancelled after it was let through counts in neither.
    assert!(through <= leaders * 4, "{through} went through, {leaders} led them");
    barrier.reset();
    let own = Arc::clone(&shared);
    let others: Vec<_> = (0..3)
        .map(|_| {
            let own = Arc::clone(&own);
            round.spawn(move || own.0.wait().is_ok())
        })
        .collect();
    assert!(barrier.wait().is_ok());
    assert!(others.into_iter().all(|other| other.join().unwrap()));
}

#[test]
fn a_barrier_lets_whole_groups_through_whoever_gives_up() {
    rounds("cancel barrier", barrier);
}

fn once(round: &Round) {
    let cells: Arc<Vec<(OnceCell<usize>, AtomicUsize)>> =
        Arc::new((0..8).map(|_| (OnceCell::new(), AtomicUsize::new(0))).collect());
    let own = Arc::clone(&cells);
    round.storm(VICTIMS, move |n, mut dice| {
        for at in (0..).map(|at| at % 8) {
            let (cell, inside) = &own[at];
            let value = *cell.get_or_init(|| {
                let _alone = Alone::enter(inside);
                dice.nap();
                n + 1
            });
            assert_eq!(cell.get(), Some(&value));
            dice.nap();
        }
    });
    for (cell, inside) in cells.iter() {
        assert_eq!(inside.load(Ordering::Relaxed), 0);
        assert!(*cell.get_or_init(|| 99) > 0, "a cancelled initialiser leaves the cell empty, not stuck");
    }
}

#[test]
fn a_cancelled_initialiser_lets_the_next_one_try() {
    rounds("cancel once", once);
}

fn wait_group(round: &Round) {
    let group = Arc::new(WaitGroup::new());
    let own = Arc::clone(&group);
    round.storm(VICTIMS, move |n, mut dice| {
        struct Done<'a>(&'a WaitGroup);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.done();
            }
        }
        loop {
            if n % 2 == 0 {
                own.add(1);
                let _done = Done(&own);
                dice.nap();
            } else if dice.chance(2) {
                own.wait_timeout(dice.micros(200));
            } else {
                own.wait();
            }
            dice.nap();
        }
    });
    assert_eq!(group.count(), 0);
    assert!(group.wait_timeout(Duration::ZERO));
}

#[test]
fn a_wait_group_comes_to_zero() {
    rounds("cancel wait group", wait_group);
}
