//! The one door for waiting: [`park`] is the only place that suspends, [`Claimed::wake`] the only
//! one that makes ready.
//!
//! ```text
//! owner                                   waker (holds the lock of the list)
//! let w = Waiter::open();                 let c = unsafe { w.claim() };   // CAS: one winner
//! list.lock().push(node with w);          list.unlock();
//! match park(w, …) { … }                  if let Some(c) = c { c.wake() }
//! ```
//!
//! Rules:
//! * A waiter is published (pushed to a list) only after `open`, and `park` follows on the same
//!   party; or it is never published and `abandon` closes it.
//! * `claim` needs the party alive. It is called under the lock of the list that holds the node;
//!   the owner takes the same lock to remove its node before it returns. So the party lives.
//! * After `park` returns `TimedOut` or `Cancelled` the owner removes its node under the lock.
//!   On `Cancelled` it then calls [`raise_cancelled`], with everything cleaned up.
//! * Between `open` and the end of the wait no user code runs, not even a logger: it could wait itself, or
//!   unwind past the node.
//! * `wake` comes after the lock is released: the claimed party cannot run before it.

use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::party::{self, Party};
use super::task::Task;
use super::unwinding::Unwinds;
use super::worker::{self, Worker};
use super::{cancel, exiting, remote, shield, timers, unwinding};
pub(crate) use crate::base::ticket::Outcome;
use crate::base::ticket::{Ticket, TicketWord};
use crate::coroutine::stack::nest;
use crate::coroutine::strand::Strand;
use crate::coroutine::unwind;
use crate::sys;

/// What a party waits for, as dumps and reports name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A futex word.
    Futex,
    /// A lock of the mutex family.
    Lock,
    /// The end of a coroutine.
    Join,
    /// A point in time.
    Sleep,
    /// A file descriptor.
    Io,
    /// A queue or a channel.
    Queue,
    /// `unpark`.
    Park,
    /// A future's waker.
    Future,
}

/// One wait of one party, as lists hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    party: NonNull<Party>,
    ticket: Ticket,
}

// SAFETY: a waiter is a key; using it (`claim`) is unsafe and has the duty to know the party alive.
unsafe impl Send for Waiter {}
// SAFETY: as for Send.
unsafe impl Sync for Waiter {}

impl Waiter {
    /// The wait of `party` that `ticket` names.
    pub(crate) fn new(party: NonNull<Party>, ticket: Ticket) -> Self {
        Self { party, ticket }
    }

    /// Opens the calling party's next wait.
    #[inline]
    pub(crate) fn open() -> Self {
        let party = party::current();
        // SAFETY: a party outlives its turn as the current one of its thread.
        let ticket = unsafe { party.as_ref() }.word.open();
        Self { party, ticket }
    }

    /// Whose wait it is.
    pub(super) fn party(self) -> NonNull<Party> {
        self.party
    }

    /// Closes a wait that was never published.
    #[inline]
    pub(crate) fn abandon(self) {
        // SAFETY: the calling party is the owner, and it lives.
        let party = unsafe { self.party.as_ref() };
        party.word.claim(self.ticket, Outcome::Notified);
    }

    /// Ends the wait in the name of the one who wakes; `None` if another has ended it already.
    ///
    /// # Safety
    /// * The party is alive: the caller holds the lock that the owner must take before it returns
    ///   from its wait, or keeps the party alive in another way.
    #[inline]
    pub(crate) unsafe fn claim(self) -> Option<Claimed> {
        // SAFETY: the caller knows that the party is alive.
        unsafe { self.claim_as(Outcome::Notified) }
    }

    /// As [`claim`](Self::claim), for a wait that is in one list only, whose lock the caller holds: a
    /// coroutine of the calling worker is claimed without an atomic exchange.
    ///
    /// # Safety
    /// * As for `claim`.
    /// * All others who may end this wait hold that lock, or run on the party's worker.
    #[inline]
    pub(crate) unsafe fn claim_listed(self) -> Option<Claimed> {
        // SAFETY: the caller knows that the party is alive.
        let party = unsafe { self.party.as_ref() };
        let home = party.home();
        if home.is_null() || !worker::current().is_some_and(|own| ptr::eq(own, home)) {
            // SAFETY: the caller's duty.
            return unsafe { self.claim() };
        }
        // This is the party's worker, so nobody else is ending the wait now.
        party.word.claim_alone(self.ticket).then_some(Claimed { party: self.party, home })
    }

    /// Ends the calling party's own wait as timed out; false if another has ended it already.
    pub(crate) fn expire(self) -> bool {
        // SAFETY: the calling party is the owner, and it lives.
        unsafe { self.party.as_ref() }.word.claim(self.ticket, Outcome::TimedOut)
    }

    /// Closes a wait that may have been published; false if another has ended it already: then `park`
    /// must follow, to take the wake in.
    pub(crate) fn retract(self) -> bool {
        // SAFETY: the calling party is the owner, and it lives.
        unsafe { self.party.as_ref() }.word.claim(self.ticket, Outcome::Notified)
    }

    /// As [`claim`](Self::claim), with another outcome.
    ///
    /// # Safety
    /// * As for `claim`.
    #[inline]
    pub(crate) unsafe fn claim_as(self, outcome: Outcome) -> Option<Claimed> {
        // SAFETY: the caller knows that the party is alive.
        let party = unsafe { self.party.as_ref() };
        // Read before the claim: a thread may be gone right after it.
        let home = party.home();
        party.word.claim(self.ticket, outcome).then_some(Claimed { party: self.party, home })
    }

    /// The party's id, as lock words hold it.
    ///
    /// # Safety
    /// * As for `claim`.
    #[inline]
    pub(crate) unsafe fn id(self) -> u32 {
        // SAFETY: the caller knows that the party is alive.
        unsafe { self.party.as_ref() }.id()
    }
}

/// A party whose wait has ended and that must now be made ready: it cannot run before `wake`.
#[must_use = "a claimed party sleeps for ever unless it is woken"]
#[derive(Debug)]
pub(crate) struct Claimed {
    party: NonNull<Party>,
    home: *const Worker,
}

// SAFETY: it is the exclusive right to make the party ready, which any thread may do.
unsafe impl Send for Claimed {}

impl Claimed {
    /// Makes the party ready; a coroutine of the calling worker runs next.
    ///
    /// Never blocks. At most one kernel call, and that only if a thread or a worker sleeps.
    #[inline]
    pub(crate) fn wake(self) {
        match worker::current() {
            Some(own) if ptr::eq(own, self.home) => own.push_next(self.party.cast()),
            _ => self.wake_elsewhere(),
        }
    }

    /// As [`wake`](Self::wake), but a coroutine of the calling worker runs after all that are ready.
    #[inline]
    pub(crate) fn wake_in_turn(self) {
        match worker::current() {
            Some(own) if ptr::eq(own, self.home) => own.push_woken(self.party.cast()),
            _ => self.wake_elsewhere(),
        }
    }

    fn wake_elsewhere(self) {
        if self.home.is_null() {
            // A thread that has seen its outcome may be gone: only the address of its word is used.
            THREAD_WAKES.fetch_add(1, Ordering::Relaxed);
            sys::futex::wake(self.party.as_ptr().cast_const().cast(), 1);
        } else {
            // SAFETY: a party with a home is the first field of a task, and this is the claim on it.
            unsafe { remote::wake(self.home, self.party.cast()) };
        }
    }

    /// The coroutine, for the worker that is its home and puts it in a queue itself.
    #[inline]
    pub(crate) fn into_task(self) -> NonNull<Task> {
        self.party.cast()
    }
}

/// Tells whether the calling party's next wait will end, whatever it waits for: by the deadline of a
/// [`timeout`](super::timeout) call, or by a cancellation.
pub(crate) fn will_end() -> bool {
    let party = party::current();
    // SAFETY: a party outlives its turn as the current one of its thread.
    let cancelled = unsafe { super::who::is_cancelled(party) };
    party::with_current(|party| !shield::covers(party) && (cancelled || party.scopes.earliest().is_some()))
}

/// The deadline by which a wait of the calling plain thread is to end as cancelled, if there is one: for
/// waits in the kernel that do not come through [`park`].
pub(crate) fn scope_deadline() -> Option<Instant> {
    party::with_current(|party| {
        let interruptible = !shield::covers(party) && !std::thread::panicking();
        if interruptible { party.scopes.earliest() } else { None }
    })
}

/// Suspends the calling party until its wait ends, and tells how.
///
/// A coroutine gives its worker to others; a plain thread sleeps in the kernel. The earliest
/// deadline of the [`timeout`](super::timeout) calls around counts too: it ends the wait as
/// `Cancelled`.
///
/// Inlined, as all between a wait's door and the switch should be: a return through a frame that was entered
/// before the switch is one that the processor predicts wrongly, and costs as much as the switch.
#[inline(always)]
pub(crate) fn park(waiter: Waiter, reason: Reason, object: usize, deadline: Option<Instant>) -> Outcome {
    // SAFETY: the calling party is the owner, and it lives.
    let party = unsafe { waiter.party.as_ref() };
    // SAFETY: null, or the worker that runs this very coroutine.
    if let Some(worker) = unsafe { party.home().as_ref() }
        && deadline.is_none()
        && party.scopes.is_empty()
        && !std::thread::panicking()
        && !nest::has_any()
    {
        // SAFETY: a party with a home is the first field of a task.
        let task = unsafe { waiter.party.cast::<Task>().as_ref() };
        if !task.is_cancelled() {
            return rest(worker, task, || suspend(task));
        }
    }
    park_slow(waiter, reason, object, deadline)
}

/// As [`park`], for a plain thread, with a deadline, or under unusual circumstances.
#[inline(never)]
fn park_slow(waiter: Waiter, reason: Reason, object: usize, deadline: Option<Instant>) -> Outcome {
    // SAFETY: the calling party is the owner, and it lives.
    let party = unsafe { waiter.party.as_ref() };
    let shielded = shield::covers(party);
    // SAFETY: null, or the worker that runs this very coroutine.
    let unwinds = match unsafe { party.home().as_ref() } {
        None if std::thread::panicking() => Unwinds::Yes,
        None => Unwinds::No,
        // SAFETY: a party with a home is the first field of a task.
        Some(worker) => worker.unwinds(unsafe { waiter.party.cast::<Task>().as_ref() }),
    };
    let interruptible = !shielded && unwinds != Unwinds::Yes;
    let scope = if interruptible { party.scopes.earliest() } else { None };
    let by_scope = scope.is_some_and(|scope| deadline.is_none_or(|deadline| scope < deadline));
    let until = if by_scope { scope } else { deadline };
    // For a cancellation that comes while it waits: the shield may be on another stack than the party's, and a
    // destructor that runs because of an unwinding must not unwind itself.
    let shields = party.shields.replace(party.shields.get() + u32::from(!interruptible));
    // SAFETY: null, or the worker that runs this very coroutine.
    let outcome = match unsafe { party.home().as_ref() } {
        None => park_thread(party, waiter, until),
        Some(worker) => {
            // SAFETY: a party with a home is the first field of a task.
            let task = unsafe { waiter.party.cast::<Task>().as_ref() };
            park_coroutine(worker, task, waiter, Wait { reason, object, until, interruptible, unwinds })
        }
    };
    party.shields.set(shields);
    if by_scope && outcome == Outcome::TimedOut { Outcome::Cancelled } else { outcome }
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    reason: Reason,
    object: usize,
    until: Option<Instant>,
    interruptible: bool,
    /// Whether the coroutine waits in a destructor while it unwinds.
    unwinds: Unwinds,
}

/// Kernel calls by which plain threads have waited, and by which they were woken. Relaxed everywhere: figures,
/// counted beside a system call.
static THREAD_SLEEPS: AtomicU64 = AtomicU64::new(0);
static THREAD_WAKES: AtomicU64 = AtomicU64::new(0);

/// How often plain threads have gone to sleep in the kernel, and how often it was told to wake one.
pub(crate) fn thread_calls() -> (u64, u64) {
    (THREAD_SLEEPS.load(Ordering::Relaxed), THREAD_WAKES.load(Ordering::Relaxed))
}

fn park_thread(party: &Party, waiter: Waiter, until: Option<Instant>) -> Outcome {
    loop {
        if let Some(outcome) = party.word.outcome() {
            return outcome;
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            party.word.claim(waiter.ticket, Outcome::TimedOut);
            continue;
        }
        THREAD_SLEEPS.fetch_add(1, Ordering::Relaxed);
        sys::futex::wait(party.word.word(), TicketWord::raw(waiter.ticket), left);
    }
}

/// Whoever claims the wait puts the coroutine in a queue of its worker, maybe before it is suspended;
/// that does no harm, because no other worker can resume it.
fn park_coroutine(worker: &Worker, task: &Task, waiter: Waiter, wait: Wait) -> Outcome {
    let word = &task.party.word;
    let suspended = || match wait.until {
        None => suspend(task),
        Some(until) => timers::with_deadline(worker, waiter, until, || suspend(task)),
    };
    let late = |why| unwinding::report(worker, task, (wait.reason, wait.object), why);
    if exiting::is_here() {
        return unwinding::keep(worker, task, waiter, wait.until, || {
            late("after it has called `exit`: no other coroutine runs any more");
        });
    }
    if wait.unwinds == Unwinds::Yes {
        if let Some(outcome) = unwinding::wait(worker, task, waiter, wait.until) {
            return outcome;
        }
        late("in a destructor while it unwinds: until it goes on, others see thread::panicking()");
        return rest(worker, task, || worker.suspend_unwinding(task, suspended));
    }
    let in_doubt = wait.unwinds == Unwinds::Maybe;
    if wait.interruptible && !in_doubt && task.is_cancelled() && word.claim(waiter.ticket, Outcome::Cancelled)
    {
        return Outcome::Cancelled;
    }
    if in_doubt {
        return rest(worker, task, || worker.suspend_in_doubt(task, suspended));
    }
    rest(worker, task, suspended)
}

#[inline(always)]
fn rest(worker: &Worker, task: &Task, suspend: impl FnOnce()) -> Outcome {
    worker.counters.parks.add(1);
    suspend();
    worker.counters.unparks.add(1);
    task.party.word.outcome().expect("a coroutine is resumed after its wait has ended")
}

/// Gives the worker to others until the calling coroutine is resumed.
#[inline(always)]
pub(crate) fn suspend(task: &Task) {
    let strand: *mut Strand = task.strand.get().cast();
    // SAFETY: the caller runs on this strand, or on one that it has resumed, so it is initialised.
    unsafe { Strand::suspend(strand) };
}

/// Unwinds the calling party after a wait that ended with [`Outcome::Cancelled`].
///
/// # Panics
/// Always: with the private payload that the coroutine's root, or the `timeout` call, catches.
#[cold]
pub(crate) fn raise_cancelled() -> ! {
    let party = party::current();
    // SAFETY: a party outlives its turn as the current one of its thread.
    let party_ref = unsafe { party.as_ref() };
    // SAFETY: null, or the worker that runs this very coroutine.
    if let Some(worker) = unsafe { party_ref.home().as_ref() } {
        // SAFETY: a party with a home is the first field of a task.
        let task = unsafe { party.cast::<Task>().as_ref() };
        worker.note_unwinding(task);
        if task.is_cancelled() {
            cancel::insist(worker, task);
            unwind::raise_kill()
        }
    }
    party_ref.scopes.raise_expired()
}
