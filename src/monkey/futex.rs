//! std's futex: a word on which coroutines wait here, and threads in the kernel.
//!
//! Whoever wakes, on whatever thread, looks at both. The two sides, each with a store and a load that must not pass
//! each other:
//!
//! | a coroutine that waits | whoever wakes |
//! |---|---|
//! | counts itself in `waiting` | changes the word (std does) |
//! | fence, SeqCst | fence, SeqCst |
//! | looks at the word, with the queue locked | looks at `waiting` |
//!
//! So either the waker finds somebody waiting, and the lock orders the two, or the coroutine finds the word changed.
//!
//! A cancellation ends a wait with `ECANCELED`, once: std's locks take any error for a wake without a reason, and wait
//! again. So a cancelled coroutine gets its lock, and ends at its next wait of another kind.
//!
//! `thread::park` waits here too, marked in its key; `parker` has the rules.
//!
//! A requeue ends a coroutine's wait, and the coroutine waits anew in the other queue. In between it is in the list
//! `MOVING`, which a wake of the other word looks at, with that word's queue locked, after those who wait there.

use core::cell::Cell;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::time::Instant;

use super::errno::raw;
use super::hook::pass;
use super::symbols::Symbol;
use super::{from_handler, gate, parker};
use crate::base::lock::Lock;
use crate::runtime::lock_waits::LockWait;
use crate::runtime::park::{Claimed, Outcome, Reason};
use crate::runtime::wait_queue::{How, Seen, WaitQueue};
use crate::runtime::{party, told};
use crate::sys;

pub(super) const SHARDS: usize = 256;

/// In the key of a `thread::park`; words are aligned.
const PARK: usize = 1;

/// A part of the table: the words whose addresses fall to it.
#[repr(align(128))]
struct Shard {
    waiting: AtomicUsize,
    /// Those of them in `thread::park`.
    parked: AtomicUsize,
    /// Waits with a smaller number have been reported as long. Written under the queue's lock.
    reported: AtomicU64,
    queue: WaitQueue<()>,
}

static TABLE: [Shard; SHARDS] = [const {
    Shard {
        waiting: AtomicUsize::new(0),
        parked: AtomicUsize::new(0),
        reported: AtomicU64::new(0),
        queue: WaitQueue::new(()),
    }
}; SHARDS];

/// The number of the part for an address.
fn shard_number(address: usize) -> usize {
    // Fibonacci hashing: the upper bits of the product are well mixed.
    let mixed = (address as u64 >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as usize % SHARDS
}

/// The part for an address.
fn shard(address: usize) -> &'static Shard {
    &TABLE[shard_number(address)]
}

/// Coroutines that a requeue has woken to wait for another word, and that word's address.
static MOVING: Lock<Vec<(u32, usize)>> = Lock::new(Vec::new());
/// How many there are.
static MOVING_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Takes the first that `fits` off the list of those that move.
fn take_moving(fits: impl Fn(u32, usize) -> bool) -> bool {
    let mut moving = MOVING.lock();
    let found = moving.iter().position(|(party, address)| fits(*party, *address));
    if let Some(place) = found {
        moving.remove(place);
        // Relaxed: written under the lock.
        MOVING_COUNT.store(moving.len(), Ordering::Relaxed);
    }
    found.is_some()
}

/// The word that a requeue has named for the calling coroutine, if one has ended its wait.
fn moved_to() -> Option<usize> {
    // Relaxed: the wake that has ended the wait orders this after the requeue.
    if MOVING_COUNT.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let me = party::with_current(|party| party.id());
    MOVING.lock().iter().find(|(party, _)| *party == me).map(|(_, address)| *address)
}

/// Waits while the word at `address` is `expected`.
///
/// # Safety
/// * There is a word, aligned, and it stays as long as somebody may wake the caller.
pub(super) unsafe fn wait(address: usize, expected: u32, until: Option<Instant>) -> isize {
    let place = ptr::with_exposed_provenance::<AtomicU32>(address);
    // SAFETY: the caller's duty.
    let word = unsafe { &*place };
    let shard = shard(address);
    Symbol::Syscall.count_park();
    // Relaxed, and SeqCst by the fence: see the table above.
    shard.waiting.fetch_add(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
    let mut outcome = told::wait(until, |until| {
        let is_endless_lock = until.is_none() && is_lock(expected);
        // The time of a wait that the monitor reports if it lasts.
        let note = if is_endless_lock { sys::thread::monotonic() } else { 0 };
        let how = How { key: address, note, ..How::new(Reason::Futex, until) };
        shard.queue.wait_if(how, |(), _| word.load(Ordering::SeqCst) == expected)
    });
    shard.waiting.fetch_sub(1, Ordering::Relaxed);
    while outcome == Some(Outcome::Notified)
        && let Some(address) = moved_to()
    {
        outcome = wait_moved(address, until);
    }
    match outcome {
        None => raw(libc::EAGAIN),
        Some(Outcome::TimedOut) => raw(libc::ETIMEDOUT),
        Some(Outcome::Notified) => 0,
        Some(Outcome::Cancelled) => raw(libc::ECANCELED),
    }
}

/// Tells whether std waits for a lock while its word holds this: a `Mutex` that is contended, or an `RwLock` that a
/// writer holds and a reader waits for. Other words may hold the same, by chance.
fn is_lock(word: u32) -> bool {
    const CONTENDED: u32 = 2;
    const WRITE_LOCKED: u32 = (1 << 30) - 1;
    word == CONTENDED || word & WRITE_LOCKED == WRITE_LOCKED
}

/// Takes a wait for a lock that began at `before` or earlier, for the report that it lasts. Each is taken once.
pub(super) fn take_long(before: u64) -> Option<LockWait> {
    // Relaxed: a wait that is missed is found at the next look.
    TABLE.iter().filter(|shard| shard.waiting.load(Ordering::Relaxed) != 0).find_map(|shard| {
        shard.queue.with(|(), list| {
            let (seen, coroutine) =
                list.first_coroutine(|seen| shard.may_report(seen) && seen.note <= before)?;
            // Relaxed: under the lock.
            shard.reported.store(seen.number + 1, Ordering::Relaxed);
            Some(LockWait { coroutine, address: seen.key, since: seen.note })
        })
    })
}

/// Tells whether there is a wait for a lock that has not been taken, however young.
pub(super) fn may_become_long() -> bool {
    // Relaxed: as above.
    TABLE.iter().any(|shard| {
        shard.waiting.load(Ordering::Relaxed) != 0
            && shard.queue.with(|(), list| list.peek(|seen| shard.may_report(seen)).is_some())
    })
}

impl Shard {
    /// Tells whether a wait, whose queue's lock is held, is for a lock and has not been reported.
    fn may_report(&self, seen: Seen) -> bool {
        // Relaxed: under the lock.
        seen.note != 0 && seen.key & PARK == 0 && seen.number >= self.reported.load(Ordering::Relaxed)
    }
}

/// Goes on with a wait for another word, whose queue counts this coroutine already.
fn wait_moved(address: usize, until: Option<Instant>) -> Option<Outcome> {
    let me = party::with_current(|party| party.id());
    let shard = shard(address);
    let outcome = told::wait(until, |until| {
        let how = How { key: address, ..How::new(Reason::Futex, until) };
        // Off the list already: a wake has come meanwhile.
        shard.queue.wait_if(how, |(), _| take_moving(|party, _| party == me))
    });
    // Relaxed: that one too many is counted for a while does no harm.
    shard.waiting.fetch_sub(1, Ordering::Relaxed);
    outcome.or(Some(Outcome::Notified))
}

/// Has up to `count` of the coroutines that wait for one word wait for another; how many.
pub(super) fn requeue(from: usize, to: usize, count: u32) -> u32 {
    if from == to {
        return 0;
    }
    let (source, target) = (shard(from), shard(to));
    let party = Cell::new(0);
    let fits = |seen: Seen| {
        party.set(seen.party);
        seen.key == from
    };
    let move_one = |claimed: Claimed| {
        // Relaxed, and SeqCst by the lock's own order: a wake of the other word finds it counted once it is listed.
        target.waiting.fetch_add(1, Ordering::SeqCst);
        let mut moving = MOVING.lock();
        moving.push((party.get(), to));
        // Relaxed: written under the lock.
        MOVING_COUNT.store(moving.len(), Ordering::Relaxed);
        drop(moving);
        claimed.wake_in_turn();
    };
    source.queue.claim_each(count as usize, fits, move_one) as u32
}

/// Tells whether a coroutine waits for the word at an address, or is about to.
pub(super) fn is_waited_for(address: usize) -> bool {
    fence(Ordering::SeqCst);
    let shard = shard(address);
    // Relaxed: the fence.
    shard.waiting.load(Ordering::Relaxed) != 0
        && (shard.queue.with(|(), list| list.peek(|seen| seen.key == address).is_some())
            || MOVING.lock().iter().any(|(_, moving)| *moving == address))
}

/// A coroutine's stay in `thread::park`, of one wait or several.
pub(super) struct Stay {
    shard: &'static Shard,
    key: usize,
}

impl Stay {
    /// Comes in, for a park on the word at `address`.
    pub(super) fn new(address: usize) -> Self {
        let shard = shard(address);
        // Relaxed, and SeqCst by the fence: see the table above.
        shard.waiting.fetch_add(1, Ordering::Relaxed);
        shard.parked.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Self { shard, key: address | PARK }
    }

    /// Waits if `must_wait`, which is asked under the lock that an `unpark` takes; `None` if not. `note` is for
    /// [`oldest`].
    pub(super) fn wait(
        &self,
        until: Option<Instant>,
        note: u64,
        must_wait: impl FnOnce() -> bool,
    ) -> Option<Outcome> {
        let how = How { key: self.key, note, ..How::new(Reason::Park, until) };
        self.shard.queue.wait_if(how, |(), _| must_wait())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        // Relaxed: that one too many is counted for a while does no harm.
        self.shard.parked.fetch_sub(1, Ordering::Relaxed);
        self.shard.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Wakes up to `count` of those who wait for the word: coroutines, then threads. The address is only a key.
pub(super) fn wake(address: usize, count: u32) -> isize {
    wake_by(address, count, |count| {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        pass!(SYS_futex, address, operation, count)
    })
}

/// As [`wake`], with another way to wake threads.
///
/// Which of the two kinds comes first changes from call to call, so that neither starves the other.
pub(super) fn wake_by(address: usize, count: u32, in_kernel: impl Fn(u32) -> isize) -> isize {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let count = count.min(i32::MAX.unsigned_abs());
    fence(Ordering::SeqCst);
    let shard = shard(address);
    // Relaxed: the fence.
    if shard.waiting.load(Ordering::Relaxed) == 0 {
        return in_kernel(count);
    }
    if gate::in_handler() && from_handler::hand_over(shard_number(address)) {
        return in_kernel(count);
    }
    // Whom an `unpark` is meant for its word does not say: so all.
    if shard.parked.load(Ordering::Relaxed) != 0 && wake_parked(shard, address | PARK) {
        return if parker::is_in_kernel() { 1 + in_kernel(count).max(0) } else { 1 };
    }
    // Relaxed: a rough alternation.
    if TURN.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        let woken = wake_coroutines(address, count);
        if woken >= count { woken as isize } else { woken as isize + in_kernel(count - woken).max(0) }
    } else {
        let woken = in_kernel(count).max(0) as u32;
        if woken >= count {
            woken as isize
        } else {
            (woken + wake_coroutines(address, count - woken)) as isize
        }
    }
}

/// In a signal handler, which may have interrupted the holder of a queue: has another thread wake all who wait where the
/// word does. False elsewhere.
pub(super) fn hands_over(address: usize) -> bool {
    // Relaxed: the caller's fence, or a wake too many.
    let is_quiet = || shard(address).waiting.load(Ordering::Relaxed) == 0;
    gate::in_handler() && (is_quiet() || from_handler::hand_over(shard_number(address)))
}

/// Wakes every coroutine of a part of the table, whatever it waits for.
pub(super) fn wake_all(number: usize) {
    TABLE[number].queue.claim_each(usize::MAX, |_| true, Claimed::wake_in_turn);
}

/// Wakes the first coroutine with a key.
fn wake_first(shard: &Shard, key: usize) -> Option<Seen> {
    let mut last = None;
    let fits = |seen: Seen| {
        last = Some(seen);
        seen.key == key
    };
    let claimed: Option<Claimed> = shard.queue.with(|(), list| list.claim(fits));
    claimed?.wake_in_turn();
    last
}

/// The note of whoever has been in `thread::park` longest on the word at `address`.
pub(super) fn oldest(address: usize) -> Option<u64> {
    let fits = |seen: Seen| seen.key == address | PARK;
    shard(address).queue.with(|(), list| list.peek(fits)).map(|seen| seen.note)
}

/// Ends that one's wait; gives the party.
pub(super) fn unpark_oldest(address: usize) -> Option<u32> {
    wake_first(shard(address), address | PARK).map(|seen| seen.party)
}

/// Ends all waits in `thread::park` on the word at `address`; false if there are none.
pub(super) fn unpark_all(address: usize) -> bool {
    wake_parked(shard(address), address | PARK)
}

fn wake_parked(shard: &Shard, key: usize) -> bool {
    shard.queue.claim_each(usize::MAX, |seen| seen.key == key, Claimed::wake_in_turn) != 0
}

/// Wakes up to `count` of the coroutines that wait for the word, or are on their way to wait for it; how many.
pub(super) fn wake_coroutines(address: usize, count: u32) -> u32 {
    let shard = shard(address);
    let is_listed = |seen: Seen| seen.key == address;
    let mut woken = shard.queue.claim_each(count as usize, is_listed, Claimed::wake_in_turn) as u32;
    // Relaxed: see `requeue`.
    while woken < count
        && MOVING_COUNT.load(Ordering::Relaxed) != 0
        && shard.queue.with(|(), _| take_moving(|_, to| to == address))
    {
        woken += 1;
    }
    woken
}
