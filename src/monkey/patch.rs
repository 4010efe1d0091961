//! Which groups of functions wait like coroutines, and turning them on.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

use super::symbols::ALL;
use super::{futex, gate, parker, self_test, signal};
use crate::runtime::{lock_waits, orphan};

/// The bits behind [`Patch`].
pub(super) mod group {
    pub(in crate::monkey) const SOCKETS: u32 = 1;
    pub(in crate::monkey) const TIME: u32 = 2;
    pub(in crate::monkey) const WAITING: u32 = 4;
    pub(in crate::monkey) const PIPES: u32 = 8;
    pub(in crate::monkey) const FILES: u32 = 16;
    pub(in crate::monkey) const NAMES: u32 = 32;
    pub(in crate::monkey) const CHILDREN: u32 = 64;
    pub(in crate::monkey) const LOCKS: u32 = 128;
}

/// A set of groups of libc functions.
///
/// # Examples
/// ```
/// use ropewalk::monkey::{self, Patch};
///
/// monkey::patch(Patch::TIME | Patch::SOCKETS)?;
/// ropewalk::spawn(|| std::thread::sleep(std::time::Duration::from_millis(1))).join().unwrap();
/// # Ok::<(), monkey::PatchError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Patch(u32);

impl Patch {
    /// TCP, UDP and Unix sockets.
    pub const SOCKETS: Self = Self(group::SOCKETS);
    /// Sleeping.
    pub const TIME: Self = Self(group::TIME);
    /// `poll`, `select`, `epoll_wait`, `sigwait` and their kin.
    pub const WAITING: Self = Self(group::WAITING);
    /// Pipes, terminals, eventfd, timerfd, signalfd, queues of messages, `flock`.
    pub const PIPES: Self = Self(group::PIPES);
    /// Regular files, and names in file systems.
    pub const FILES: Self = Self(group::FILES);
    /// Look-ups of names.
    pub const NAMES: Self = Self(group::NAMES);
    /// Waiting for child processes.
    pub const CHILDREN: Self = Self(group::CHILDREN);
    /// The locks of std, semaphores of C and of System V, joining and parking threads.
    pub const LOCKS: Self = Self(group::LOCKS);
    /// Everything.
    pub const ALL: Self = Self(255);

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    /// This set without the groups of another.
    ///
    /// # Examples
    /// ```
    /// use ropewalk::monkey::Patch;
    ///
    /// let rest = Patch::ALL.without(Patch::FILES);
    /// assert!(rest.contains(Patch::SOCKETS | Patch::LOCKS) && !rest.contains(Patch::FILES));
    /// ```
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Tells whether `other` is a part of this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Patch {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Patch {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 8] =
            ["SOCKETS", "TIME", "WAITING", "PIPES", "FILES", "NAMES", "CHILDREN", "LOCKS"];
        let named = NAMES.iter().enumerate().filter(|(bit, _)| self.0 >> bit & 1 != 0);
        f.write_str("Patch(")?;
        f.write_str(&named.map(|(_, name)| *name).collect::<Vec<_>>().join(" | "))?;
        f.write_str(")")
    }
}

/// Some functions of the program are not the ones of this crate, so that calls of them block their worker.
///
/// # Examples
/// ```
/// use ropewalk::monkey::{self, Patch};
///
/// if let Err(error) = monkey::patch(Patch::ALL) {
///     eprintln!("{error}"); // those that it names still block their worker
///     assert!(!error.inactive().is_empty());
/// }
/// assert!(monkey::status().iter().all(|symbol| symbol.is_active() || !symbol.reason().is_empty()));
/// ```
#[derive(Clone, Debug)]
pub struct PatchError {
    inactive: Vec<&'static str>,
    /// The process was forked after a runtime had started.
    is_orphan: bool,
}

impl PatchError {
    /// The names of the functions that do not arrive here.
    pub fn inactive(&self) -> &[&'static str] {
        &self.inactive
    }
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_orphan {
            return write!(f, "nothing can be replaced: {}", orphan::WHY);
        }
        let why = if cfg!(target_feature = "crt-static") {
            "a static program has its libc's functions for good; link it dynamically, against glibc"
        } else {
            "the program was linked in a way that libc's come first; link ropewalk into the executable itself, \
             dynamically against glibc"
        };
        write!(f, "calls of {} do not arrive: {why}", self.inactive.join(", "))
    }
}

impl core::error::Error for PatchError {}

/// Makes the calls of these groups wait like coroutines, when they run on one. It stays so; calling it
/// again adds groups. Never blocks.
///
/// What it asks of the program: other coroutines of the worker run while such a call waits, on the same thread. Code that
/// keeps a thing in a thread-local, waits, and takes it for granted that nobody else of the thread has been there, is
/// wrong under it; where `unsafe` code does so, as rayon's may, memory is at stake. README lists what is known of.
///
/// # Examples
/// ```
/// use ropewalk::monkey::{self, Patch};
/// use std::time::Duration;
///
/// monkey::patch(Patch::TIME)?;
/// let worker = ropewalk::Runtime::builder().workers(1).build().unwrap();
/// let sleeper = worker.spawn(|| std::thread::sleep(Duration::from_millis(20)));
/// let other = worker.spawn(|| "runs meanwhile");
/// assert_eq!(other.join().unwrap(), "runs meanwhile");
/// sleeper.join().unwrap();
/// # Ok::<(), monkey::PatchError>(())
/// ```
///
/// # Errors
/// [`PatchError`] names the functions that do not arrive here; the others are patched all the same. In a child that was
/// forked after a runtime had started, none is.
pub fn patch(groups: Patch) -> Result<(), PatchError> {
    if orphan::is_orphan() {
        let inactive = ALL.iter().filter(|symbol| symbol.groups() & groups.bits() != 0);
        return Err(PatchError { inactive: inactive.map(|symbol| symbol.text()).collect(), is_orphan: true });
    }
    signal::wrap_existing();
    let test = self_test::self_test();
    parker::install();
    lock_waits::install(lock_waits::Source { take: futex::take_long, has_some: futex::may_become_long });
    gate::patch_in(groups.bits());
    let inactive: Vec<_> = test.inactive_of(groups).collect();
    if inactive.is_empty() { Ok(()) } else { Err(PatchError { inactive, is_orphan: false }) }
}

/// Makes every replaced function wait like a coroutine, when it runs on one: as [`patch`] with [`Patch::ALL`].
///
/// # Errors
/// As for [`patch`].
///
/// # Examples
/// ```
/// use std::time::{Duration, Instant};
///
/// ropewalk::monkey::patch_all()?;
/// let began = Instant::now();
/// let nap = || ropewalk::spawn(|| std::thread::sleep(Duration::from_millis(50)));
/// ropewalk::join_all((0..100).map(|_| nap()));
/// assert!(began.elapsed() < Duration::from_secs(2));
/// # Ok::<(), ropewalk::monkey::PatchError>(())
/// ```
pub fn patch_all() -> Result<(), PatchError> {
    patch(Patch::ALL)
}
