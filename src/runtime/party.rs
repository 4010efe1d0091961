//! A party: whoever can wait, be woken and own a lock; a coroutine or a plain thread.
//!
//! ```text
//! thread-local CURRENT ──▶ Party { word, id, home, … }
//!                            ▲ first field of a coroutine's task, or
//!                            ▲ one box per plain thread, made on its first use
//! ```
//!
//! Ids are unique among living parties and recycled, save those of parties that may have left a mutex locked: a
//! started coroutine's is the number of its stack slot (1 .. 2^29), a thread's has `THREAD` set.

use core::cell::Cell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use slab::Slab;

use super::timeout::Scopes;
use super::worker::Worker;
use crate::base::lock::Lock;
use crate::base::ticket::TicketWord;

/// Set in the ids of plain threads. Bits 30 and 31 stay free for the words that hold an id.
pub(crate) const THREAD: u32 = 1 << 29;

/// One party. Written by its owner only, but for `word`, which wakers race for.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Party {
    /// Where it waits; see [`TicketWord`].
    pub(crate) word: TicketWord,
    /// Its id; 0 for a coroutine that has not started.
    id: AtomicU32,
    /// The worker a started coroutine is bound to; null for a plain thread.
    pub(crate) home: AtomicPtr<Worker>,
    /// How many shields are open on its own stack, and one more while it waits under any: above zero, no
    /// cancellation is delivered. See `shield`.
    pub(crate) shields: Cell<u32>,
    /// Where a started coroutine is in its home's table; see `started`.
    pub(crate) place: Cell<u32>,
    /// At least as many mutexes as have its id as their owner's. A guard that another party drops (carried
    /// there by a hand-resumed coroutine) stays counted.
    holds: Cell<u32>,
    /// Of a coroutine: references and flags, see `task`. Here because there is room for it.
    pub(super) state: AtomicU32,
    /// The deadlines of the `timeout` calls this party is in.
    pub(crate) scopes: Scopes,
}

impl Party {
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            word: TicketWord::new(),
            id: AtomicU32::new(id),
            home: AtomicPtr::new(ptr::null_mut()),
            shields: Cell::new(0),
            place: Cell::new(0),
            holds: Cell::new(0),
            state: AtomicU32::new(0),
            scopes: Scopes::new(),
        }
    }

    /// The party of a coroutine that has not started.
    #[inline]
    pub(super) fn of_task(state: u32) -> Self {
        Self { state: AtomicU32::new(state), ..Self::new(0) }
    }

    /// The worker a started coroutine is bound to; null for a thread, and before the start.
    #[inline]
    pub(crate) fn home(&self) -> *const Worker {
        // Relaxed: whoever asks has got at the party through a lock or a queue that orders the two.
        self.home.load(Ordering::Relaxed).cast_const()
    }

    /// The id that lock words hold while this party owns them.
    #[inline]
    pub(crate) fn id(&self) -> u32 {
        // Relaxed: written by the owner's thread before anybody can ask.
        self.id.load(Ordering::Relaxed)
    }

    /// Counts a mutex that it has taken.
    #[inline]
    pub(crate) fn holds_one_more(&self) {
        self.holds.set(self.holds.get().saturating_add(1));
    }

    /// Uncounts a mutex that it has given back. What was too many to count stays so.
    #[inline]
    pub(crate) fn holds_one_less(&self) {
        let holds = self.holds.get();
        self.holds.set(if holds == u32::MAX { holds } else { holds.saturating_sub(1) });
    }

    /// Tells whether nobody waits for a mutex because of it.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        self.holds.get() == 0
    }

    /// Gives a coroutine its id when it is bound to a stack, before it first runs.
    pub(crate) fn set_id(&self, id: u32) {
        // Relaxed: as in `id`.
        self.id.store(id, Ordering::Relaxed);
    }
}

thread_local! {
    /// The party that runs on this thread now; null until a plain thread first asks.
    static CURRENT: Cell<*const Party> = const { Cell::new(ptr::null()) };
    static OWN: OwnParty = OwnParty(ThreadParty::make());
}

/// Names and numbers of living threads, by the lower bits of their ids.
static THREADS: Lock<Slab<(Option<String>, u64)>> = Lock::new(Slab::new());

struct ThreadParty;

impl ThreadParty {
    fn make() -> *mut Party {
        let name = std::thread::current().name().map(str::to_owned);
        let number = super::current::thread_number();
        let index = THREADS.lock().insert((name, number));
        let index = u32::try_from(index).ok().filter(|index| *index < THREAD);
        let id = THREAD | index.expect("fewer than 2^29 threads live, or have ended with a mutex locked");
        Box::into_raw(Box::new(Party::new(id)))
    }
}

/// Frees a thread's party, and its id if it holds nothing, when the thread ends.
struct OwnParty(*mut Party);

impl Drop for OwnParty {
    fn drop(&mut self) {
        CURRENT.set(ptr::null());
        // SAFETY: `make` boxed it, this is the only owner, and a thread that ends waits nowhere,
        // so no list holds a ticket of it.
        let party = unsafe { Box::from_raw(self.0) };
        // A guard in another thread-local that is dropped later still has the id: then nobody gets it again.
        if party.holds_nothing() {
            THREADS.lock().remove((party.id() & !THREAD) as usize);
        }
    }
}

/// The party that calls.
#[inline]
pub(crate) fn current() -> NonNull<Party> {
    match NonNull::new(CURRENT.get().cast_mut()) {
        Some(party) => party,
        None => register_thread(),
    }
}

/// Gives `f` the party that calls.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(&Party) -> R) -> R {
    // SAFETY: a party outlives its turn as the current one of its thread.
    f(unsafe { current().as_ref() })
}

/// The party that calls, for the length of a call that it makes itself.
#[inline]
pub(crate) fn current_ref<'a>() -> &'a Party {
    // SAFETY: a party outlives its turn as the current one of its thread.
    unsafe { current().as_ref() }
}

/// Tells whether the calling code runs on a spawned coroutine.
#[inline]
pub(crate) fn is_coroutine() -> bool {
    // SAFETY: null, or a party that outlives its turn as the current one of its thread.
    unsafe { CURRENT.get().as_ref() }.is_some_and(|party| !party.home().is_null())
}

/// The caller's id, as lock words hold it.
#[inline]
pub(crate) fn current_id() -> u32 {
    // SAFETY: a party outlives its turn as the current one of its thread.
    unsafe { current().as_ref() }.id()
}

#[cold]
fn register_thread() -> NonNull<Party> {
    // A thread whose locals are being destroyed gets a party of its own that is never freed:
    // destructors that lock at that point are rare, and a leak is better than a dangling owner.
    let party = OWN.try_with(|own| own.0).unwrap_or_else(|_| ThreadParty::make());
    CURRENT.set(party);
    NonNull::new(party).expect("a box is never null")
}

/// What people call the thread with this id, while it lives.
pub(crate) fn thread_name(id: u32) -> String {
    match THREADS.lock().get((id & !THREAD) as usize) {
        Some((Some(name), number)) => format!("thread '{name}' (#{number})"),
        Some((None, number)) => format!("thread #{number}"),
        None => "a thread that has ended".to_owned(),
    }
}

/// What people call the party with this id, as far as the id tells.
pub(crate) fn name(id: u32) -> String {
    if id & THREAD == 0 { "a coroutine".to_owned() } else { thread_name(id) }
}

/// Makes `party` the current one of this thread and returns the one before.
///
/// # Safety
/// * `party` is null or outlives its turn as the current one.
#[inline]
pub(crate) unsafe fn set_current(party: *const Party) -> *const Party {
    CURRENT.replace(party)
}
