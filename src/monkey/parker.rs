//! `std::thread::park` on coroutines: many of them on the one word of their thread.
//!
//! std's word is EMPTY, NOTIFIED or PARKED. `park` takes one from it, and if that makes it PARKED, calls the kernel until
//! it can change NOTIFIED to EMPTY. `unpark` puts NOTIFIED there, and calls the kernel if it finds PARKED. None of this but
//! the calls is seen here, and a `park` that finds PARKED would never call. So, while coroutines of a worker are parked:
//!
//! | | the word | an `unpark` |
//! |---|---|---|
//! | the worker runs | EMPTY: each `park` puts that back as it waits | is found later: every so many turns, and before the worker sleeps |
//! | it sleeps | PARKED | calls |
//!
//! It does not say for whom it is, so it ends all the waits. Those it was not meant for return for no reason, as a
//! `park` may. A wait that has ended puts NOTIFIED into the word, and std takes that at once.
//!
//! What is left: while the worker runs, a coroutine may `park` and find a token that was meant for another one, which is
//! parked, or has looked already whether it must and is about to. It returns, and nothing is called. So nobody waits for
//! long if there was another turn since its last park: each that parks ends the waits of those who are parked already, up
//! to a limit; beyond that one of them, the *deputy*, ends all of them after a pause. So no wake is lost; one that was
//! taken by another is late by the pause at worst. A coroutine that goes from park to park while nobody else of its
//! worker runs costs nothing; two for which nothing comes wake it a thousand times a second at first, and fifty times a
//! second in the end.
//!
//! The value that a park waits for, -1, is also that of an RwLock which is write-locked with readers and writers waiting.
//! So the thread's own word is found out: an `unpark` of the thread wakes that word if it is parked, and the wake comes
//! through here. The token this leaves makes one `park` return for no reason.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicUsize, Ordering, fence};
use core::time::Duration;
use std::thread;
use std::time::Instant;

use super::errno::raw;
use super::futex::{self, Stay};
use super::symbols::Symbol;
use crate::base::parker_word::ParkerWord;
use crate::runtime::guest::{self, Guest};
use crate::runtime::park::Outcome;
use crate::runtime::{Parked, note_parked, parked, party, told, turns};

/// How many that park may end the waits of others, since the last token or pause.
const AT_ONCE: u32 = 16;
/// The pause grows with the time for which nothing has come: by a thousandth of that, between these.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// And it is not less than this for each that is parked: some fifty times what ending its wait takes.
const PAUSE_EACH: Duration = Duration::from_micros(20);

/// What a worker's thread knows of its own word, and of the coroutines parked on it.
struct Own {
    /// Address of the word, once that is known.
    word: Cell<usize>,
    /// The address that may be the word's, while that is found out.
    candidate: Cell<usize>,
    /// Coroutines in `park`, whether their wait has ended or not.
    inside: Cell<u32>,
    /// The party that has been woken to be deputy; 0 for none.
    chosen: Cell<u32>,
    /// There is a deputy.
    pauses: Cell<bool>,
    /// Tokens that were found. A coroutine that parks for the first time since the last one returns at once.
    tokens: Cell<u64>,
    /// When the last one was.
    found: Cell<Option<Instant>>,
    /// How many that parked have ended the waits of others since.
    at_once: Cell<u32>,
}

thread_local! {
    static OWN: Own = const {
        Own {
            word: Cell::new(0),
            candidate: Cell::new(0),
            inside: Cell::new(0),
            chosen: Cell::new(0),
            pauses: Cell::new(false),
            tokens: Cell::new(0),
            found: Cell::new(None),
            at_once: Cell::new(0),
        }
    };
}

/// Threads that sleep in the kernel while coroutines of theirs are parked.
static IN_KERNEL: AtomicUsize = AtomicUsize::new(0);

/// Has the workers look after coroutines that park. Before the first of them does.
pub(super) fn install() {
    guest::install(Guest { look, lie_down, get_up });
}

/// Tells whether a wake has to go to the kernel as well. After a fence: see [`pass_on`].
pub(super) fn is_in_kernel() -> bool {
    // Relaxed: the fence.
    IN_KERNEL.load(Ordering::Relaxed) != 0
}

/// Tells whether a wait for `PARKED` at this address is a `park`.
pub(super) fn is_park(address: usize) -> bool {
    OWN.with(|own| {
        if own.word.get() == 0 {
            own.candidate.set(address);
            thread::current().unpark();
            own.candidate.set(0);
        }
        // Not learnt: nobody is parked on this thread, so it is a lock's.
        own.word.get() == address
    })
}

/// Takes in a wake, if it is the one that tells the thread's word. A handler may wake others meanwhile. Not of null, which
/// is what stands for no word.
pub(super) fn learn(address: usize) -> bool {
    OWN.with(|own| {
        let learns = own.candidate.get() == address;
        if learns {
            own.word.set(address);
        }
        learns
    })
}

/// Tells whether coroutines of this thread are parked on the word at this address.
pub(super) fn is_shared(address: usize) -> bool {
    OWN.with(|own| own.inside.get() != 0 && own.word.get() == address)
}

/// Makes the kernel call of a `park` on a thread with parked coroutines that cannot wait as they do: in a signal handler,
/// or outside of coroutines.
///
/// | this thread | who wakes |
/// |---|---|
/// | counts itself in `IN_KERNEL` | changes the word (std does) |
/// | fence, SeqCst | fence, SeqCst |
/// | the kernel looks at the word | looks at `IN_KERNEL` |
pub(super) fn pass_on(call: impl FnOnce() -> isize) -> isize {
    // Relaxed, and SeqCst by the fence.
    IN_KERNEL.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let answer = call();
    // Relaxed: that one too many is counted for a while does no harm.
    IN_KERNEL.fetch_sub(1, Ordering::Relaxed);
    answer
}

/// Parks the calling coroutine on its thread's word.
///
/// # Safety
/// * `is_park` has said so of the address.
pub(super) unsafe fn park(address: usize, until: Option<Instant>) -> isize {
    OWN.with(|own| {
        own.inside.set(own.inside.get() + 1);
        // Before all that may wait, be it for memory: whoever parks meanwhile must not find PARKED.
        let is_settled = own.word().settle();
        let last = parked();
        let answer = if is_settled && last.tokens == own.tokens.get() {
            Symbol::Syscall.count_park();
            own.stay(address, until, last.turn)
        } else {
            raw(libc::EAGAIN)
        };
        own.inside.set(own.inside.get() - 1);
        // std's park goes on until it finds a token. One that was there is taken with it, so it has to be noted. From here
        // on nothing waits, until std has taken this one.
        if own.word().give() {
            own.note_token();
        }
        note_parked(Parked { tokens: own.tokens.get(), turn: turns() });
        answer
    })
}

impl Own {
    /// The thread's word, which is known.
    fn word(&self) -> &ParkerWord {
        // SAFETY: it is a part of the thread's own handle, which lives as long as the thread, whose local this is. The
        // type is an atomic `u32` and nothing else.
        unsafe { &*ptr::with_exposed_provenance::<ParkerWord>(self.word.get()) }
    }

    /// `last` is the turn of the caller's last park: from then on another may have taken its token.
    fn stay(&self, address: usize, until: Option<Instant>, last: u64) -> isize {
        let me = party::with_current(|party| party.id());
        let stay = Stay::new(address);
        if self.inside.get() > 1 && self.at_once.get() < AT_ONCE && futex::unpark_all(address) {
            self.at_once.set(self.at_once.get() + 1);
        }
        let mut look_at = None;
        let answer = loop {
            let limit = [until, look_at].into_iter().flatten().min();
            match told::wait(limit, |until| stay.wait(until, last, || self.word().settle())) {
                None => break raw(libc::EAGAIN),
                Some(Outcome::Notified) if self.chosen.get() == me => {
                    self.chosen.set(0);
                    self.pauses.set(true);
                    look_at = Some(Instant::now() + self.pause());
                }
                Some(Outcome::Notified) => break 0,
                Some(Outcome::TimedOut) if look_at.is_some() && look_at == limit => {
                    futex::unpark_all(address);
                    self.at_once.set(0);
                    break 0;
                }
                Some(Outcome::TimedOut) => break raw(libc::ETIMEDOUT),
                Some(Outcome::Cancelled) => break raw(libc::ECANCELED),
            }
        };
        if look_at.is_some() {
            self.pauses.set(false);
        }
        answer
    }

    /// Notes that a token was found, and ends all waits.
    fn note_token(&self) {
        self.tokens.set(self.tokens.get() + 1);
        self.found.set(Some(Instant::now()));
        self.at_once.set(0);
        futex::unpark_all(self.word.get());
    }

    fn pause(&self) -> Duration {
        let idle = self.found.get().map_or(Duration::ZERO, |found| found.elapsed());
        (idle / 1000).clamp(PAUSE, LONGEST_PAUSE).max(PAUSE_EACH * self.inside.get())
    }

    /// Looks for a token, and for waits that have lasted while others ran.
    fn look(&self) {
        if self.word().take() {
            self.note_token();
        } else if !self.pauses.get() && self.chosen.get() == 0 {
            let address = self.word.get();
            if futex::oldest(address).is_some_and(|since| since < turns())
                && let Some(party) = futex::unpark_oldest(address)
            {
                self.chosen.set(party);
            }
        }
    }
}

/// Runs `f` if coroutines of this worker are parked.
fn if_shared(f: impl FnOnce(&Own)) {
    OWN.with(|own| {
        if own.inside.get() != 0 {
            f(own);
        }
    });
}

fn look() {
    if_shared(Own::look);
}

/// Has an `unpark` call from now on; one that has come already ends all waits.
///
/// Whoever then finds PARKED comes to the inbox, and the worker looks there once more before it sleeps.
fn lie_down() {
    if_shared(|own| {
        own.look();
        if !own.word().arm() {
            own.look();
        }
    });
}

/// Has each `park` call from now on. A token that has come meanwhile has called, and is noted here.
fn get_up() {
    if_shared(|own| {
        if !own.word().disarm() {
            own.look();
        }
    });
}
