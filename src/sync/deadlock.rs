//! Deadlocks of mutexes: found by the wait that closes the cycle.
//!
//! Whoever is going to wait for a mutex without a deadline enters "I wait for this one" into a table, and
//! then follows owner, mutex, owner … from there. If that leads back to itself, everybody on the way
//! waits for ever: each owner on it is in the table, so it waits and does not let go, and the last one
//! waits for a mutex that the caller holds, who is busy looking.
//!
//! Whoever holds no mutex itself is not entered: there is no way to it. That is most of those who wait.
//! A wait that a deadline will end is not entered, and so never part of a cycle; nor is a party that somebody
//! has cancelled: its wait ends without the mutex, and lets go of what it holds. A fuller detector
//! (other locks, joins, queues) would enter its waits here as well: an edge is a party and what it
//! waits for, and `owner` the one question a lock has to answer.
//!
//! Who finds the cycle is told by a panic. One that is unwinding already cannot be: a second panic would end the
//! process. Then another on the way, which does not, is told instead: it is woken to look again, and so finds the
//! same cycle. If all of them unwind, the log is told, and they wait for ever.
//!
//! The table is one list by owner for each of some buckets, behind one short lock: the search has to see all edges
//! at one moment. Edges lie on the waiters' frames, so nothing is allocated.

use core::cell::Cell;
use core::panic::Location;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::futex::shard;
use super::raw_mutex::RawMutex;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::coroutine::unwind;
use crate::runtime::party::{self, Party};
use crate::runtime::{park, who};

const BUCKETS: usize = 64;

/// A party, and what it waits for.
#[derive(Debug)]
struct Edge {
    party: NonNull<Party>,
    id: u32,
    mutex: *const RawMutex,
    /// Where the party has called for it.
    at: &'static Location<'static>,
    /// It cannot be told by a panic.
    unwinds: bool,
    /// It is to look again. Written under the table's lock, read under that of the mutex's wait queue.
    told: AtomicBool,
    /// The next one of the bucket.
    next: Cell<*const Edge>,
}

/// Who waits for which mutex.
///
/// Invariant I1: an edge is in the table only while `watched` runs, on whose frame it lies, and which borrows the
/// mutex. So under the lock, the edges, and their parties and mutexes, are alive.
struct Table([*const Edge; BUCKETS]);

// SAFETY: the edges are used under the table's lock, while they are in it.
unsafe impl Send for Table {}

static WAITING: Lock<Table> = Lock::new(Table([ptr::null(); BUCKETS]));

impl Table {
    fn enter(&mut self, edge: &Edge) {
        let head = &mut self.0[edge.id as usize % BUCKETS];
        edge.next.set(*head);
        *head = edge;
    }

    /// Takes an edge out, if it is in.
    fn leave(&mut self, edge: &Edge) {
        let head = &mut self.0[edge.id as usize % BUCKETS];
        if ptr::eq(*head, edge) {
            *head = edge.next.get();
            return;
        }
        let mut at = *head;
        // SAFETY: null, or an edge in the table (I1).
        while let Some(before) = unsafe { at.as_ref() } {
            if ptr::eq(before.next.get(), edge) {
                before.next.set(edge.next.get());
                return;
            }
            at = before.next.get();
        }
    }

    fn get(&self, id: u32) -> Option<&Edge> {
        let mut at = self.0[id as usize % BUCKETS];
        // SAFETY: null, or an edge in the table (I1).
        while let Some(edge) = unsafe { at.as_ref() } {
            if edge.id == id {
                return Some(edge);
            }
            at = edge.next.get();
        }
        None
    }

    /// The edges from `first` back to it, if there is such a way: each one is given to `each`.
    fn has_cycle<'t>(&'t self, first: &'t Edge, mut each: impl FnMut(&'t Edge)) -> bool {
        // Two that wait for each other, off the way to `first`, have found that out themselves: the way is left
        // when it has come by the marked one again.
        let (mut steps, mut marked) = (0u32, 0);
        let mut edge = first;
        loop {
            // SAFETY: I1; the table's lock is held.
            if unsafe { who::is_cancelled(edge.party) } {
                return false;
            }
            each(edge);
            // SAFETY: I1; the table's lock is held.
            let owner = unsafe { &*edge.mutex }.owner();
            if owner == first.id {
                return true;
            }
            // It was handed what it waits for, and has not run since.
            if owner == edge.id || owner == marked {
                return false;
            }
            steps += 1;
            if steps.is_power_of_two() {
                marked = owner;
            }
            match self.get(owner) {
                Some(next) => edge = next,
                None => return false,
            }
        }
    }
}

/// Takes the edge out of the table when it is dropped, if it is in.
struct Entered<'e>(&'e Edge);

impl<'e> Entered<'e> {
    /// Enters the edge, and tells who is to be told of a cycle.
    fn new(edge: &'e Edge) -> (Self, Option<Found>) {
        // Before the lock: whatever unwinds below lets go of that first.
        let entered = Self(edge);
        let mut table = WAITING.lock();
        table.enter(edge);
        let found = table.has_cycle(edge, |_| ()).then(|| Found::look(&table, edge));
        (entered, found)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        WAITING.lock().leave(self.0);
    }
}

/// Runs `wait`, by which the calling party waits for `mutex`, with the party in the table. `wait` is given what it
/// has to look at under the lock of the mutex's wait queue: if that is set, it must not wait, but look again.
///
/// # Panics
/// If the wait would close a cycle; not while the caller unwinds, as `unwinds` says.
pub(super) fn watched<R>(
    mutex: &RawMutex,
    deadline: Option<Instant>,
    at: &'static Location<'static>,
    unwinds: bool,
    wait: impl FnOnce(&AtomicBool) -> R,
) -> R {
    // Nobody waits for one who holds nothing, so it is on no cycle.
    if deadline.is_some() || party::current_ref().holds_nothing() || park::will_end() {
        return wait(&AtomicBool::new(false));
    }
    let (party, id) = (party::current(), party::current_id());
    let (told, next) = (AtomicBool::new(false), Cell::new(ptr::null()));
    let edge = Edge { party, id, mutex, at, unwinds, told, next };
    let (entered, found) = Entered::new(&edge);
    let _entered = match found {
        None => entered,
        Some(Found::Told(report)) => {
            drop(entered);
            panic!("{report}");
        }
        Some(Found::Other(mutex, id)) => {
            wake(mutex, id);
            entered
        }
        Some(Found::Nobody(report)) => {
            // A logger is foreign code, which may lock. Afterwards the cycle is as it was: all on it wait for ever.
            drop(entered);
            unwind::report(|| {
                notice::error!("{report}\n  all wait in destructors, while they unwind, and for ever")
            });
            Entered::new(&edge).0
        }
    };
    wait(&edge.told)
}

/// Who is to be told of a cycle.
enum Found {
    /// The one that has found it, with this report.
    Told(String),
    /// Another one, which waits for the mutex of this address.
    Other(usize, u32),
    /// Nobody can be.
    Nobody(String),
}

impl Found {
    /// Decides it for the cycle through `first`.
    #[cold]
    fn look(table: &Table, first: &Edge) -> Self {
        let mut cycle = Vec::new();
        table.has_cycle(first, |edge| cycle.push(edge));
        if !first.unwinds {
            return Self::Told(describe(&cycle));
        }
        match cycle.iter().find(|edge| !edge.unwinds) {
            Some(other) => {
                // Relaxed: ordered by the lock of the wait queue, which `wake` takes.
                other.told.store(true, Ordering::Relaxed);
                Self::Other(other.mutex.addr(), other.id)
            }
            None => Self::Nobody(describe(&cycle)),
        }
    }
}

/// Lets a waiter look again: it is in the queue, or will find `told` set before it is.
fn wake(mutex: usize, id: u32) {
    let claimed = shard(mutex).with(|(), list| list.claim(|seen| seen.key == mutex && seen.party == id));
    if let Some(claimed) = claimed {
        claimed.wake();
    }
}

/// The report: each party, what it wants, and who holds that.
fn describe(cycle: &[&Edge]) -> String {
    // SAFETY: I1; the table's lock is held.
    let name = |edge: &Edge| unsafe { who::is(edge.party) };
    let mut text = String::from("deadlock:");
    for (index, edge) in cycle.iter().enumerate() {
        let before = &cycle[(index + cycle.len() - 1) % cycle.len()];
        let after = &cycle[(index + 1) % cycle.len()];
        text += &format!(
            "\n  {} holds mutex {:#x} and wants mutex {:#x} at {}, which {} holds",
            name(edge),
            before.mutex.addr(),
            edge.mutex.addr(),
            edge.at,
            name(after),
        );
    }
    text + "\n  give all of them the same order in which they lock, or a timeout"
}
