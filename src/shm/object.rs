//! An object in shared memory: who uses it, and what happens when one of them dies.
//!
//! ```text
//! | header: magic, kind, joined, members [pid+start; 500] | body: words of the object | ring, mapped twice |
//! ```
//!
//! A member slot:
//!
//! | from | to | who | when |
//! |---|---|---|---|
//! | 0 | `p` | process `p` | it maps the object |
//! | `p` | 0 | `p` | its last handle is dropped |
//! | `p` | 0 | any process | `p` is dead, and its locks are marked |
//!
//! Invariants:
//! * O1: who sleeps for an event watches every other member that joined before it last looked at the state;
//!   one that joins later wakes all who sleep (`join`, `wait`). The two sides:
//!
//!   | who joins | who waits |
//!   |---|---|
//!   | takes a slot, raises `joined` | sets the event's bit (`prepare`) |
//!   | looks at the events' bits, wakes all | looks at `joined`, and watches who is new |
//!
//! * O2: after a death, first the locks are marked, then the slots are freed, then all who wait are woken.
//!   Every watcher does all of it; a second time changes nothing, because no two processes have one name.
//! * O3: after a death, memory holds what the dead process had done up to some instruction, in program
//!   order: its stores are `Release` or stronger where the order counts, and nothing is half an instruction.
//!
//! * O4: who does not sleep, and goes by what another member holds, buries the dead before it gives up
//!   (`look_for_deaths`): an attempt that comes after a death finds what that has left.
//!
//! * O5: a process that is killed while it joins or leaves may be watched by nobody. The wake that it owed is
//!   `PENDING` in the word then, and comes with the next event (`base::event_word`).
//!
//! From O1, O2 and O5: no party of a living process sleeps on because another process was killed between taking
//! a wake and acting on it, or between changing the state and waking: the death, or the next event, wakes all.

use core::any::Any;
use core::fmt;
use core::marker::PhantomData;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::event::{self, Events, notify_all};
use super::forked;
use super::identity::Identity;
use super::region::Region;
use super::watch::{self, Mourner};
use crate::base::event_word::EventWord;
use crate::base::lock::Lock;
use crate::base::notice;
use crate::sys::shared;

/// The most processes that may share one object.
pub(crate) const MEMBERS: usize = 500;
/// "ropewalk", as a number; changes with the layout.
const MAGIC: u64 = u64::from_le_bytes(*b"ropewlk2");
/// How long a wait lasts at once while a member cannot be watched.
const NAP: Duration = Duration::from_millis(50);

#[repr(C)]
struct Header {
    magic: AtomicU64,
    kind: AtomicU32,
    /// Counts members that have joined.
    joined: AtomicU32,
    /// Bytes of the body.
    body: AtomicU64,
    members: [AtomicU64; MEMBERS],
}

/// The words of a kind of object.
///
/// # Safety
/// * `repr(C)`, made of atomics and plain bytes in `UnsafeCell`s only; all zeros is a value, and so is
///   anything else.
/// * Its alignment is at most 128.
pub(crate) unsafe trait Body: Sized + Send + Sync + 'static {
    /// A number that no other kind has.
    const KIND: u32;
    /// How many events it has.
    const EVENTS: usize;
    /// The event with this number, below [`EVENTS`](Self::EVENTS).
    fn event(&self, index: usize) -> &EventWord;
    /// Marks the locks that process `dead` holds.
    fn orphan(&self, dead: u64);
    /// Settles what former members have left in the slot that is this process's now. Nobody else of this process
    /// has the object yet.
    fn begin(_: &Arc<Object<Self>>) {}
}

/// A body in shared memory, and this process's membership.
pub(crate) struct Object<B: Body> {
    region: Region,
    own: Identity,
    slot: usize,
    /// `joined` when the members were last looked at, and whether all of them are watched.
    watched: Lock<(u32, bool)>,
    body: PhantomData<B>,
}

// What a panic may leave half done is behind locks that say so.
impl<B: Body> RefUnwindSafe for Object<B> {}
impl<B: Body> UnwindSafe for Object<B> {}

impl<B: Body> fmt::Debug for Object<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("kind", &B::KIND).field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Objects that this process has mapped, by device and inode: one mapping for each.
static OBJECTS: Lock<Option<Mapped>> = Lock::new(None);
type Mapped = HashMap<(u64, u64), Weak<dyn Any + Send + Sync>>;

impl<B: Body> Object<B> {
    const BODY_AT: usize = size_of::<Header>().next_multiple_of(128);

    fn head_len() -> usize {
        const { assert!(align_of::<B>() <= 128) };
        (Self::BODY_AT + size_of::<B>()).next_multiple_of(shared::page_len())
    }

    /// Makes an object of zeros, which `begin` fills, with a ring of that many bytes (whole pages).
    pub(crate) fn create(ring: usize, begin: impl FnOnce(&B)) -> io::Result<Arc<Self>> {
        let region = Region::with_ring(Self::head_len(), ring)?;
        let (device, inode, _) = shared::file_key(region.file())?;
        let object = Self::unjoined(region)?;
        let header = object.header();
        // Relaxed throughout: nobody else can have the descriptor yet.
        header.kind.store(B::KIND, Ordering::Relaxed);
        header.body.store(size_of::<B>() as u64, Ordering::Relaxed);
        begin(object.body());
        header.magic.store(MAGIC, Ordering::Relaxed);
        object.enter((device, inode))
    }

    /// Maps the object that a descriptor is of, or finds the mapping there is.
    ///
    /// # Errors
    /// `InvalidData` if it is not an object of this kind; or what the kernel says.
    pub(crate) fn open(file: OwnedFd) -> io::Result<Arc<Self>> {
        let (device, inode, len) = shared::file_key(file.as_fd())?;
        let known = OBJECTS.lock().as_ref().and_then(|objects| objects.get(&(device, inode))?.upgrade());
        if let Some(known) = known {
            let known: Arc<Self> = known.downcast().map_err(|_| misfit())?;
            if known.is_own() {
                return Ok(known);
            }
        }
        if len < Self::head_len() {
            return Err(misfit());
        }
        let object = Self::unjoined(Region::from_file(file, Self::head_len())?)?;
        let header = object.header();
        // Relaxed: written before the descriptor was given away.
        let seen = (
            header.magic.load(Ordering::Relaxed),
            header.kind.load(Ordering::Relaxed),
            header.body.load(Ordering::Relaxed),
        );
        if seen != (MAGIC, B::KIND, size_of::<B>() as u64) {
            return Err(misfit());
        }
        object.enter((device, inode))
    }

    fn unjoined(region: Region) -> io::Result<Self> {
        let watched = Lock::new((0, false));
        forked::arm();
        Ok(Self { region, own: Identity::own()?, slot: usize::MAX, watched, body: PhantomData })
    }

    /// Joins, and lists the mapping; gives the one that another thread has listed meanwhile, if so.
    fn enter(mut self, key: (u64, u64)) -> io::Result<Arc<Self>> {
        self.slot = self.join()?;
        let own = Arc::new(self);
        B::begin(&own);
        let mut objects = OBJECTS.lock();
        let objects = objects.get_or_insert_default();
        let other = objects.get(&key).and_then(Weak::upgrade).and_then(|other| other.downcast().ok());
        if let Some(other) = other.filter(|other: &Arc<Self>| other.is_own()) {
            return Ok(other);
        }
        objects.retain(|_, object| object.strong_count() > 0);
        let weak: Weak<Self> = Arc::downgrade(&own);
        objects.insert(key, weak);
        Ok(own)
    }

    /// Tells whether this process has mapped it: a handle that a fork has copied is still its parent's.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        forked::is_process(self.own.pid())
    }

    fn header(&self) -> &Header {
        let place = self.region.at(0, size_of::<Header>()).cast();
        // SAFETY: mapped for as long as the region, aligned to a page, and made of atomics.
        unsafe { place.as_ref() }
    }

    /// The object's words.
    #[inline]
    pub(crate) fn body(&self) -> &B {
        let place = self.region.at(Self::BODY_AT, size_of::<B>()).cast();
        // SAFETY: mapped for as long as the region, aligned, and a body can be any bytes.
        unsafe { place.as_ref() }
    }

    /// The address of `count` bytes of the ring from `at`, which is below its length; they are contiguous.
    #[inline]
    pub(crate) fn ring(&self, at: usize, count: usize) -> ptr::NonNull<u8> {
        self.region.at(Self::head_len() + at, count)
    }

    /// Bytes of the ring.
    pub(crate) fn ring_len(&self) -> usize {
        self.region.len() - Self::head_len()
    }

    /// The descriptor, to be sent to another process.
    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.region.file()
    }

    /// The calling process's name.
    #[inline]
    pub(crate) fn own(&self) -> u64 {
        self.own.raw()
    }

    /// The calling process's slot among the members.
    #[inline]
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Tells whether a slot is free: its member has left, or is dead and buried.
    pub(crate) fn is_vacant(&self, slot: usize) -> bool {
        // Acquire pairs with the Release of whoever has freed it.
        self.header().members[slot].load(Ordering::Acquire) == 0
    }

    /// The processes that use it. One that is dead is none, buried or not.
    pub(crate) fn member_pids(&self) -> Vec<u32> {
        let members = self.header().members.iter();
        // Relaxed: a look.
        let members = members.filter_map(|slot| Identity::from_raw(slot.load(Ordering::Relaxed)));
        members.filter(|member| !member.is_gone()).map(Identity::pid).collect()
    }

    fn join(&self) -> io::Result<usize> {
        let header = self.header();
        for _ in 0..2 {
            for (index, slot) in header.members.iter().enumerate() {
                // AcqRel: pairs with whoever has freed the slot, and with who reads the member.
                let taken =
                    slot.compare_exchange(0, self.own.raw(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
                if taken {
                    // SeqCst: before the look at the events (O1).
                    header.joined.fetch_add(1, Ordering::SeqCst);
                    (0..B::EVENTS).for_each(|index| notify_all(self.body().event(index)));
                    return Ok(index);
                }
            }
            for slot in &header.members {
                let raw = slot.load(Ordering::Acquire);
                match Identity::from_raw(raw) {
                    Some(member) if member.is_gone() => self.bury(member),
                    Some(_) => {}
                    // Never written by a member.
                    None => slot.store(0, Ordering::Release),
                }
            }
        }
        let text = format!("{MEMBERS} processes share this object already; that is the limit");
        Err(io::Error::new(io::ErrorKind::QuotaExceeded, text))
    }

    /// Has every other member watched; false if one cannot be.
    fn watch_members(self: &Arc<Self>) -> bool {
        // SeqCst: after `prepare` (O1).
        let joined = self.header().joined.load(Ordering::SeqCst);
        let (seen, complete) = *self.watched.lock();
        if seen == joined && complete {
            return true;
        }
        self.watch_new(joined)
    }

    #[cold]
    fn watch_new(self: &Arc<Self>, joined: u32) -> bool {
        let mourner: Arc<dyn Mourner> = self.clone();
        let (mut complete, told) = (true, self.watched.lock().0 == joined);
        for slot in &self.header().members {
            // Acquire pairs with the AcqRel in `join`.
            let Some(member) = Identity::from_raw(slot.load(Ordering::Acquire)) else { continue };
            if member == self.own {
                continue;
            }
            if let Err(error) = watch::watch(member, &mourner) {
                // Once: whoever only tries may come here again and again.
                let level = if told { log::Level::Debug } else { log::Level::Warn };
                notice::tell!(level, "process {} cannot be watched for its end: {error}", member.pid());
                complete = false;
            }
        }
        *self.watched.lock() = (joined, complete);
        complete
    }

    /// Sleeps for an event whose word was `key`, at most until `deadline`. False if that has come; the caller
    /// looks at the state again either way. A cancellation point.
    pub(crate) fn wait(self: &Arc<Self>, index: usize, key: u32, deadline: Option<Instant>) -> bool {
        let all_watched = self.watch_members();
        let events: Arc<dyn Events> = self.clone();
        if all_watched {
            return event::wait(&events, index, key, deadline);
        }
        // Not to hang on the death of one that cannot be watched: look again from time to time.
        let soon = Instant::now() + NAP;
        event::wait(&events, index, key, Some(deadline.map_or(soon, |deadline| deadline.min(soon))));
        self.bury_gone();
        deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// Buries every member that has died before this call, for who does not sleep: nobody else may do it. Never waits.
    #[cold]
    pub(crate) fn look_for_deaths(self: &Arc<Self>) {
        if self.watch_members() { watch::look() } else { self.bury_gone() }
    }

    fn bury_gone(&self) {
        for slot in &self.header().members {
            if let Some(member) = Identity::from_raw(slot.load(Ordering::Acquire))
                && member.is_gone()
            {
                self.bury(member);
            }
        }
    }
}

impl<B: Body> Events for Object<B> {
    fn event(&self, index: usize) -> &EventWord {
        self.body().event(index)
    }
}

impl<B: Body> Mourner for Object<B> {
    fn bury(&self, dead: Identity) {
        // The order is O2's.
        self.body().orphan(dead.raw());
        for slot in &self.header().members {
            // AcqRel: pairs with `is_vacant` and `join`: the locks are marked before.
            let _ = slot.compare_exchange(dead.raw(), 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        (0..B::EVENTS).for_each(|index| notify_all(self.body().event(index)));
    }
}

impl<B: Body> Drop for Object<B> {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        if let Some(slot) = self.header().members.get(self.slot) {
            // Release pairs with `is_vacant`: what this process did comes before.
            let _ = slot.compare_exchange(self.own.raw(), 0, Ordering::Release, Ordering::Relaxed);
            (0..B::EVENTS).for_each(|index| notify_all(self.body().event(index)));
        }
        watch::tidy();
    }
}

fn misfit() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the descriptor is of another kind of shared object")
}
