//! Results on their way to the parent: a ring of bytes for each worker, and whether the parent is to be woken.
//!
//! ```text
//! Bell:                 asleep │ prompt
//! Box of each worker:   tail │ head │ bytes, a ring of records:  id │ length │ reply, padded to 8
//! ```
//!
//! The worker writes a record outside of `head..tail` and then moves `tail`; the parent reads what is inside
//! and then moves `head`. So a worker that is killed leaves whole records, and its successor goes on there.
//! What does not fit, or has descriptors, goes through the worker's channel.
//!
//! **The bell** is an eventfd that workers ring. `asleep` is set by a party of the parent before it looks at
//! the boxes for the last time and sleeps, and reset by the worker that rings. While somebody waits for a
//! result, or is to be called with one, `prompt` is not zero, and every result rings; otherwise it is enough
//! to ring when there are many, or nothing is left to do.
//!
//! | worker | parent |
//! |---|---|
//! | moves `tail` | sets `asleep` |
//! | looks at `asleep`, and rings | looks at the boxes, and sleeps |
//!
//! A worker that is killed after it has reset `asleep` and before it rings is buried, and then the parent looks
//! at all boxes.
//!
//! Invariants:
//! * B1: `head <= tail <= head + RING`, both multiples of 8; the bytes between them are whole records.
//! * B2: `tail` is moved by the one worker at the post, `head` by the parent's holder of `pump`.

use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::shm::Region;

/// Bytes of a worker's ring: some hundred small results.
const RING: usize = 16 * 1024;
/// As many bytes ring the bell although nobody waits.
const MANY: u64 = RING as u64 / 2;
/// Bytes before a reply: its task, its length.
const HEAD: usize = 16;

#[repr(C, align(128))]
struct Bell {
    asleep: AtomicU32,
    prompt: AtomicU32,
}

#[repr(C, align(128))]
struct Cursor(AtomicU64);

#[repr(C)]
struct Ends {
    tail: Cursor,
    head: Cursor,
}

/// The shared memory, as one process has it mapped.
#[derive(Debug)]
pub(super) struct Outboxes {
    region: Region,
    workers: usize,
    /// Whose box this process does not look at for now.
    hidden: AtomicUsize,
    /// What is no record was found, and nobody has said so yet.
    damaged: AtomicBool,
}

/// No worker.
const NOBODY: usize = usize::MAX;

const fn padded(len: usize) -> usize {
    HEAD + len.next_multiple_of(8)
}

impl Outboxes {
    fn len(workers: usize) -> usize {
        size_of::<Bell>() + workers * (size_of::<Ends>() + RING)
    }

    /// Makes the memory, for the parent.
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        Ok(Self::of(Region::new(Self::len(workers))?, workers))
    }

    /// Maps the memory that the parent has made.
    pub(super) fn open(file: OwnedFd, workers: usize) -> io::Result<Self> {
        let region = Region::from_file(file, 0)?;
        if region.len() < Self::len(workers) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the memory for results is too short"));
        }
        Ok(Self::of(region, workers))
    }

    fn of(region: Region, workers: usize) -> Self {
        Self { region, workers, hidden: AtomicUsize::new(NOBODY), damaged: AtomicBool::new(false) }
    }

    /// Tells, once, that a box was damaged.
    pub(super) fn take_damage(&self) -> bool {
        // Relaxed: set and read by holders of `pump`.
        self.damaged.load(Ordering::Relaxed) && self.damaged.swap(false, Ordering::Relaxed)
    }

    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.region.file()
    }

    fn bell(&self) -> &Bell {
        let place = self.region.at(0, size_of::<Bell>()).cast();
        // SAFETY: mapped as long as `self`, at a page's beginning; atomics, for which any bytes are a value.
        unsafe { place.as_ref() }
    }

    /// Where a worker's box begins.
    fn offset(&self, worker: usize) -> usize {
        assert!(worker < self.workers);
        size_of::<Bell>() + worker * (size_of::<Ends>() + RING)
    }

    fn ends(&self, worker: usize) -> &Ends {
        let place = self.region.at(self.offset(worker), size_of::<Ends>()).cast();
        // SAFETY: mapped as long as `self`; all sizes before it are multiples of 128; atomics, as above.
        unsafe { place.as_ref() }
    }

    /// Where the byte at a cursor lies, and how many follow before the ring begins again.
    fn place(&self, worker: usize, cursor: u64) -> (*mut u8, usize) {
        let at = cursor as usize % RING;
        let start = self.offset(worker) + size_of::<Ends>();
        (self.region.at(start + at, RING - at).as_ptr(), RING - at)
    }

    /// Copies bytes into the ring.
    ///
    /// # Safety
    /// * The caller is the worker, and `cursor..cursor + len` lies outside of `head..tail` (B1).
    unsafe fn write(&self, worker: usize, cursor: u64, bytes: &[u8]) {
        let (place, room) = self.place(worker, cursor);
        let (first, second) = bytes.split_at(bytes.len().min(room));
        // SAFETY: mapped, and the caller's alone; a slice of safe code does not lie in it.
        unsafe { ptr::copy_nonoverlapping(first.as_ptr(), place, first.len()) };
        let (begin, _) = self.place(worker, 0);
        // SAFETY: as above; what is left is less than the ring, since a record is.
        unsafe { ptr::copy_nonoverlapping(second.as_ptr(), begin, second.len()) };
    }

    /// Copies bytes out of the ring.
    ///
    /// # Safety
    /// * The caller is the parent's holder of `pump`, and `cursor..cursor + len` lies in `head..tail` (B1).
    unsafe fn read(&self, worker: usize, cursor: u64, into: &mut [u8]) {
        let (place, room) = self.place(worker, cursor);
        let middle = into.len().min(room);
        let (first, second) = into.split_at_mut(middle);
        // SAFETY: mapped, and nobody writes there.
        unsafe { ptr::copy_nonoverlapping(place, first.as_mut_ptr(), first.len()) };
        let (begin, _) = self.place(worker, 0);
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(begin, second.as_mut_ptr(), second.len()) };
    }

    /// Puts the reply to a task; false if there is no room for it. By the worker.
    pub(super) fn put(&self, worker: usize, id: u64, reply: &[u8]) -> bool {
        let ends = self.ends(worker);
        // Relaxed: this worker alone writes it (B2). Acquire pairs with the Release in `take`: what was
        // there has been read.
        let (tail, head) = (ends.tail.0.load(Ordering::Relaxed), ends.head.0.load(Ordering::Acquire));
        let free = (RING as u64).saturating_sub(tail.wrapping_sub(head));
        if reply.len() > RING || padded(reply.len()) as u64 > free {
            return false;
        }
        let mut first = [0; HEAD];
        first[..8].copy_from_slice(&id.to_ne_bytes());
        first[8..].copy_from_slice(&(reply.len() as u64).to_ne_bytes());
        // SAFETY: the record fits behind the tail.
        unsafe { self.write(worker, tail, &first) };
        // SAFETY: as above.
        unsafe { self.write(worker, tail + HEAD as u64, reply) };
        // Release pairs with the Acquire in `take`: the record is written before.
        ends.tail.0.store(tail + padded(reply.len()) as u64, Ordering::Release);
        true
    }

    /// What a worker leaves that is killed in the middle of a record.
    #[cfg(test)]
    fn put_half(&self, worker: usize) {
        let tail = self.ends(worker).tail.0.load(Ordering::SeqCst);
        // SAFETY: behind the tail, with room.
        unsafe { self.write(worker, tail, b"half a record ...") };
    }

    /// Takes what a worker has put, and tells how many replies. By the parent's holder of `pump`.
    pub(super) fn take(&self, worker: usize, mut each: impl FnMut(u64, Vec<u8>)) -> usize {
        let ends = self.ends(worker);
        // Relaxed: only holders of `pump` write it (B2). Acquire pairs with the Release in `put`.
        let (mut head, tail) = (ends.head.0.load(Ordering::Relaxed), ends.tail.0.load(Ordering::Acquire));
        let (mut count, mut damaged) = (0, false);
        if self.is_hidden(worker) {
            return count;
        }
        while head != tail {
            let left = tail.wrapping_sub(head);
            let mut first = [0; HEAD];
            // SAFETY: records are whole (B1); and within the ring whatever the cursors say.
            unsafe { self.read(worker, head, &mut first) };
            let [id, len] =
                [0, 8].map(|at| u64::from_ne_bytes(first[at..at + 8].try_into().unwrap_or_default()));
            if left > RING as u64 || len > left || padded(len as usize) as u64 > left {
                damaged = true;
                head = tail;
                break;
            }
            let mut reply = vec![0; len as usize];
            // SAFETY: as above.
            unsafe { self.read(worker, head + HEAD as u64, &mut reply) };
            head += padded(reply.len()) as u64;
            count += 1;
            each(id, reply);
        }
        if count > 0 || damaged {
            // Release pairs with the Acquire in `put`: the records were read before.
            ends.head.0.store(head, Ordering::Release);
        }
        if damaged {
            // Relaxed: read by the same holder of `pump`.
            self.damaged.store(true, Ordering::Relaxed);
        }
        count
    }

    fn used(&self, worker: usize) -> u64 {
        let ends = self.ends(worker);
        // SeqCst: the look after `asleep` was set, or before it is looked at.
        ends.tail.0.load(Ordering::SeqCst).wrapping_sub(ends.head.0.load(Ordering::SeqCst))
    }

    /// Tells whether a reply waits to be taken.
    pub(super) fn any(&self) -> bool {
        (0..self.workers).any(|worker| self.used(worker) > 0 && !self.is_hidden(worker))
    }

    /// Asked after a box was looked at: what a new worker has put there is not taken before it is shown.
    fn is_hidden(&self, worker: usize) -> bool {
        self.hidden.load(Ordering::SeqCst) == worker
    }

    /// Leaves the replies of one worker where they are, until [`show`](Self::show): it may have some before its
    /// start has returned, and nobody knows its pid.
    pub(super) fn hide(&self, worker: usize) {
        self.hidden.store(worker, Ordering::SeqCst);
    }

    /// Takes a [`hide`](Self::hide) back. Then the bell is to be rung.
    pub(super) fn show(&self) {
        self.hidden.store(NOBODY, Ordering::SeqCst);
    }

    /// Says that the parent is about to sleep; it looks at the boxes after that.
    pub(super) fn arm(&self) {
        self.bell().asleep.store(1, Ordering::SeqCst);
    }

    /// Says that a party of the parent is awake, and will arm.
    pub(super) fn disarm(&self) {
        self.bell().asleep.store(0, Ordering::SeqCst);
    }

    /// Says that one more party of the parent's wants to know of each result at once.
    pub(super) fn want(&self) {
        self.bell().prompt.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a [`want`](Self::want) back.
    pub(super) fn unwant(&self) {
        self.bell().prompt.fetch_sub(1, Ordering::SeqCst);
    }

    /// Tells whether a worker is to ring now that it has put a reply, or, `idle`, found no task.
    pub(super) fn must_ring(&self, worker: usize, idle: bool) -> bool {
        // Between the move of the tail and the look; the parent's side is SeqCst.
        fence(Ordering::SeqCst);
        let bell = self.bell();
        // Relaxed: the fence orders it.
        if bell.asleep.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let wanted = if idle {
            self.any()
        } else {
            bell.prompt.load(Ordering::SeqCst) > 0 || self.used(worker) >= MANY
        };
        wanted && bell.asleep.swap(0, Ordering::SeqCst) == 1
    }
}

#[cfg(test)]
mod tests;
