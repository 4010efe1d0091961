//! The memory that a pool and its workers share: tasks that wait to be taken, and who has which.
//!
//! ```text
//! Header: head, tail, ending
//! Post of each worker:  see `post`
//! Slots, a ring:        state │ id, call, length │ bytes        (the parent puts, any worker takes)
//! ```
//!
//! The parent is the only one who puts. Which worker takes a task is decided by one CAS on its slot, which
//! names the worker; so the parent knows, whenever a worker dies, what that had in its hands.
//!
//! `state` is `position << 16 | worker << 2 | kind`. Position `p` uses slot `p % SLOTS`:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | `FREE` p | `READY` p | the parent | the task is written |
//! | `READY` p | `TAKEN` p by w | worker w, by CAS | it takes the task |
//! | `TAKEN` p by w | `FREE` p + SLOTS | worker w | copied, and `task` of its post says which |
//! | `TAKEN` p by w | `FREE` p + SLOTS | the parent | w is dead |
//!
//! `head` is a hint that everybody helps on: whoever finds the slot of `head` taken moves it. So a worker
//! that is killed anywhere holds up nobody. Nor does one that is stopped between claim and copy: when the parent
//! comes round to a slot that is still `TAKEN`, it passes the position over. `tail`, which is beyond all positions
//! that the parent has used or passed over, tells workers that nothing will come at the one they look at; it is
//! read before the slot's state.
//!
//! A worker that finds no task looks for some microseconds more, then sleeps: see `post`.
//!
//! Invariants:
//! * I1: the mapping has `len(workers)` bytes, zeros at first, and is touched through this type only.
//! * I2: the body of a slot is written by the parent, while it is `FREE`, and read by the worker that has made it
//!   `TAKEN`. Other threads of the parent read `task` beside it, which is atomic, and look at the state again.

use core::cell::UnsafeCell;
use core::mem;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::post::Post;
use crate::base::backoff::Backoff;
use crate::process::call::Call;
use crate::shm::region;
use crate::sys::memory;

const SLOTS: u64 = 256;
/// Bytes of arguments that lie in the slot itself; larger ones are asked for.
pub(super) const INLINE: usize = 208;

const FREE: u64 = 0;
const READY: u64 = 1;
const TAKEN: u64 = 2;
const KIND: u64 = 3;
/// The most workers, less one.
const WORKERS: u64 = (1 << 14) - 1;

fn state(position: u64, worker: usize, kind: u64) -> u64 {
    position << 16 | (worker as u64) << 2 | kind
}

/// A task that a worker has claimed and not yet copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) worker: usize,
    /// Together with the worker it names the claim.
    pub(super) position: u64,
    pub(super) task: u64,
}

#[repr(C, align(128))]
struct Header {
    head: AtomicU64,
    tail: AtomicU64,
    ending: AtomicU32,
}

/// What a worker gets to know of a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) id: u64,
    pub(super) call: Call,
    /// Bytes of the arguments; [`ASKED`] if they are to be asked for.
    pub(super) len: u32,
    pub(super) bytes: [u8; INLINE],
}

/// Length of arguments that do not lie in the slot.
pub(super) const ASKED: u32 = u32::MAX;

#[repr(C, align(64))]
struct Slot {
    state: AtomicU64,
    /// The number of the task that the body is of. The parent reads it while the slot may change hands.
    task: AtomicU64,
    body: UnsafeCell<mem::MaybeUninit<Body>>,
}

/// The shared memory, as one process has it mapped.
pub(super) struct Board {
    place: *mut u8,
    workers: usize,
    file: OwnedFd,
}

// SAFETY: what is in the mapping is atomics, and bodies that the slots' states guard (I2).
unsafe impl Send for Board {}
// SAFETY: as for Send.
unsafe impl Sync for Board {}

const fn len(workers: usize) -> usize {
    mem::size_of::<Header>() + workers * mem::size_of::<Post>() + SLOTS as usize * mem::size_of::<Slot>()
}

impl Board {
    /// Makes the memory, for the parent.
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let file = region::sealed_file(c"ropewalk-pool", len(workers))?;
        let board = Self::open(file, workers)?;
        for (index, slot) in (0..SLOTS).zip(board.slots()) {
            // Relaxed: no worker exists yet.
            slot.state.store(state(index, 0, FREE), Ordering::Relaxed);
        }
        Ok(board)
    }

    /// Maps the memory that the parent has made.
    pub(super) fn open(file: OwnedFd, workers: usize) -> io::Result<Self> {
        let place = memory::map_shared(file.as_fd(), len(workers))?;
        Ok(Self { place, workers, file })
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn header(&self) -> &Header {
        // SAFETY: the mapping begins with it, and zeros are one (I1).
        unsafe { &*self.place.cast() }
    }

    pub(super) fn post(&self, worker: usize) -> &Post {
        assert!(worker < self.workers);
        let offset = mem::size_of::<Header>() + worker * mem::size_of::<Post>();
        // SAFETY: inside the mapping (I1).
        let place = unsafe { self.place.add(offset) };
        // SAFETY: aligned like all before it, and zeros are one.
        unsafe { &*place.cast() }
    }

    fn slots(&self) -> &[Slot] {
        let offset = mem::size_of::<Header>() + self.workers * mem::size_of::<Post>();
        // SAFETY: inside the mapping (I1).
        let place = unsafe { self.place.add(offset) };
        // SAFETY: as many follow, aligned like all before them, and zeros are valid.
        unsafe { core::slice::from_raw_parts(place.cast(), SLOTS as usize) }
    }

    fn slot(&self, position: u64) -> &Slot {
        &self.slots()[(position % SLOTS) as usize]
    }

    /// Puts a task at the parent's `position`, or after it where that cannot be used, and gives the position for
    /// the next; `None` if the ring is full. Called by the parent, by one thread at a time.
    pub(super) fn put(&self, position: u64, body: &Body) -> Option<u64> {
        for position in position..position + SLOTS {
            let slot = self.slot(position);
            // Acquire pairs with the Release of whoever has freed it: its copy was made before.
            match slot.state.load(Ordering::Acquire) & KIND {
                FREE => {}
                // Of a worker that is slow, or stopped.
                TAKEN => continue,
                _ => return None,
            }
            // SAFETY: free, so nobody reads it (I2).
            unsafe { slot.body.get().write(mem::MaybeUninit::new(*body)) };
            // Release pairs with the Acquire in `claims`: `FREE` is seen by who reads this number.
            slot.task.store(body.id, Ordering::Release);
            // Release pairs with the Acquire in `take`: the body is written before.
            slot.state.store(state(position, 0, READY), Ordering::Release);
            // Release pairs with the SeqCst in `look`: the state is not older.
            self.header().tail.store(position + 1, Ordering::Release);
            return Some(position + 1);
        }
        None
    }

    fn posts(&self) -> impl Iterator<Item = &Post> {
        (0..self.workers).map(|worker| self.post(worker))
    }

    /// Wakes a worker that sleeps for the task that was put before `position`, unless there are as many that
    /// look as there are tasks.
    pub(super) fn wake_one(&self, position: u64) {
        fence(Ordering::SeqCst);
        if !self.posts().any(Post::is_asleep) {
            return;
        }
        // SeqCst: before the look at who looks. It lags at most, so there are no more tasks than that.
        let tasks = position.saturating_sub(self.header().head.load(Ordering::SeqCst));
        if tasks > self.posts().filter(|post| post.is_looking()).count() as u64 {
            let _ = self.posts().any(Post::wake);
        }
    }

    /// Wakes a worker that sleeps if a task still waits: one that looks would have taken it by now, so it is
    /// stopped.
    pub(super) fn wake_behind(&self) {
        if self.posts().any(Post::is_asleep) && self.look().is_some() {
            let _ = self.posts().any(Post::wake);
        }
    }

    pub(super) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        for post in self.posts() {
            post.wake();
        }
    }

    /// The head, and the state of its slot; `None` if the parent has not been there yet.
    fn look(&self) -> Option<(u64, u64)> {
        // SeqCst throughout: the look at the ring after `sleep` was set.
        let head = self.header().head.load(Ordering::SeqCst);
        // Before the state: what the parent has done at a position below is seen then.
        let passed = head < self.header().tail.load(Ordering::SeqCst);
        let seen = self.slot(head).state.load(Ordering::SeqCst);
        // At or beyond this position, and not only free for it.
        let used = seen >> 16 >= head && seen != state(head, 0, FREE);
        (used || passed).then_some((head, seen))
    }

    /// Takes the oldest task, in the name of a worker; `None` if there is none.
    pub(super) fn take(&self, worker: usize) -> Option<Body> {
        loop {
            let (head, seen) = self.look()?;
            let slot = self.slot(head);
            let taken = state(head, worker, TAKEN);
            // Acquire pairs with the Release in `put`.
            let won = seen == state(head, 0, READY)
                && slot.state.compare_exchange(seen, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            // Whoever has won, the slot of this head is taken now, or was passed over. Relaxed: a hint.
            let _ = self.header().head.compare_exchange(head, head + 1, Ordering::SeqCst, Ordering::Relaxed);
            if won {
                // SAFETY: this worker has taken it (I2).
                let body = unsafe { slot.body.get().read() };
                // SAFETY: the parent has written it before it was ready.
                let body = unsafe { body.assume_init() };
                self.post(worker).hold(body.id);
                // Release: the copy was made, and the post says which task, before.
                slot.state.store(state(head + SLOTS, 0, FREE), Ordering::Release);
                return Some(body);
            }
        }
    }

    /// Looks for a task for some microseconds; true if there may be one, or the end has come. By a worker.
    pub(super) fn wait_a_moment(&self, worker: usize) -> bool {
        let post = self.post(worker);
        post.look();
        let mut backoff = Backoff::new();
        let found = loop {
            let found = self.look().is_some() || self.is_ending();
            if found || !backoff.snooze() {
                break found;
            }
        };
        post.wake_up();
        found
    }

    /// Sleeps until there may be a task, or the end. By a worker.
    pub(super) fn sleep(&self, worker: usize) {
        self.post(worker).sleep(|| self.look().is_some() || self.is_ending());
    }

    /// Lets the workers end when they find no task.
    pub(super) fn end(&self) {
        self.header().ending.store(1, Ordering::SeqCst);
        self.wake_all();
    }

    pub(super) fn is_ending(&self) -> bool {
        self.header().ending.load(Ordering::SeqCst) != 0
    }

    /// The tasks that workers have claimed and not yet copied. Called by the parent.
    pub(super) fn claims(&self) -> impl Iterator<Item = Claim> + '_ {
        self.slots().iter().filter_map(|slot| {
            // Acquire pairs with the AcqRel in `take`.
            let seen = slot.state.load(Ordering::Acquire);
            if seen & KIND != TAKEN {
                return None;
            }
            // Acquire pairs with the Release in `put`: a number of a later task comes after a change of the state.
            let task = slot.task.load(Ordering::Acquire);
            // Relaxed: the load above orders it. States never return, so the task is the one that was claimed.
            let is_still = slot.state.load(Ordering::Relaxed) == seen;
            is_still.then_some(Claim { worker: (seen >> 2 & WORKERS) as usize, position: seen >> 16, task })
        })
    }

    /// What a dead worker had in its hands; its post is vacant afterwards. Called by the parent.
    pub(super) fn bury(&self, worker: usize) -> Option<u64> {
        let mut held = self.post(worker).running().map(|(task, _)| task);
        for slot in self.slots() {
            // Acquire: what the dead has written; the kernel has told of its end.
            let seen = slot.state.load(Ordering::Acquire);
            if seen & 0xffff == state(0, worker, TAKEN) {
                // Relaxed: written before the state that was seen; the parent writes it again when the slot is free.
                held = Some(slot.task.load(Ordering::Relaxed));
                // Release: as in `take`.
                slot.state.store(state((seen >> 16) + SLOTS, 0, FREE), Ordering::Release);
            }
        }
        self.post(worker).vacate();
        // It may have been one of those that look, for whose sake nobody was woken.
        self.wake_all();
        held
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: mapped in `open` with this length, and nobody else has the place.
        unsafe { memory::release(self.place, len(self.workers)) };
    }
}

#[cfg(test)]
mod tests;
