//! The memory that a pool and its workers share: tasks that wait to be taken, and who has which.
//!
//! ```text
//! Header: head, ending
//! Post of each worker:  sleep │ task │ began
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
//! that is killed anywhere holds up nobody.
//!
//! A worker sleeps on `sleep` of its post: it sets the word, then looks at the ring; the parent puts, then
//! looks at the words (both SeqCst, so one of the two sees the other).
//!
//! Invariants:
//! * I1: the mapping has `len(workers)` bytes, zeros at first, and is touched through this type only.
//! * I2: the body of a slot is written by the parent while it is `FREE` at the parent's position, and read
//!   by the worker that has made it `TAKEN`.

use core::cell::UnsafeCell;
use core::mem;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::process::call::Call;
use crate::shm::region;
use crate::sys::{futex, memory};

const SLOTS: u64 = 256;
/// Bytes of arguments that lie in the slot itself; larger ones are asked for.
pub(super) const INLINE: usize = 208;

/// Set in a post's `task` by the parent: the worker is killed for it.
const CONDEMNED: u64 = 1 << 63;
/// What such a worker sleeps with.
const CONDEMNED_SLEEP: u32 = 2;

const FREE: u64 = 0;
const READY: u64 = 1;
const TAKEN: u64 = 2;

fn state(position: u64, worker: usize, kind: u64) -> u64 {
    position << 16 | (worker as u64) << 2 | kind
}

/// Tells whether a slot that was `seen` so has no task for the position yet: it is free, or a slow worker
/// still copies the task of the round before.
fn is_empty(seen: u64, position: u64) -> bool {
    seen >> 16 < position || seen == state(position, 0, FREE)
}

#[repr(C, align(64))]
struct Header {
    head: AtomicU64,
    ending: AtomicU32,
}

#[repr(C, align(64))]
struct Post {
    sleep: AtomicU32,
    /// The id of the task in the worker's hands; zero for none. Written by the worker.
    task: AtomicU64,
    /// When it was taken, in nanoseconds of the monotonic clock.
    began: AtomicU64,
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

/// Nanoseconds of the monotonic clock, which all processes share.
pub(super) fn now() -> u64 {
    crate::sys::thread::monotonic()
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

    fn post(&self, worker: usize) -> &Post {
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

    /// Puts a task at the parent's next `position`; false if the ring is full. Called by the parent, by one
    /// thread at a time.
    pub(super) fn put(&self, position: u64, body: &Body) -> bool {
        let slot = self.slot(position);
        // Acquire pairs with the Release of whoever has freed it: its copy was made before.
        if slot.state.load(Ordering::Acquire) != state(position, 0, FREE) {
            return false;
        }
        // SAFETY: free at this position, so nobody reads it (I2).
        unsafe { slot.body.get().write(mem::MaybeUninit::new(*body)) };
        // Release pairs with the Acquire in `take`: the body is written before.
        slot.state.store(state(position, 0, READY), Ordering::Release);
        true
    }

    /// Wakes one worker that sleeps, if there is one.
    pub(super) fn wake_one(&self) {
        fence(Ordering::SeqCst);
        let _ = (0..self.workers).any(|worker| self.wake(worker));
    }

    pub(super) fn wake_all(&self) {
        fence(Ordering::SeqCst);
        (0..self.workers).for_each(|worker| {
            self.wake(worker);
        });
    }

    fn wake(&self, worker: usize) -> bool {
        let sleep = &self.post(worker).sleep;
        // SeqCst: see the head of this file.
        let asleep = sleep.load(Ordering::SeqCst) == 1 && sleep.swap(0, Ordering::SeqCst) == 1;
        if asleep {
            futex::wake_shared(sleep, 1);
        }
        asleep
    }

    /// Takes the oldest task, in the name of a worker; `None` if there is none.
    pub(super) fn take(&self, worker: usize) -> Option<Body> {
        loop {
            // SeqCst: the look at the ring after `sleep` was set.
            let head = self.header().head.load(Ordering::SeqCst);
            let slot = self.slot(head);
            // SeqCst: as above; Acquire for the body.
            let seen = slot.state.load(Ordering::SeqCst);
            if is_empty(seen, head) {
                return None;
            }
            let taken = state(head, worker, TAKEN);
            // Acquire pairs with the Release in `put`.
            let won = seen == state(head, 0, READY)
                && slot.state.compare_exchange(seen, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            // Whoever has won, the slot of this head is taken now. Relaxed: a hint.
            let _ = self.header().head.compare_exchange(head, head + 1, Ordering::SeqCst, Ordering::Relaxed);
            if won {
                // SAFETY: this worker has taken it (I2).
                let body = unsafe { slot.body.get().read() };
                // SAFETY: the parent has written it before it was ready.
                let body = unsafe { body.assume_init() };
                let post = self.post(worker);
                // Relaxed: read after `task`.
                post.began.store(now(), Ordering::Relaxed);
                // Release pairs with the Acquire in `held` and `running`.
                post.task.store(body.id, Ordering::Release);
                // Release: the copy was made, and the post says which task, before.
                slot.state.store(state(head + SLOTS, 0, FREE), Ordering::Release);
                return Some(body);
            }
        }
    }

    /// Says that the worker has nothing in its hands: its result is sent. One that was condemned meanwhile
    /// waits here for the signal, so that it does not take another task with it.
    pub(super) fn done(&self, worker: usize, id: u64) {
        let post = self.post(worker);
        // Release: the result was sent before.
        while post.task.compare_exchange(id, 0, Ordering::Release, Ordering::Relaxed).is_err() {
            // Nobody sets this word while the worker does not sleep for a task.
            post.sleep.store(CONDEMNED_SLEEP, Ordering::SeqCst);
            futex::wait_shared(&post.sleep, CONDEMNED_SLEEP, None);
        }
    }

    /// Decides that a worker is to be killed for a task; false if it has nothing to do with it any more.
    pub(super) fn condemn(&self, worker: usize, id: u64) -> bool {
        let task = &self.post(worker).task;
        // Relaxed: nothing rides on it; the kill comes after.
        task.compare_exchange(id, id | CONDEMNED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Sleeps until there may be a task, or the end. Called by a worker.
    pub(super) fn sleep(&self, worker: usize) {
        let sleep = &self.post(worker).sleep;
        sleep.store(1, Ordering::SeqCst);
        let head = self.header().head.load(Ordering::SeqCst);
        let empty = is_empty(self.slot(head).state.load(Ordering::SeqCst), head);
        if empty && !self.is_ending() {
            futex::wait_shared(sleep, 1, None);
        }
        sleep.store(0, Ordering::SeqCst);
    }

    /// Lets the workers end when they find no task.
    pub(super) fn end(&self) {
        self.header().ending.store(1, Ordering::SeqCst);
        self.wake_all();
    }

    pub(super) fn is_ending(&self) -> bool {
        self.header().ending.load(Ordering::SeqCst) != 0
    }

    /// What a worker has in its hands, and since when.
    pub(super) fn running(&self, worker: usize) -> Option<(u64, u64)> {
        let post = self.post(worker);
        // Acquire pairs with the Release in `take`.
        let task = post.task.load(Ordering::Acquire);
        // Relaxed: written before `task`; a later task's is later, which does no harm.
        let task = task & !CONDEMNED;
        (task != 0).then(|| (task, post.began.load(Ordering::Relaxed)))
    }

    /// What a dead worker had in its hands; its post is vacant afterwards. Called by the parent.
    pub(super) fn bury(&self, worker: usize) -> Option<u64> {
        let mut held = self.running(worker).map(|(task, _)| task);
        for slot in self.slots() {
            // Acquire: what the dead has written; the kernel has told of its end.
            let seen = slot.state.load(Ordering::Acquire);
            if seen & 0xffff == state(0, worker, TAKEN) {
                // SAFETY: the worker that had taken it is dead, and others leave it alone (I2).
                let body = unsafe { slot.body.get().read() };
                // SAFETY: the parent has written it before it was ready.
                held = Some(unsafe { body.assume_init() }.id);
                // Release: as in `take`.
                slot.state.store(state((seen >> 16) + SLOTS, 0, FREE), Ordering::Release);
            }
        }
        self.post(worker).task.store(0, Ordering::Release);
        self.post(worker).sleep.store(0, Ordering::SeqCst);
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
mod tests {
    use super::*;

    fn body(id: u64) -> Body {
        Body { id, call: Call::new(|n: u8| n).unwrap(), len: 0, bytes: [0; INLINE] }
    }

    #[test]
    fn tasks_are_taken_in_order_and_once() {
        let board = Board::new(2).unwrap();
        assert!(crate::sys::shared::is_sealed(board.file()).unwrap());
        for position in 0..SLOTS {
            assert!(board.put(position, &body(position + 1)));
        }
        assert!(!board.put(SLOTS, &body(0)));
        for id in 1..=SLOTS {
            assert_eq!(board.take((id % 2) as usize).unwrap().id, id);
        }
        assert!(board.take(0).is_none() && board.put(SLOTS, &body(SLOTS + 1)));
        assert_eq!(board.take(1).unwrap().id, SLOTS + 1);
    }

    #[test]
    fn a_worker_that_dies_between_two_steps_holds_up_nobody() {
        let board = Board::new(2).unwrap();
        assert!(board.put(0, &body(7)) && board.put(1, &body(8)));
        // Dead right after the CAS: `head` has not moved, nor has the post been written.
        board.slot(0).state.store(state(0, 1, TAKEN), Ordering::SeqCst);
        assert_eq!(board.take(0).unwrap().id, 8);
        assert_eq!(board.bury(1), Some(7));
        assert_eq!(board.bury(1), None);
        assert!(board.put(SLOTS, &body(9)));
    }

    #[test]
    fn a_slow_worker_of_the_round_before_does_not_let_a_task_be_passed_over() {
        let board = Board::new(2).unwrap();
        assert!(board.put(0, &body(1)));
        board.slot(0).state.store(state(0, 1, TAKEN), Ordering::SeqCst);
        for position in 1..SLOTS {
            assert!(board.put(position, &body(position + 1)));
            assert_eq!(board.take(0).unwrap().id, position + 1);
        }
        assert!(board.take(0).is_none() && !board.put(SLOTS, &body(0)));
        board.slot(0).state.store(state(SLOTS, 0, FREE), Ordering::SeqCst);
        assert!(board.put(SLOTS, &body(9)));
        assert_eq!(board.take(0).unwrap().id, 9);
    }

    #[test]
    fn threads_that_take_at_once_share_all_tasks() {
        let board = Board::new(4).unwrap();
        let taken = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let (board, taken) = (&board, &taken);
                scope.spawn(move || {
                    loop {
                        match board.take(worker) {
                            Some(body) => taken.lock().unwrap().push(body.id),
                            None if board.is_ending() => return,
                            None => board.sleep(worker),
                        }
                    }
                });
            }
            let mut position = 0;
            while position < 20_000 {
                if board.put(position, &body(position + 1)) {
                    position += 1;
                    board.wake_one();
                }
            }
            board.end();
        });
        let mut taken = taken.into_inner().unwrap();
        taken.sort_unstable();
        assert!(taken.into_iter().eq(1..=20_000));
    }
}
