//! `poll`, `ppoll`, `select`, `pselect`.
//!
//! A call that changes the signal mask while it waits is made by another thread: a mask is a thread's, and others of the
//! worker would have it too. Before that it is made here once without waiting, so that a signal which is pending for the
//! worker's own thread is handled, and ends the call, as it should.

use core::time::Duration;
use std::time::Instant;

use libc::{c_int, c_short, fd_set, nfds_t, pollfd, sigset_t, timespec, timeval};

use super::errno::{self, raw};
use super::hook::{hook, pass};
use super::lent::Lent;
use super::offload::offload;
use super::ready::{AT_ONCE, Watches, ask_poll};
use super::symbols::Symbol;
use super::time::{instant_after, timespec_of};
use crate::runtime::far;

/// A limit as C gives it: none, or a deadline; `Err` if it is not a valid one.
///
/// # Safety
/// * `limit` is null or the caller's.
pub(super) unsafe fn deadline(limit: *const timespec) -> Result<Option<Instant>, isize> {
    // SAFETY: the caller's duty.
    match unsafe { limit.as_ref() } {
        None => Ok(None),
        Some(limit) => instant_after(*limit).map(Some).ok_or(raw(libc::EINVAL)),
    }
}

/// A limit in milliseconds: none if it is negative.
pub(super) fn deadline_millis(millis: c_int) -> Option<Instant> {
    u64::try_from(millis).ok().map(|millis| far::after(Duration::from_millis(millis)))
}

/// More descriptors than the largest table has.
const MANY: nfds_t = 1 << 20;

/// # Safety
/// * The list is the caller's, and has that many.
unsafe fn poll_parking(symbol: Symbol, list: *mut pollfd, count: nfds_t, until: Option<Instant>) -> isize {
    let all: &[pollfd] = if list.is_null() || count > MANY {
        // Refused, or too long to wait for: the kernel says which.
        match ask_poll(list, count as usize, &raw const AT_ONCE) {
            0 if count == 0 => &[],
            0 => {
                let lent = Lent((list, count));
                return offload(symbol, || {
                    let (list, count) = lent.get();
                    let left =
                        until.map(|until| timespec_of(until.saturating_duration_since(Instant::now())));
                    ask_poll(
                        list,
                        count as usize,
                        left.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
                    )
                });
            }
            answer => return answer,
        }
    } else {
        // SAFETY: the caller's duty; what is read is copied before anything else happens.
        unsafe { core::slice::from_raw_parts(list, count as usize) }
    };
    let watches = Watches::new(all.iter().map(|entry| (entry.fd, entry.events)));
    watches.run(symbol, until, || ask_poll(list, count as usize, &raw const AT_ONCE))
}

hook! {
    Poll: fn poll(list: *mut pollfd, count: nfds_t, millis: c_int) -> c_int;
    kernel {
        let limit = timespec_of(Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        ask_poll(list, count as usize, if millis < 0 { core::ptr::null() } else { &raw const limit })
    };
    // SAFETY: the caller's duty.
    parking unsafe { poll_parking(Symbol::Poll, list, count, deadline_millis(millis)) }
}

hook! {
    Ppoll: fn ppoll(list: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t) -> c_int;
    kernel ppoll_plain(list, count, limit, mask);
    parking if mask.is_null() {
        // SAFETY: the caller's duty.
        match unsafe { deadline(limit) } {
            // SAFETY: as above.
            Ok(until) => unsafe { poll_parking(Symbol::Ppoll, list, count, until) },
            Err(error) => error,
        }
    } else {
        // SAFETY: the caller's duty.
        if let Err(error) = unsafe { deadline(limit) } {
            return errno::result(error) as c_int;
        }
        match ppoll_plain(list, count, &raw const AT_ONCE, mask) {
            0 => {
                let lent = Lent((list, count, limit, mask));
                offload(Symbol::Ppoll, || {
                    let (list, count, limit, mask) = lent.get();
                    ppoll_plain(list, count, limit, mask)
                })
            }
            answer => answer,
        }
    }
}

/// The kernel writes the time left over the limit; libc's callers keep theirs.
fn ppoll_plain(list: *mut pollfd, count: nfds_t, limit: *const timespec, mask: *const sigset_t) -> isize {
    // SAFETY: null, or the caller's.
    let mut own = unsafe { limit.as_ref() }.copied();
    let limit = own.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    pass!(SYS_ppoll, list, count, limit, mask, 8usize)
}

const BITS: usize = u64::BITS as usize;

/// How many bits of a set the kernel looks at: not beyond its table of descriptors, whose size `/proc` tells.
///
/// Programs give counts that are more than their sets have room for, such as the most descriptors they may have.
fn looked_at(count: c_int) -> c_int {
    let usual = libc::FD_SETSIZE as c_int;
    if count <= usual {
        return count;
    }
    let mut text = [0u8; 1024];
    let file = pass!(SYS_openat, libc::AT_FDCWD, c"/proc/self/status".as_ptr(), libc::O_CLOEXEC, 0);
    let read = pass!(SYS_read, file, text.as_mut_ptr(), text.len());
    pass!(SYS_close, file);
    let text =
        text.get(..usize::try_from(read).unwrap_or(0)).and_then(|text| core::str::from_utf8(text).ok());
    let line = text.and_then(|text| text.lines().find_map(|line| line.strip_prefix("FDSize:")));
    count.min(line.and_then(|line| line.trim().parse().ok()).unwrap_or(usual))
}

/// The three sets of a `select`, as they were when it began.
struct Sets {
    count: usize,
    places: [*mut u64; 3],
    saved: [Vec<u64>; 3],
}

impl Sets {
    /// # Safety
    /// * The sets are null, or the caller's and have room for `count` bits, as far as the kernel looks at them.
    unsafe fn new(count: c_int, places: [*mut fd_set; 3]) -> Self {
        let count = usize::try_from(count).unwrap_or(0);
        let places = places.map(|place| place.cast::<u64>());
        let saved = places.map(|place| {
            let words = if place.is_null() { 0 } else { count.div_ceil(BITS) };
            // SAFETY: the caller's duty.
            (0..words).map(|word| unsafe { place.wrapping_add(word).read() }).collect()
        });
        Self { count, places, saved }
    }

    /// Puts the sets back, which an answer overwrites.
    fn restore(&self) {
        for (place, saved) in self.places.iter().zip(&self.saved) {
            for (word, bits) in saved.iter().enumerate() {
                // SAFETY: it was read from there.
                unsafe { place.wrapping_add(word).write(*bits) };
            }
        }
    }

    /// Descriptors and what is asked of them.
    fn wanted(&self) -> impl Iterator<Item = (c_int, c_short)> + '_ {
        const EVENTS: [c_short; 3] = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
        (0..self.count).filter_map(|fd| {
            let is_in = |set: &Vec<u64>| set.get(fd / BITS).is_some_and(|word| word >> (fd % BITS) & 1 != 0);
            let events = self.saved.iter().zip(EVENTS).filter(|(set, _)| is_in(set));
            let events = events.fold(0, |all, (_, event)| all | event);
            (events != 0).then_some((fd as c_int, events))
        })
    }

    fn run(&self, symbol: Symbol, until: Option<Instant>) -> isize {
        Watches::new(self.wanted()).run(symbol, until, || {
            self.restore();
            // The kernel writes the time left over it.
            let mut no_time = AT_ONCE;
            let [reads, writes, others] = self.places;
            pass!(SYS_pselect6, self.count, reads, writes, others, &raw mut no_time, 0usize)
        })
    }
}

hook! {
    Select: fn select(
        count: c_int,
        reads: *mut fd_set,
        writes: *mut fd_set,
        others: *mut fd_set,
        limit: *mut timeval,
    ) -> c_int;
    kernel {
        // SAFETY: null, or the caller's.
        let mut own = unsafe { limit.as_ref() }.map(|limit| of_timeval(*limit));
        let place = own.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
        let answer = pass!(SYS_pselect6, count, reads, writes, others, place, 0usize);
        // SAFETY: as above.
        if let (Some(limit), Some(left)) = (unsafe { limit.as_mut() }, own) {
            *limit = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
        }
        answer
    };
    parking {
        let count = looked_at(count);
        // SAFETY: null, or the caller's.
        let until = match unsafe { limit.as_ref() } {
            None => Ok(None),
            Some(limit) => instant_after(of_timeval(*limit)).map(Some).ok_or(raw(libc::EINVAL)),
        };
        match until {
            Err(error) => error,
            Ok(_) if count < 0 => raw(libc::EINVAL),
            Ok(until) => {
                // SAFETY: the caller's duty.
                let answer = unsafe { Sets::new(count, [reads, writes, others]) }.run(Symbol::Select, until);
                // SAFETY: as above. Linux tells how much time was left.
                if let (Some(limit), Some(until)) = (unsafe { limit.as_mut() }, until) {
                    let left = timespec_of(until.saturating_duration_since(Instant::now()));
                    *limit = timeval { tv_sec: left.tv_sec, tv_usec: left.tv_nsec / 1000 };
                }
                answer
            }
        }
    }
}

fn of_timeval(time: timeval) -> timespec {
    // More than a second of microseconds is taken for what it is, as the kernel does.
    let seconds = time.tv_sec.saturating_add(time.tv_usec.div_euclid(1_000_000));
    timespec { tv_sec: seconds, tv_nsec: time.tv_usec.rem_euclid(1_000_000) * 1000 }
}

/// The kernel's `pselect6` with libc's mask, and a limit that stays the caller's.
fn pselect_plain(
    count: c_int,
    sets: [*mut fd_set; 3],
    limit: *const timespec,
    mask: *const sigset_t,
) -> isize {
    // SAFETY: null, or the caller's.
    let mut own = unsafe { limit.as_ref() }.copied();
    let limit = own.as_mut().map_or(core::ptr::null_mut(), core::ptr::from_mut);
    let masked: [usize; 2] = [mask.expose_provenance(), 8];
    let masked = if mask.is_null() { core::ptr::null() } else { masked.as_ptr() };
    pass!(SYS_pselect6, count, sets[0], sets[1], sets[2], limit, masked)
}

hook! {
    Pselect: fn pselect(
        count: c_int,
        reads: *mut fd_set,
        writes: *mut fd_set,
        others: *mut fd_set,
        limit: *const timespec,
        mask: *const sigset_t,
    ) -> c_int;
    kernel pselect_plain(count, [reads, writes, others], limit, mask);
    parking if count < 0 {
        raw(libc::EINVAL)
    } else if !mask.is_null() {
        // SAFETY: the caller's duty.
        if let Err(error) = unsafe { deadline(limit) } {
            return errno::result(error) as c_int;
        }
        // SAFETY: as above.
        let sets = unsafe { Sets::new(looked_at(count), [reads, writes, others]) };
        match pselect_plain(count, [reads, writes, others], &raw const AT_ONCE, mask) {
            0 => {
                sets.restore();
                let lent = Lent((count, [reads, writes, others], limit, mask));
                offload(Symbol::Pselect, || {
                    let (count, sets, limit, mask) = lent.get();
                    pselect_plain(count, sets, limit, mask)
                })
            }
            answer => answer,
        }
    } else {
        // SAFETY: the caller's duty.
        match unsafe { deadline(limit) } {
            Ok(until) => {
                let sets = [reads, writes, others];
                // SAFETY: as above.
                unsafe { Sets::new(looked_at(count), sets) }.run(Symbol::Pselect, until)
            }
            Err(error) => error,
        }
    }
}
