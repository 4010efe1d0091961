//! `epoll_wait` and its kin: an epoll instance is a descriptor that can be waited for like any other, so an event
//! loop on a coroutine goes on working.

use std::time::Instant;

use libc::{c_int, epoll_event, sigset_t, timespec};

use super::hook::{hook, pass};
use super::offload::offload;
use super::poll::{deadline, deadline_millis};
use super::ready::Watches;
use super::symbols::Symbol;
use super::turn;
use crate::sys;

/// Where events go.
#[derive(Clone, Copy)]
struct Place(*mut epoll_event, c_int, *const sigset_t);

// SAFETY: the caller of the replaced function waits until the call is over, wherever it is made.
unsafe impl Sync for Place {}

impl Place {
    fn wait(&self, epoll: c_int, millis: c_int) -> isize {
        pass!(SYS_epoll_pwait, epoll, self.0, self.1, millis, self.2, 8usize)
    }

    fn wait_fine(&self, epoll: c_int, limit: *const timespec) -> isize {
        pass!(SYS_epoll_pwait2, epoll, self.0, self.1, limit, self.2, 8usize)
    }
}

/// The shortest time that a wait can take.
static GLANCE: timespec = timespec { tv_sec: 0, tv_nsec: 1 };

fn parking(symbol: Symbol, epoll: c_int, place: Place, until: Option<Instant>) -> isize {
    if place.2.is_null() {
        let wanted = [(epoll, libc::POLLIN)].into_iter();
        return Watches::new(wanted).run(symbol, until, || place.wait(epoll, 0));
    }
    if until.is_some_and(|until| Instant::now() >= until) {
        return match place.wait(epoll, 0) {
            0 => turn::give(symbol).err().unwrap_or(0),
            answer => answer,
        };
    }
    // A signal mask is a thread's: see `poll`. Without any time at all this call does not look for signals.
    match place.wait_fine(epoll, &raw const GLANCE) {
        0 => {}
        error if sys::raw::is_refused(error) => {}
        answer => return answer,
    }
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let millis =
        left.map_or(-1, |left| c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX));
    offload(symbol, || place.wait(epoll, millis))
}

hook! {
    EpollWait: fn epoll_wait(epoll: c_int, events: *mut epoll_event, most: c_int, millis: c_int) -> c_int;
    kernel Place(events, most, core::ptr::null()).wait(epoll, millis);
    parking {
        let place = Place(events, most, core::ptr::null());
        parking(Symbol::EpollWait, epoll, place, deadline_millis(millis))
    }
}

hook! {
    EpollPwait: fn epoll_pwait(
        epoll: c_int,
        events: *mut epoll_event,
        most: c_int,
        millis: c_int,
        mask: *const sigset_t,
    ) -> c_int;
    kernel Place(events, most, mask).wait(epoll, millis);
    parking parking(Symbol::EpollPwait, epoll, Place(events, most, mask), deadline_millis(millis))
}

hook! {
    EpollPwait2: fn epoll_pwait2(
        epoll: c_int,
        events: *mut epoll_event,
        most: c_int,
        limit: *const timespec,
        mask: *const sigset_t,
    ) -> c_int;
    kernel Place(events, most, mask).wait_fine(epoll, limit);
    // SAFETY: the caller's duty.
    parking match unsafe { deadline(limit) } {
        Ok(until) => parking(Symbol::EpollPwait2, epoll, Place(events, most, mask), until),
        Err(error) => error,
    }
}
