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

use core::panic::Location;
use core::ptr::NonNull;
use std::collections::BTreeMap;
use std::time::Instant;

use super::raw_mutex::RawMutex;
use crate::base::lock::Lock;
use crate::runtime::party::{self, Party};
use crate::runtime::{park, who};

#[derive(Clone, Copy, Debug)]
struct Edge {
    party: NonNull<Party>,
    mutex: *const RawMutex,
    /// Where the party has called for it.
    at: &'static Location<'static>,
}

// SAFETY: a key and an address; they are used under the table's lock, while the edge is in it.
unsafe impl Send for Edge {}

/// Who waits for which mutex, by party id.
///
/// Invariant I1: an edge is in the table only while its `Watched` is on the frame of the waiter, which
/// borrows the mutex. So under the lock, the parties and mutexes of all edges are alive.
static WAITING: Lock<BTreeMap<u32, Edge>> = Lock::new(BTreeMap::new());

/// While it lives, the calling party is in the table.
#[derive(Debug)]
pub(super) struct Watched(Option<u32>);

impl Watched {
    /// Enters the calling party, which is going to wait for `mutex`.
    ///
    /// # Panics
    /// If the wait would close a cycle.
    pub(super) fn enter(mutex: &RawMutex, deadline: Option<Instant>, at: &'static Location<'static>) -> Self {
        // Nobody waits for one who holds nothing, so it is on no cycle.
        if deadline.is_some() || party::current_ref().holds_nothing() || park::will_end() {
            return Self(None);
        }
        let id = party::current_id();
        let edge = Edge { party: party::current(), mutex, at };
        let cycle = {
            let mut table = WAITING.lock();
            table.insert(id, edge);
            find_cycle(&table, id).map(|cycle| {
                table.remove(&id);
                describe(&cycle)
            })
        };
        if let Some(report) = cycle {
            panic!("{report}");
        }
        Self(Some(id))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(id) = self.0 {
            WAITING.lock().remove(&id);
        }
    }
}

/// The edges from `first` back to it, if there is such a way.
fn find_cycle(table: &BTreeMap<u32, Edge>, first: u32) -> Option<Vec<Edge>> {
    let mut cycle = Vec::new();
    let mut at = first;
    while let Some(edge) = table.get(&at) {
        // SAFETY: I1; the table's lock is held.
        if unsafe { who::is_cancelled(edge.party) } {
            return None;
        }
        cycle.push(*edge);
        // SAFETY: I1; the table's lock is held.
        let owner = unsafe { &*edge.mutex }.owner();
        if owner == first {
            return Some(cycle);
        }
        // It was handed what it waits for, and has not run since.
        if owner == at {
            return None;
        }
        at = owner;
        // Two others wait for each other: they have found that out themselves.
        if cycle.len() > table.len() {
            return None;
        }
    }
    None
}

/// The report: each party, what it wants, and who holds that.
fn describe(cycle: &[Edge]) -> String {
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
