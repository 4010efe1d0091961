//! Waiting for any of several descriptors: what `poll`, `select` and `epoll_wait` come down to.
//!
//! The kernel is asked first, without waiting. If nothing is ready, each descriptor's words, as they were before that
//! call, are concluded to be dry, and the coroutine is listed with all of them; whatever event comes first wakes it, and
//! the kernel is asked again. So the answer is always the kernel's own.

use core::ptr;
use core::time::Duration;
use std::time::Instant;

use libc::{c_int, c_short, pollfd, sigset_t, timespec};

use super::hook::pass;
use super::slot::{Known, known_any};
use super::symbols::Symbol;
use super::turn;
use super::wait::{Direction, cancelled, check_identity, check_identity_later, number};
use crate::runtime::park::{Outcome, Reason, Waiter, park};
use crate::runtime::source::Seen;

/// One direction of one descriptor.
struct Watch {
    known: Known,
    direction: Direction,
    seen: Option<Seen>,
}

/// What a set of descriptors is waited for with.
pub(super) struct Watches {
    list: Vec<Watch>,
    /// Nothing tells of one of them, so the kernel is asked every now and then: a number beyond the table, or an epoll
    /// instance that is nested as deep as the kernel allows.
    blind: bool,
    /// Numbers may have changed owners without notice: see `check_identity`.
    unchecked: bool,
    checked: bool,
}

/// How often the kernel is asked about what nothing tells of.
const BLIND_STEP: Duration = Duration::from_millis(10);

impl Watches {
    /// Prepares to wait for `events` (as `poll` has them) of each descriptor.
    pub(super) fn new(wanted: impl Iterator<Item = (c_int, c_short)>) -> Self {
        let (mut list, mut blind) = (Vec::new(), false);
        for (fd, events) in wanted {
            let Some(known) = known_any(fd) else {
                blind |= fd >= 0;
                continue;
            };
            let writes = events & (libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) != 0;
            let reads = events & !(libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND) != 0;
            // Hang-ups and errors come without being asked for, in both directions.
            for (direction, is_wanted) in [(Direction::Read, reads || !writes), (Direction::Write, writes)] {
                if is_wanted {
                    list.push(Watch { known, direction, seen: None });
                }
            }
        }
        Self { list, blind, unchecked: false, checked: false }
    }

    /// Repeats `ask`, which never waits, until it says something other than 0, or the deadline has passed.
    pub(super) fn run(
        mut self,
        symbol: Symbol,
        deadline: Option<Instant>,
        mut ask: impl FnMut() -> isize,
    ) -> isize {
        let mut waited = false;
        loop {
            for watch in &mut self.list {
                watch.seen = watch.known.slot.source.ready(watch.direction);
            }
            let answer = ask();
            if answer != 0 {
                return answer;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                // A call of no time has not waited.
                return if waited { 0 } else { turn::give(symbol).err().unwrap_or(0) };
            }
            for watch in &self.list {
                if let Some(seen) = watch.seen {
                    watch.known.slot.source.exhausted(watch.direction, seen);
                }
            }
            self.check();
            let step = (self.blind || self.unchecked).then(|| Instant::now() + BLIND_STEP);
            let until = [deadline, step].into_iter().flatten().min();
            if let Err(error) = self.wait(symbol, until) {
                return error;
            }
            waited = true;
        }
    }

    /// Looks whether the numbers still stand for what is registered: most of them now, the rest after a step.
    fn check(&mut self) {
        if self.unchecked {
            self.list.iter().for_each(|watch| _ = check_identity_later(watch.known));
            self.unchecked = false;
            self.checked = true;
            return;
        }
        let all = self.list.iter().fold(true, |all, watch| check_identity(watch.known) & all);
        self.unchecked = !all && !self.checked;
    }

    /// Waits for the first event of any.
    fn wait(&mut self, symbol: Symbol, deadline: Option<Instant>) -> Result<(), isize> {
        symbol.count_park();
        let waiter = Waiter::open();
        let mut listed = 0;
        let mut at_once = Ok(false);
        for watch in &self.list {
            let enlisted = watch.known.slot.source.enlist(watch.direction, waiter);
            listed += 1;
            match enlisted {
                // Closed meanwhile: the kernel says what it thinks of it.
                Ok(dry) if !dry || !watch.known.is_current() => at_once = Ok(true),
                Ok(_) => continue,
                // Always ready, or never: epoll has no word for it, and the kernel has just been asked.
                Err(error) if error.raw_os_error() == Some(libc::EPERM) => continue,
                // The reactor's own instance would be one level too many. The kernel is asked after a step.
                Err(error) if error.raw_os_error() == Some(libc::ELOOP) && self.blind => continue,
                Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
                    self.blind = true;
                    at_once = Ok(true);
                }
                Err(error) => at_once = Err(number(&error)),
            }
            break;
        }
        let outcome = match at_once {
            Ok(false) => park(waiter, Reason::Io, 0, deadline),
            _ if waiter.retract() => Outcome::Notified,
            // Somebody has ended the wait already, and wakes: that is to be taken in.
            _ => park(waiter, Reason::Io, 0, None),
        };
        for watch in &self.list[..listed] {
            watch.known.slot.source.delist(watch.direction, waiter);
        }
        match (at_once, outcome) {
            (Err(error), _) => Err(error),
            (_, Outcome::Cancelled) => Err(cancelled()),
            _ => Ok(()),
        }
    }
}

/// The kernel's `ppoll`.
pub(super) fn ask_poll(list: *mut pollfd, count: usize, limit: *const timespec) -> isize {
    pass!(SYS_ppoll, list, count, limit, ptr::null::<sigset_t>(), 8usize)
}

/// A limit of no time.
pub(super) static AT_ONCE: timespec = timespec { tv_sec: 0, tv_nsec: 0 };
