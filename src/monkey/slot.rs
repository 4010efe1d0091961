//! What is known of each descriptor number: its kind, its settings, and how to wait for it.
//!
//! ```text
//! TABLE ── fd / 1024 ──▶ page ── fd % 1024 ──▶ Slot { state, identity, source }
//! ```
//!
//! Pages and slots are made on first use and stay for ever, so a look-up is two loads and needs no lock. What
//! belongs to one open descriptor is in `state`, `generation << 32 | flags`; closing it moves to the next generation
//! with no flag set, and every conclusion about the old one is a CAS that then fails.
//!
//! The kernel keeps O_NONBLOCK and the timeouts at the open file description, which several descriptors, and several
//! processes, may share. So they are remembered only for sockets that were made by a replaced function and never
//! duplicated (`SOLE`); for all others the kernel is asked each time a call would block.
//!
//! A call that only tries, without waiting, exists for data (`MSG_DONTWAIT`, `RWF_NOWAIT`), so O_NONBLOCK is never set
//! for that. For `accept` there is none: see `accept`, which owns the flag `FORCED`.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use libc::c_int;

use super::from_handler::{self, Retired};
use super::gate;
use super::position::Position;
use crate::base::lock::Lock;
use crate::runtime::source::Source;

const PAGE: usize = 1024;
const PAGES: usize = 1024;

/// The lowest bits of the flags: a [`Kind`].
const KIND: u64 = 15;
/// Made by a replaced function, and never duplicated.
pub(super) const SOLE: u64 = 1 << 4;
/// `NONBLOCKING` is as the kernel has it.
pub(super) const FLAGS_KNOWN: u64 = 1 << 5;
/// The user has set O_NONBLOCK.
pub(super) const NONBLOCKING: u64 = 1 << 6;
/// There is no timeout for reading, for writing.
pub(super) const NO_TIMEOUT: [u64; 2] = [1 << 7, 1 << 8];
/// O_NONBLOCK is set for `accept`'s sake, and the user does not see it.
pub(super) const FORCED: u64 = 1 << 9;
/// Closing may wait until everything has gone out (`SO_LINGER`): the kernel knows. So it is for all but `SOLE` ones.
pub(super) const LINGERS: u64 = 1 << 10;
/// `SO_RCVLOWAT` is more than 1.
pub(super) const LOW_WATER: u64 = 1 << 11;
/// Whether writes go to the page cache has been found out.
pub(super) const WRITES_KNOWN: u64 = 1 << 12;
/// Writes go to the page cache of a file system of this machine.
pub(super) const BUFFERED: u64 = 1 << 13;
const FLAGS: u64 = u32::MAX as u64;

/// What a descriptor is, as far as waiting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Not looked at yet.
    Unknown = 0,
    /// A TCP socket, with nothing layered on it.
    Tcp = 1,
    /// Another stream of bytes: a Unix socket.
    Stream = 2,
    /// A socket of messages.
    Messages = 3,
    /// A pipe, an eventfd, a timerfd: `RWF_NOWAIT` tries, epoll tells when to try again.
    Pipe = 4,
    /// A terminal, a named pipe, a signalfd: epoll tells when, but no call only tries.
    Device = 5,
    /// A file on a disk.
    File = 6,
    /// What never blocks: files in memory, directories.
    Instant = 7,
    /// Another stream of the Internet's (MPTCP, SCTP, kTLS): as TCP, but a short read says nothing.
    InetStream = 8,
}

impl Kind {
    fn of(flags: u64) -> Self {
        use Kind::{Device, File, InetStream, Instant, Messages, Pipe, Stream, Tcp, Unknown};
        const KINDS: [Kind; 9] = [Unknown, Tcp, Stream, Messages, Pipe, Device, File, Instant, InetStream];
        KINDS.get((flags & KIND) as usize).copied().unwrap_or(Unknown)
    }

    pub(super) fn is_socket(self) -> bool {
        self.is_stream_socket() || self == Self::Messages
    }

    pub(super) fn is_stream_socket(self) -> bool {
        matches!(self, Self::Tcp | Self::InetStream | Self::Stream)
    }
}

/// What is known of one descriptor number.
pub(super) struct Slot {
    fd: c_int,
    state: AtomicU64,
    /// Device and inode of what `source` has registered, for descriptors that may be closed without our knowledge.
    pub(super) identity: AtomicU64,
    pub(super) source: Source,
    /// Until when a slow write counts: see `file`.
    pub(super) slow_until: AtomicU64,
    /// Held while O_NONBLOCK is changed underneath, and while a call relies on it. Not by signal handlers.
    pub(super) force: Lock<()>,
    /// For files: held while a read moves its data in pieces.
    pub(super) position: Position,
    /// Its place in the list of those that a signal handler has retired: see `from_handler`.
    pub(super) retired: Retired,
}

impl Slot {
    /// The number.
    pub(super) fn fd(&self) -> c_int {
        self.fd
    }
}

type Page = [AtomicPtr<Slot>; PAGE];

static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(ptr::null_mut()) }; PAGES];

/// A place for `fresh`, unless another thread has put one there; that then counts.
fn place<T>(entry: &AtomicPtr<T>, fresh: impl FnOnce() -> Box<T>) -> &'static T {
    let mut found = entry.load(Ordering::Acquire);
    if found.is_null() {
        let made = Box::into_raw(fresh());
        // Release: what is in it is written before; Acquire pairs with that of the other thread.
        found = match entry.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => {
                // SAFETY: it was not put there, so it is still this function's own.
                drop(unsafe { Box::from_raw(made) });
                other
            }
        };
    }
    // SAFETY: boxed, and never freed.
    unsafe { &*found }
}

fn split(fd: c_int) -> Option<(&'static AtomicPtr<Page>, usize)> {
    let number = usize::try_from(fd).ok()?;
    Some((TABLE.get(number / PAGE)?, number % PAGE))
}

/// The slot of a descriptor, if it has been used.
#[inline]
pub(super) fn find(fd: c_int) -> Option<&'static Slot> {
    let (page, index) = split(fd)?;
    // Acquire pairs with the Release in `place`, here and below.
    // SAFETY: null, or boxed and never freed.
    let page = unsafe { page.load(Ordering::Acquire).as_ref() }?;
    // SAFETY: as above.
    unsafe { page[index].load(Ordering::Acquire).as_ref() }
}

fn find_or_make(fd: c_int) -> Option<&'static Slot> {
    if let Some(slot) = find(fd) {
        return Some(slot);
    }
    let (page, index) = split(fd)?;
    let page = place(page, || Box::new([const { AtomicPtr::new(ptr::null_mut()) }; PAGE]));
    Some(place(&page[index], || {
        Box::new(Slot {
            fd,
            state: AtomicU64::new(0),
            identity: AtomicU64::new(0),
            source: Source::unsettled(fd),
            slow_until: AtomicU64::new(0),
            force: Lock::new(()),
            position: Position::new(),
            retired: Retired::new(),
        })
    }))
}

/// A descriptor as it was when a call began.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) slot: &'static Slot,
    generation: u64,
}

/// What is known of `fd`. `None` for standard input, output and error, which never park (std's lock of them is the
/// thread's, not the coroutine's), and for numbers beyond the table.
#[inline]
pub(super) fn known(fd: c_int) -> Option<Known> {
    if (0..3).contains(&fd) { None } else { known_any(fd) }
}

/// As [`known`], standard input, output and error as well: they can be waited for.
#[inline]
pub(super) fn known_any(fd: c_int) -> Option<Known> {
    let slot = find_or_make(fd)?;
    // Acquire pairs with the AcqRel of `retire`.
    Some(Known { slot, generation: slot.state.load(Ordering::Acquire) >> 32 })
}

impl Known {
    pub(super) fn fd(self) -> c_int {
        self.slot.fd
    }

    /// Tells whether the descriptor is still the one the call began with.
    #[inline]
    pub(super) fn is_current(self) -> bool {
        // Acquire: as in `known`.
        self.slot.state.load(Ordering::Acquire) >> 32 == self.generation
    }

    /// The flags now.
    #[inline]
    pub(super) fn flags(self) -> u64 {
        // Relaxed: settings.
        self.slot.state.load(Ordering::Relaxed) & FLAGS
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match Kind::of(self.flags()) {
            Kind::Unknown => super::kind::find_out(self),
            kind => kind,
        }
    }

    /// Changes flags, unless the descriptor has been closed since.
    pub(super) fn update(self, clear: u64, set: u64) {
        let change = |state: u64| (state >> 32 == self.generation).then_some(state & !clear | set);
        // Relaxed: settings, and a generation that has moved on makes it fail.
        let _ = self.slot.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    /// Tells whether it is a stream of the Internet's, as far as anybody has looked.
    pub(super) fn is_inet_stream(self) -> bool {
        matches!(Kind::of(self.flags()), Kind::Tcp | Kind::InetStream)
    }

    pub(super) fn set_kind(self, kind: Kind) {
        self.update(KIND, kind as u64);
    }
}

/// Forgets what was known of `fd`, because it is about to be closed, or has just been made. Whoever waits on it is
/// woken, and finds it gone. A signal handler has somebody else wake them.
pub(super) fn retire(fd: c_int) {
    let Some(slot) = find(fd) else { return };
    // AcqRel pairs with the Acquire in `known` and `is_current`.
    let next = |state: u64| Some(((state >> 32).wrapping_add(1) & FLAGS) << 32);
    let _ = slot.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
    slot.position.forget();
    if gate::in_handler() {
        from_handler::leave_later(slot);
    } else {
        from_handler::leave_overdue();
        slot.source.leave();
    }
}

/// Forgets what was known of a range of numbers.
pub(super) fn retire_range(first: u32, last: u32) {
    let (first, end) = (first as usize, (last as usize).saturating_add(1).min(PAGE * PAGES));
    for (index, page) in TABLE.iter().enumerate().skip(first / PAGE) {
        let start = index * PAGE;
        if start >= end {
            return;
        }
        // Acquire: as in `find`.
        if !page.load(Ordering::Acquire).is_null() {
            (start.max(first)..(start + PAGE).min(end)).for_each(|number| retire(number as c_int));
        }
    }
}

/// Takes in a descriptor that a replaced function has just made.
pub(super) fn adopt(fd: c_int, flags: u64) {
    retire(fd);
    // A handler may have interrupted the allocator, so it makes no slot; what is not in the table is looked at.
    if !gate::in_handler() || find(fd).is_some() {
        known(fd).into_iter().for_each(|known| known.update(0, flags));
    }
}

/// Says that several descriptors may share what the kernel keeps for `fd`.
pub(super) fn share(fd: c_int) {
    if find(fd).is_some()
        && let Some(known) = known(fd)
    {
        // First: without it nobody forces the listener again.
        known.update(SOLE | FLAGS_KNOWN | NO_TIMEOUT[0] | NO_TIMEOUT[1], 0);
        super::accept::release(known);
    }
}

/// As [`share`], for every listener that is non-blocking for the coroutines' sake: the process is about to fork.
pub(super) fn share_forced() {
    share_those_with(FORCED);
}

/// As [`share`], for all: the process was forked.
pub(super) fn share_all() {
    share_those_with(FLAGS);
}

fn share_those_with(flags: u64) {
    for page in &TABLE {
        // Acquire pairs with the Release in `place`, here and below.
        // SAFETY: null, or boxed and never freed.
        let Some(page) = (unsafe { page.load(Ordering::Acquire).as_ref() }) else { continue };
        for slot in page {
            // SAFETY: as above.
            let Some(slot) = (unsafe { slot.load(Ordering::Acquire).as_ref() }) else { continue };
            // Relaxed: one that is forced from now on is the next fork's.
            if slot.state.load(Ordering::Relaxed) & flags != 0 {
                share(slot.fd);
            }
        }
    }
}

/// What is known of `fd`, if anything is.
pub(super) fn known_already(fd: c_int) -> Option<Known> {
    find(fd).and_then(|_| known_any(fd))
}
